//! Training on several processes, each on a part of every batch (docs/guides/scale-out.md).
//!
//! [`placement`] reads who this process is, [`collective`] is what all do together, over MPI (`mpi`) or TCP (`tcp`), and their GPUs by NCCL
//! (`exchange`, `device`, `nccl`); `meeting` brings those of TCP together, `watchdog` ends a rank whose others hang. [`share`] says which images of a batch are a rank's, and [`replicas`] keeps the state of all ranks equal.
//!
//! What a run sees does not depend on the number of ranks: everything random is a function of an image's number in the run.

pub mod collective;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
pub mod device;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
pub mod exchange;
pub mod link;
mod meeting;
#[cfg(unix)]
mod mpi;
#[cfg(all(unix, feature = "cuda"))]
mod nccl;
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
/// Names the library of NCCL, or says that gradients of GPUs go through the memory of hosts.
pub const NCCL_VARIABLE: &str = "PIXGEN_NCCL";
/// The value that says so.
pub const NCCL_OFF: &str = "off";
/// Set by `launch` for processes that are to begin their lines with their rank.
pub const LAUNCHED: &str = "PIXGEN_LAUNCHED";
