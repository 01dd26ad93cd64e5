//! Brings trained EPG pixel-space image generators to small devices; and what that shares with the trainer. No deep-learning framework.
//!
//! From what users touch to what they do not:
//!
//! **Commands.** [`cli`] declares what can be typed, [`commands`] holds one file for each verb. [`error`] is what a user reads when
//! something cannot go on.
//!
//! **Models.** [`model_file`] is `model.safetensors`, the file that people exchange; [`param_set`] lists its tensors, [`projector`]
//! those that only stage 1 has; [`tensor_file`] writes such files tensor by tensor. [`quantise`] makes the `.pxg` file of a chip from
//! one, [`pxg_file`] reads and writes it. [`onnx`] writes either as a graph for other runtimes.
//!
//! **Chips.** [`boards`] is a table of them; [`plan`](mod@plan) says what a model takes there.
//!
//! **Pictures.** [`data`] brings them in, [`picture`] writes grids, [`eval`] measures them.
//!
//! **Under all of it.** [`atomic`] writes files whole or not at all, [`matmul`] multiplies, [`terminal`] prints, [`units`] writes
//! numbers for people.

pub mod cli;
pub mod commands;
pub mod error;

pub mod draw;
pub mod model_file;
pub mod onnx;
pub mod param_set;
pub mod projector;
pub mod pxg_file;
pub mod quantise;
pub mod tensor_file;

pub mod boards;
pub mod plan;

pub mod data;
pub mod eval;
pub mod picture;

pub mod aligned;
pub mod atomic;
pub mod matmul;
pub mod terminal;
pub mod units;
