//! What an engine of communication does, and how it fails.

use std::fmt::{self, Debug};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

/// Ends all ranks that an engine reaches, with this exit code. Called at any time, from any thread.
#[derive(Clone)]
pub(super) struct EndAll(pub Arc<dyn Fn(i32) + Send + Sync>);

impl Debug for EndAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndAll")
    }
}

/// Connections with the other ranks. All ranks call the same functions in the same order, with slices of the same lengths.
pub(super) trait Link: Send + Debug {
    /// Adds up the values of all ranks; everyone gets the same bits.
    fn sum(&mut self, values: &mut [f32]) -> Result<(), LinkError>;

    /// Adds up the values of all ranks, cut into parts of `length`, the last ones of which may be shorter; rank `rank` gets that of its part,
    /// the same bits as of [`sum`](Self::sum) if the engine adds in a fixed order, and nothing of use elsewhere.
    fn sum_parts(&mut self, values: &mut [f32], length: usize, rank: usize) -> Result<(), LinkError>;

    /// Collects the bytes of all ranks in their order; `all` is as long as those of all together.
    fn all_gather(&mut self, mine: &[u8], all: &mut [u8]) -> Result<(), LinkError>;

    /// Gives everyone the bytes of rank 0.
    fn broadcast(&mut self, bytes: &mut [u8]) -> Result<(), LinkError>;

    /// Leaves in peace, when all do.
    fn leave(&mut self) {}

    /// What ends all ranks.
    fn abort(&self) -> EndAll;

    /// Bytes that this rank has sent, where the engine tells.
    fn sent(&self) -> Option<u64> {
        None
    }

    /// Waits so long for rank 0 to end the run, between two calls, at another rank: which rank ended it, and the exit code. An engine that
    /// ends processes itself does so meanwhile.
    fn ended(&mut self, within: Duration) -> Option<(usize, i32)> {
        sleep(within);
        None
    }
}

