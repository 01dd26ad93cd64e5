//! Turns a trained EPG image generator into a model for a small device. Needs no deep-learning framework.
//!
//! A trained generator arrives as `model.safetensors`. [`quantise`] turns it into a `.pxg` file, which `pixgen-core` draws from on a chip.
//! It also plans for boards, compares the float network with the integer one, and writes other formats. The trainer shares the model
//! files, the reading of pictures and the tools at the bottom.
//!
//! ```text
//! model.safetensors --> model_file --> quantise: calibrate, choose ranges, fold, round --> pxg_file --> model.pxg
//!                            |             |
//!                            |             +--> report: float and int8, site by site
//!                            +--> onnx: float, QDQ or integers --> model.onnx
//!                            +--> tflite: float or integers --> model.tflite
//! ```
//!
//! The modules, from the command line down to the tools at the bottom:
//!
//! **Program.** [`cli`] declares the command line, [`commands`] has one file for each verb, and [`offered`] are names that shells complete. [`error`] joins the errors of all parts, each
//! with a hint for the user.
//!
//! **Models.** [`draw`](mod@draw) is the short way: a path in, pictures out. [`engine`] draws from `.pxg` files with the kernels of this machine. [`model_file`] reads and writes `model.safetensors`, the file
//! that people exchange. [`param_set`] lists its tensors, [`projector`] those that only stage 1 has, and [`tensor_file`] writes such files
//! tensor by tensor. [`quantise`] makes the `.pxg` file of a chip, and [`pxg_file`] reads it and writes it, as bytes or as [`source_code`].
//! [`onnx`] and [`tflite`] write graphs for other runtimes, and [`web`] pages that draw in a browser. [`model_facts`] is what people read about a model.
//!
//! **Chips.** [`boards`] is a table of them, [`npus`] one of accelerators, [`own_board`] describes another on the command line, and [`plan`](mod@plan) computes the
//! flash, RAM and time of a model.
//!
//! **Pictures.** [`data`] brings them in, [`picture`] writes PNG files and grids, [`eval`] measures them.
//!
//! **Under all of it.** [`aligned`] holds files and workspaces, [`memory`] asks for much of it, [`matmul`] multiplies on [`threads`], [`npy`] is an array, [`terminal`] prints, and [`units`] formats numbers for
//! people. [`output`] is where commands write: [`atomic`] writes files whole or not at all, [`file_error`] says why a file cannot be had,
//! [`file_kind`] what it is instead, and [`interrupt`] is Ctrl-C.
//!
//! Calibration, quantiser, comparison and the exporters of graphs are interpreters of `pixgen_core::network`, where the network is written
//! once. None of them knows which layer follows which.

pub mod cli;
pub mod commands;
pub mod error;
pub mod offered;

pub mod draw;
pub mod engine;
pub mod model_facts;
pub mod model_file;
pub mod onnx;
pub mod param_set;
pub mod projector;
pub mod pxg_file;
pub mod quantise;
pub mod source_code;
pub mod tensor_file;
pub mod tflite;
pub mod web;

pub mod boards;
pub mod npus;
pub mod own_board;
pub mod plan;

pub mod data;
pub mod eval;
pub mod picture;

pub mod aligned;
pub mod atomic;
pub mod file_error;
pub mod file_kind;
pub mod interrupt;
pub mod matmul;
pub mod memory;
pub mod npy;
pub mod output;
pub mod terminal;
pub mod threads;
pub mod units;

/// The example of the first page.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
