//! The C interface: what each call answers, the header against the code, and a C program on the host and on an emulated Cortex-M4.

mod calls;
mod fixture;
mod header;
mod host;
mod programs;