/// Why ranks cannot work together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Nobody is where the ranks are to meet.
    #[error("cannot meet rank 0 at {host}:{port}: {source}")]
    Meet {
        /// Host of rank 0.
        host: String,
        /// Its port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The host of rank 0 has no address.
    #[error("MASTER_ADDR={host}: no address is known: {source}")]
    NoAddress {
        /// Host of rank 0.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// Rank 0 cannot be met.
    #[error("cannot listen at {host}:{port}, where the other ranks come: {source}")]
    Listen {
        /// Host of rank 0.
        host: String,
        /// Its port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// Another program is where the ranks are to meet.
    #[error("what listens at {host}:{port} is no rank 0 of this program")]
    Stranger {
        /// Host of rank 0.
        host: String,
        /// Its port.
        port: u16,
    },
    /// Rank 0 does not wait for this one.
    #[error("rank 0 at {host}:{port} refused this one: {why}")]
    Refused {
        /// Host of rank 0.
        host: String,
        /// Its port.
        port: u16,
        /// What rank 0 says.
        why: String,
    },
    /// A rank has ended the run, and says why.
    #[error("rank {rank} ended the run and says why")]
    Ended {
        /// The rank.
        rank: usize,
        /// Its exit code.
        code: i32,
    },
    /// Some did not come in time.
    #[error("no word from {} at {host}:{port}, for {} s", list(.ranks), .waited.as_secs_f32())]
    Missing {
        /// Host of rank 0.
        host: String,
        /// Its port.
        port: u16,
        /// How long rank 0 has waited.
        waited: Duration,
        /// Those who did not come.
        ranks: Vec<usize>,
    },
    /// A rank is gone.
    #[error("rank {rank} is gone: {source}")]
    Lost {
        /// The rank.
        rank: usize,
        /// What the system says.
        source: io::Error,
    },
    /// Without MPI ranks of CPUs train on one host only.
    #[error("{size} ranks, of which {local} are on this host: without MPI and without GPUs all must be on one")]
    SeveralHosts {
        /// Ranks.
        size: usize,
        /// Those on this host.
        local: usize,
    },
    /// No library of MPI.
    #[error("cannot load MPI: {details}")]
    NoMpi {
        /// What was tried.
        details: String,
    },
    /// A function of MPI failed.
    #[error("{function} failed with code {code}")]
    Mpi {
        /// The function.
        function: &'static str,
        /// What it returned.
        code: i32,
    },
    /// No library of NCCL.
    #[error("cannot load NCCL, which joins GPUs: {details}")]
    NoNccl {
        /// What was tried.
        details: String,
    },
    /// A function of NCCL failed.
    #[error("{function} failed: {details}")]
    Nccl {
        /// The function.
        function: &'static str,
        /// What NCCL says.
        details: String,
    },
    /// The device failed beside what NCCL does.
    #[error("the device failed in an exchange with the other ranks: {details}")]
    Device {
        /// What it says.
        details: String,
    },
    /// The library of MPI is not that of the launcher.
    #[error("the launcher says rank {} of {}, but the library of MPI rank {} of {}", .launcher.0, .launcher.1, .library.0, .library.1)]
    OtherMpi {
        /// Rank and number of ranks in the variables.
        launcher: (usize, usize),
        /// The same from MPI.
        library: (usize, usize),
    },
}

impl LinkError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Meet { .. } | Self::Missing { .. } => {
                Some("see what the other ranks say; each must be started, with the MASTER_ADDR and MASTER_PORT of rank 0".to_owned())
            }
            Self::NoAddress { .. } => {
                Some("give the host of rank 0 as MASTER_ADDR, by a name that this host knows or by its address".to_owned())
            }
            Self::Listen { source, .. } => Some(match source.kind() {
                ErrorKind::AddrNotAvailable => "MASTER_ADDR must be an address of the host of rank 0, which is this one".to_owned(),
                ErrorKind::PermissionDenied => "take a MASTER_PORT above 1023, for all ranks".to_owned(),
                _ => "take another MASTER_PORT for all ranks, or end what listens there; `launch` takes a free one: run it again".to_owned(),
            }),
            Self::Stranger { .. } => Some("take a MASTER_PORT that no other program has, for all ranks".to_owned()),
            Self::Refused { .. } => Some(
                "start all ranks with the same program, flags and PIXGEN_ variables; jobs at one host need a MASTER_PORT each, and \
                 TORCHELASTIC_RUN_ID names them"
                    .to_owned(),
            ),
            Self::Ended { .. } => None,
            Self::Lost { .. } => Some("what it said last tells why; the same command goes on from the last checkpoint".to_owned()),
            Self::SeveralHosts { .. } => Some(
                "start the ranks with mpirun, or with srun on a cluster whose MPI it knows; with --device cuda torchrun does as well".to_owned(),
            ),
            Self::NoMpi { .. } => Some("install Open MPI or MPICH, or name its library: PIXGEN_MPI=/usr/lib/libmpi.so.40".to_owned()),
            Self::Mpi { .. } => None,
            Self::NoNccl { .. } => Some(
                "install NCCL (libnccl2, or `pip install nvidia-nccl-cu12`) and name its library, PIXGEN_NCCL=/path/to/libnccl.so.2; PIXGEN_NCCL=off goes through the hosts' memory, which is slow"
                    .to_owned(),
            ),
            Self::Nccl { .. } => Some(
                "NCCL_DEBUG=WARN tells more; each rank needs a GPU of its own. PIXGEN_NCCL=off goes through the hosts' memory, which is slow".to_owned(),
            ),
            Self::Device { .. } => Some("the last checkpoint is whole and the same command goes on from it".to_owned()),
            Self::OtherMpi { .. } => Some(
                "PIXGEN_MPI names the library that belongs to the launcher; with srun, --mpi=pmix or --mpi=pmi2 as it was built for"
                    .to_owned(),
            ),
        }
    }
}

/// `rank 3`, or `ranks 1, 2`.
pub(super) fn list(ranks: &[usize]) -> String {
    let numbers: Vec<String> = ranks.iter().map(usize::to_string).collect();
    format!("rank{} {}", if ranks.len() == 1 { "" } else { "s" }, numbers.join(", "))
}
