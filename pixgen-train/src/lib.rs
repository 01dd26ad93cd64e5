//! Trains EPG pixel-space image generators and draws with them in one step.
//!
//! From what users touch to what they do not:
//!
//! **Commands.** [`cli`] declares what can be typed, [`commands`] holds one file for each verb,
//! [`report`] lays runs out as a page, [`dry_run`] tells what a run would need, [`mod@bench`] how fast this machine goes,
//! and [`roofline`] what a GPU could do at best. [`error`] is
//! what a user reads when something cannot go on.
//!
//! **Runs.** [`config`] is the plain list of settings, [`settings`] lays flag over environment over file over preset. [`prepared`] makes
//! of them what the first step needs, [`session`] trains; [`device`] says where it may compute; [`run`] holds what surrounds the loop (folder, checkpoints,
//! metrics, progress, Ctrl-C) and [`training`] what is inside it (schedule, optimiser, averages, one step).
//!
//! **Learning.** [`objective`] holds stages 1, 2a and 2b; [`model`] the parameters, the burn interpreter of core's network and the
//! projector; [`ops`] the fused operations under it, forward and backward, and [`precision`] what they compute in.
//!
//! **Pictures.** [`packages`] downloads data sets, and weights into [`cache`]; [`data`] brings pictures in, in order and augmented, [`sampling`]
//! draws them, and [`quality`] measures them. What needs no burn comes from `pixgen-edge`: its `data` loads pictures, `picture` writes grids,
//! and `model_file` is the file that people exchange. [`weights`] brings those of other programs in, and ours out.
//!
//! Everything random is a function of (seed, images seen): the same command resumes a run, bit for bit.

#![recursion_limit = "256"]

pub mod bench;
pub mod cli;
pub mod commands;
pub mod error;
pub mod report;

pub mod config;
pub mod device;
pub mod prepared;
pub mod run;
pub mod session;
pub mod settings;
pub mod training;

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
pub mod sampling;
pub mod weights;
