//! Training on several processes, each on a part of every batch (docs/guides/scale-out.md).
//!
//! [`placement`] reads who this process is, [`collective`] is what all do together, over MPI (`mpi`) or, on one host, over TCP (`tcp`), and
//! `watchdog` ends a rank whose others hang. [`share`] says which images of a batch are a rank's, and [`replicas`] keeps the state of all ranks equal.
//!
//! What a run sees does not depend on the number of ranks: everything random is a function of an image's number in the run.

pub mod collective;
pub mod link;
#[cfg(unix)]
mod mpi;
pub mod placement;
pub mod replicas;
pub mod share;
mod tcp;
mod watchdog;

pub use collective::Collective;
pub use link::LinkError;
pub use placement::{Launcher, Placement, PlacementError, Rendezvous};
pub use share::Share;

/// Names the library of MPI.
pub const MPI_VARIABLE: &str = "PIXGEN_MPI";
