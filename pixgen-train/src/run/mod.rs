//! What surrounds the training loop: the run folder and everything that must survive a crash.
//!
//! A run is a folder, and the same command resumes it. [`folder`] opens and locks it, [`checkpoint`] saves and finds the state to
//! resume from, [`recorded`] are the settings it was started with, [`averages`] takes models out of it, [`metrics`] keeps the log, a [`window`] is what a line of it averages, [`tensorboard`] mirrors it, and [`pixgen_edge::atomic`] is how any file gets there: whole or not
//! at all. [`pixgen_edge::interrupt`] turns Ctrl-C into a flag and [`progress`] tells a person how far it is. What is odd but no reason to stop comes back as a [`Warning`].

pub mod averages;
pub mod checkpoint;
mod checkpoint_file;
pub mod error;
pub mod folder;
mod lock;
pub mod log_line;
pub mod metrics;
pub mod progress;
pub mod recorded;
pub mod tensorboard;
pub mod window;

pub use checkpoint::LoadedCheckpoint;
pub use checkpoint_file::{Checkpoint, NamedTensor};
pub use error::{Damage, RunError, Warning};
pub use folder::{CONFIG, RunFolder};
pub use metrics::MetricsLog;
pub use progress::Progress;
