//! Compiles the GPU kernels of a program without a GPU, and shows what they take.
//!
//! A program runs with the stub driver of `stub_driver.c` in place of libcuda, so CubeCL takes every kernel that it launches through
//! CUDA C++ and NVRTC to PTX, which the stub keeps ([`run`]). Each distinct PTX is assembled by `ptxas`, which tells registers, shared
//! memory and spills ([`assemble`]). [`report`] makes the table, and the list of what is wrong: a spill, a panic, a kernel that does not
//! assemble, one that was never launched, one that is missing.
//!
//! `compile.sh` makes the stub and the toolkit and calls all of this.

pub mod assemble;
pub mod report;
pub mod run;
