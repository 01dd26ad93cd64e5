//! Trains EPG image generators, which work directly on pixels and draw a picture in one evaluation of the network.
//!
//! The program `pixgen-train` is a command line over this library. A training run passes through these modules:
//!
//! ```text
//!   settings: flag > environment > file > preset
//!      |
//!   config ----> prepared ----> session ----> run folder, model.safetensors ----> sampling, quality, report, weights
//!                   ^              |
//!     packages, data               +-- training: one step ----> objective ----> model ----> ops
//! ```
//!
//! # The program
//!
//! [`cli`] declares the command line, and [`commands`] has a file for each verb. [`report`] lays out runs as a page, [`mod@bench`] measures how
//! fast this machine trains, [`needs`] computes what a run needs before it starts, and [`roofline`] bounds what a step takes on a GPU.
//! [`error`] joins the errors of all parts, each with a hint for the user.
//!
//! # Runs
//!
//! [`config`] is the typed list of settings with the recipe of every preset; [`settings`] lays flags over environment, file and preset.
//! [`prepared`] loads what the first step needs, [`start`] the model that it may start from ([`warm_start`]: a generator of other classes or
//! another resolution), and [`session`] trains; a [`quality_watch`] measures pictures meanwhile. [`device`] opens the CPU or a GPU and hands work to its backend. [`run`]
//! holds what surrounds the loop (folder, checkpoints, metrics, progress, Ctrl-C), [`training`] its inside (schedule, optimiser,
//! averages, one step). [`distributed`] shares a batch out to several processes.
//!
//! # Learning
//!
//! [`objective`] has the losses of stage 1 (representation consistency), 2a (diffusion), 2b (consistency) and 3 (drifting). [`model`] interprets the network
//! of `pixgen-core` in burn's tensors and holds its parameters. [`ops`] are the fused operations below it, forward and backward, and
//! [`precision`] is what they compute in.
//!
//! # Pictures
//!
//! [`packages`] downloads data sets, and network weights into [`cache`]. [`data`] orders, augments and checks pictures, [`sampling`] draws them,
//! [`sample_set`] writes any number of them for other programs, [`walk`] goes from one to another, and [`quality`] measures them. [`weights`] exchanges models with PyTorch. What needs no tensors comes from `pixgen-edge`: its `data` loads
//! pictures, `picture` writes grids, and `model_file` is the file that people exchange.
//!
//! # What holds everywhere
//!
//! * Everything random is a function of the seed and the number of images seen. The same command resumes a run, bit for bit.
//! * Bad input is an error that says what and where, with a hint. Nothing panics on input.
//! * Files are written whole or not at all.

#![recursion_limit = "256"]

/// The example of the crate's page is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

pub mod bench;
pub mod cli;
pub mod commands;
pub mod error;
pub mod report;

pub mod config;
pub mod device;
pub mod distributed;
pub mod prepared;
pub mod quality_watch;
pub mod run;
pub mod session;
pub mod settings;
pub mod start;
pub mod training;
pub mod warm_start;

pub mod model;
pub mod objective;
pub mod ops;
pub mod precision;

pub mod needs;
pub mod roofline;

pub mod cache;
pub mod data;
pub mod packages;
pub mod quality;
pub mod sample_set;
pub mod sampling;
pub mod walk;
pub mod weights;
