//! Which of how many processes this one is: the variables of torchrun, Open MPI, MPICH and Slurm.

use std::thread::available_parallelism;

/// Host and port of the first rank, which our own processes and those of torchrun meet at.
const ADDRESS: &str = "MASTER_ADDR";
const PORT: &str = "MASTER_PORT";
/// torchrun's name of a job.
const JOB: &str = "TORCHELASTIC_RUN_ID";
/// Set to `True` where an agent of torchrun listens at [`PORT`] itself.
const AGENT_LISTENS: &str = "TORCHELASTIC_USE_AGENT_STORE";

/// A process among those that train together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its number, from 0.
    pub rank: usize,
    /// Number of processes.
    pub size: usize,
    /// Its number among those of its host, which is that of its GPU.
    pub local_rank: usize,
    /// Number of processes on its host.
    pub local_size: usize,
    /// Who started it.
    pub launcher: Launcher,
}

/// Who starts processes that train together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// `torchrun`, or our own `launch` without MPI.
    Torchrun(Rendezvous),
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `mpiexec` of MPICH and its relatives.
    Mpich,
    /// `srun`.
    Slurm,
}

/// Where processes without MPI meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendezvous {
    /// Host of rank 0.
    pub host: String,
    /// Port of rank 0.
    pub port: u16,
    /// Tells one job from another.
    pub job: String,
}

impl Rendezvous {
    /// The variables of a process of `launch`.
    pub fn variables(&self, rank: usize, size: usize) -> Vec<(&'static str, String)> {
        let [rank_name, size_name, local_rank, local_size] = TORCHRUN.names;
        vec![
            (rank_name, rank.to_string()),
            (size_name, size.to_string()),
            (local_rank, rank.to_string()),
            (local_size, size.to_string()),
            (ADDRESS, self.host.clone()),
            (PORT, self.port.to_string()),
            (JOB, self.job.clone()),
        ]
    }
}

/// What is wrong with the variables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlacementError {
    /// A variable that belongs to another is missing.
    #[error("{has} is set, but not {missing}")]
    Missing {
        /// The one that is set, with its value.
        has: String,
        /// The one that is not.
        missing: &'static str,
    },
    /// Not a number.
    #[error("{name}={value} is not a whole number from 0 up")]
    NotANumber {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// Not a port.
    #[error("{PORT}={value} is not a port, from 1 to 65535")]
    NotAPort {
        /// Its value.
        value: String,
    },
    /// A number that is not below its count.
    #[error("{rank} is not below {size}")]
    Beyond {
        /// The variable of the number, with its value.
        rank: String,
        /// That of the count.
        size: String,
    },
    /// Two launchers say different things.
    #[error("{one} and {other} contradict each other")]
    Contradiction {
        /// Variables of one, with their values.
        one: String,
        /// Variables of the other.
        other: String,
    },
}

impl PlacementError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        Some(self.hint_of(&|name| std::env::var(name).ok()))
    }

    /// As [`hint`](Self::hint) for variables that `get` gives.
    fn hint_of(&self, get: &dyn Fn(&str) -> Option<String>) -> String {
        let start = match self {
            Self::Contradiction { .. } => "start the processes with one launcher only",
            _ => "start the processes with `pixgen-train launch`, torchrun, mpirun or srun",
        };
        format!("{start}; for a single process: unset {}", says_several(get).join(" "))
    }
}

/// The variables of a launcher: rank, number of ranks, and both of the host.
struct Variables {
    names: [&'static str; 4],
}

const TORCHRUN: Variables = Variables { names: ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"] };
const OPEN_MPI: Variables = Variables {
    names: [
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ],
};
const MPICH: Variables = Variables { names: ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"] };
/// Only `srun` sets the number of tasks of a step; a batch script, which is one process, has that of the job.
const SLURM: Variables = Variables {
    names: ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"],
};

/// What the variables of a launcher say of several processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    rank: usize,
    size: usize,
    local_rank: usize,
    local_size: usize,
}

impl Variables {
    /// Nothing if there are none.
    fn read(&self, get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Said>, PlacementError> {
        let [rank_name, size_name, local_rank_name, local_size_name] = self.names;
        let number = |name: &'static str| match get(name) {
            None => Ok(None),
            // Slurm writes `2(x3),1` for tasks on each of four hosts. A host that has fewer than the first has room to spare.
            Some(value) => match value.split(['(', ',']).next().unwrap_or_default().trim().parse::<usize>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(PlacementError::NotANumber { name, value }),
            },
        };
        let pair = |[one, other]: [&'static str; 2]| match (number(one)?, number(other)?) {
            (None, None) => Ok(None),
            (Some(one), Some(other)) => Ok(Some((one, other))),
            (Some(value), None) => Err(PlacementError::Missing { has: format!("{one}={value}"), missing: other }),
            (None, Some(value)) => Err(PlacementError::Missing { has: format!("{other}={value}"), missing: one }),
        };
        let of_slurm = rank_name == SLURM.names[0];
        // A batch script, or the shell of `salloc`, is number 0 of no step, and its other numbers are those of the job.
        if of_slurm && number(rank_name)? == Some(0) && get(size_name).is_none() {
            return Ok(None);
        }
        let of_host = if of_slurm {
            None
        } else {
            pair([local_rank_name, local_size_name])?
        };
        let Some((rank, size)) = pair([rank_name, size_name])? else {
            return match of_host {
                Some((local_rank, _)) => {
                    Err(PlacementError::Missing { has: format!("{local_rank_name}={local_rank}"), missing: rank_name })
                }
                None => Ok(None),
            };
        };
        let beyond = |(number, of): (usize, usize), names: [&str; 2]| PlacementError::Beyond {
            rank: format!("{}={number}", names[0]),
            size: format!("{}={of}", names[1]),
        };
        if rank >= size {
            return Err(beyond((rank, size), [rank_name, size_name]));
        }
        let local_rank = number(local_rank_name)?.unwrap_or(rank);
        let local_size = number(local_size_name)?.unwrap_or(size).max(1);
        if local_rank >= local_size {
            return Err(beyond((local_rank, local_size), [local_rank_name, local_size_name]));
        }
        if of_host.is_some() && local_size > size {
            let [one, other] = [(size_name, size), (local_size_name, local_size)].map(|(name, number)| format!("{name}={number}"));
            return Err(PlacementError::Contradiction { one, other });
        }
        Ok(Some(Said { rank, size, local_rank, local_size }))
    }

    fn told(&self, said: &Said) -> String {
        let [rank, size, ..] = self.names;
        format!("{rank}={}, {size}={}", said.rank, said.size)
    }
}

/// The variables that are set of each launcher whose variables do not say that this process is alone.
fn says_several(get: &dyn Fn(&str) -> Option<String>) -> Vec<&'static str> {
    let several = |variables: &Variables| !matches!(variables.read(get), Ok(None));
    let of_torchrun = [ADDRESS, PORT, JOB, AGENT_LISTENS].into_iter().filter(|_| several(&TORCHRUN));
    let sets = [TORCHRUN, OPEN_MPI, MPICH, SLURM].into_iter().filter(several);
    sets.flat_map(|variables| variables.names)
        .chain(of_torchrun)
        .filter(|name| get(name).is_some())
        .collect()
}

impl Placement {
    /// Variables that would contradict those of a process of `launch`.
    pub fn variables_of_others() -> impl Iterator<Item = &'static str> {
        [OPEN_MPI, MPICH, SLURM]
            .into_iter()
            .flat_map(|variables| variables.names)
            .chain([AGENT_LISTENS])
    }

    /// What the variables of this process say; nothing if it is alone.
    ///
    /// # Errors
    /// Variables that are incomplete, no numbers, or contradict each other.
    pub fn of_environment() -> Result<Option<Self>, PlacementError> {
        Self::of(&|name| std::env::var(name).ok())
    }

    /// As [`of_environment`](Self::of_environment) for variables that `get` gives.
    ///
    /// Launchers may start each other. `mpirun` under `srun` has the last word: Slurm's variables tell of its helpers. So has `torchrun`, whose
    /// agents `srun` or `mpirun` may start. Whatever else differs is a contradiction.
    fn of(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, PlacementError> {
        let of_mpi = [(OPEN_MPI, Launcher::OpenMpi), (MPICH, Launcher::Mpich)];
        let mut found: Option<(Said, Launcher, Variables)> = None;
        for (variables, launcher) in of_mpi {
            if let Some(said) = variables.read(get)? {
                match &found {
                    Some((other, _, of)) if !other.equals(&said) => return Err(contradiction((of, other), (&variables, &said))),
                    Some(_) => {}
                    None => found = Some((said, launcher, variables)),
                }
            }
        }
        let step = if found.is_none() {
            SLURM.read(get)?.map(|said| (said, Launcher::Slurm, SLURM))
        } else {
            None
        };
        if let Some(said) = TORCHRUN.read(get)? {
            let is_child = get(JOB).is_some();
            let around = found.as_ref().or(step.as_ref());
            if let Some((other, _, of)) = around
                && !(other.equals(&said) || other.starts(&said, is_child) || is_child && step.is_some())
            {
                return Err(contradiction((of, other), (&TORCHRUN, &said)));
            }
            if said.size > 1 && found.as_ref().is_none_or(|(other, ..)| !other.equals(&said)) {
                found = Some((said, Launcher::Torchrun(rendezvous(get, &said)?), TORCHRUN));
            } else if found.is_none() && step.as_ref().is_some_and(|(other, ..)| !other.equals(&said)) {
                // One process of its own in each task.
                return Ok(None);
            }
        }
        let several = found.or(step).filter(|(said, ..)| said.size > 1);
        Ok(several.map(|(Said { rank, size, local_rank, local_size }, launcher, _)| Self { rank, size, local_rank, local_size, launcher }))
    }

    /// The device of this process, if `device` names a kind of GPU and no number.
    pub fn device(&self, device: &str) -> String {
        if ["cuda", "vulkan"].contains(&device) {
            format!("{device}:{}", self.local_rank)
        } else {
            device.to_owned()
        }
    }

    /// Whether all processes are on one host.
    pub const fn is_one_host(&self) -> bool {
        self.local_size == self.size
    }

    /// Threads of this process, unless the user says otherwise: its part of the cores. MPI and Slurm may have bound it to its part already.
    pub fn threads(&self) -> usize {
        let may_use = available_parallelism().map_or(1, usize::from);
        let may_be_bound = !matches!(self.launcher, Launcher::Torchrun(_));
        let part = match cores_of_host().filter(|_| may_be_bound) {
            Some(cores) => (cores / self.local_size).min(may_use),
            None => may_use / self.local_size,
        };
        part.max(1)
    }
}

impl Said {
    fn equals(&self, other: &Self) -> bool {
        (self.rank, self.size) == (other.rank, other.size)
    }

    /// Whether each of these processes may have started as many of the others, one of which is `inner`: all of a host's. An agent of torchrun
    /// need not have the number of its host.
    fn starts(&self, inner: &Self, agent: bool) -> bool {
        self.size * inner.local_size == inner.size && (agent || inner.rank / inner.local_size == self.rank)
    }
}

fn contradiction(one: (&Variables, &Said), other: (&Variables, &Said)) -> PlacementError {
    let [one, other] = [one, other].map(|(variables, said)| variables.told(said));
    PlacementError::Contradiction { one, other }
}

fn rendezvous(get: &dyn Fn(&str) -> Option<String>, said: &Said) -> Result<Rendezvous, PlacementError> {
    let missing = |missing| PlacementError::Missing { has: TORCHRUN.told(said), missing };
    let host = get(ADDRESS).ok_or_else(|| missing(ADDRESS))?;
    let port = get(PORT).ok_or_else(|| missing(PORT))?;
    let not_a_port = |value| PlacementError::NotAPort { value };
    let mut number = port
        .parse::<u16>()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| not_a_port(port.clone()))?;
    if get(AGENT_LISTENS).as_deref() == Some("True") {
        number = number.checked_add(1).ok_or_else(|| not_a_port(format!("{port} + 1")))?;
    }
    Ok(Rendezvous { host, port: number, job: get(JOB).unwrap_or_default() })
}

/// Cores of the host, whichever of them this process may use; only Linux tells.
fn cores_of_host() -> Option<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?)
    };
    text.trim().split(',').map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Placement>, PlacementError> {
        Placement::of(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    fn numbers(variables: &[(&str, &str)]) -> (usize, usize, usize, usize) {
        let found = of(variables).expect("sound variables").expect("several processes");
        (found.rank, found.size, found.local_rank, found.local_size)
    }

    #[test]
    fn every_launcher_is_read() {
        let torchrun = [
            ("RANK", "5"),
            ("WORLD_SIZE", "8"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "4"),
            ("MASTER_ADDR", "h0"),
            ("MASTER_PORT", "29500"),
        ];
        assert_eq!(numbers(&torchrun), (5, 8, 1, 4));
        let agent = [
            &torchrun[..],
            &[("TORCHELASTIC_USE_AGENT_STORE", "True"), ("TORCHELASTIC_RUN_ID", "j")],
        ]
        .concat();
        let rendezvous = Rendezvous { host: "h0".into(), port: 29501, job: "j".into() };
        assert_eq!(of(&agent).expect("sound").expect("several").launcher, Launcher::Torchrun(rendezvous.clone()));
        let own = rendezvous.variables(2, 4);
        let own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(numbers(&own), (2, 4, 2, 4));
        let open_mpi = [
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
        ];
        assert_eq!(numbers(&open_mpi), (3, 4, 1, 2));
        assert_eq!(
            numbers(&[
                ("PMI_RANK", "1"),
                ("PMI_SIZE", "2"),
                ("MPI_LOCALRANKID", "1"),
                ("MPI_LOCALNRANKS", "2")
            ]),
            (1, 2, 1, 2)
        );
        let slurm = [
            ("SLURM_PROCID", "4"),
            ("SLURM_STEP_NUM_TASKS", "8"),
            ("SLURM_LOCALID", "0"),
            ("SLURM_STEP_TASKS_PER_NODE", "4(x2)"),
        ];
        assert_eq!(numbers(&slurm), (4, 8, 0, 4));
        // mpirun under Slurm, whose step is one helper on each host.
        let helper = [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "2")];
        assert_eq!(numbers(&[&open_mpi[..], &helper].concat()), (3, 4, 1, 2));
        // torchrun under srun, whose step is one agent on each host; what a batch script sets is that of the job.
        let child = [&torchrun[..], &[("TORCHELASTIC_RUN_ID", "j")]].concat();
        let batch = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "16"), ("SLURM_LOCALID", "0")];
        for around in [&helper[..], &batch, &[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")]] {
            assert_eq!(numbers(&[&child[..], around].concat()), (5, 8, 1, 4), "{around:?}");
        }
        // The same set by a script, in each of two tasks and in the only one; and those of the tasks themselves.
        let second = [("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2")];
        assert_eq!(numbers(&[&torchrun[..], &second].concat()), (5, 8, 1, 4));
        let plain = [("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "h0"), ("MASTER_PORT", "29500")];
        for around in [second, [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")]] {
            assert_eq!(numbers(&[&plain[..], &around].concat()), (1, 2, 1, 2), "{around:?}");
        }
        // What mpirun starts may set torchrun's variables to its own numbers; MPI joins them then.
        let set = [&open_mpi[..], &[("RANK", "3"), ("WORLD_SIZE", "4")]].concat();
        assert_eq!(of(&set).expect("sound").expect("several").launcher, Launcher::OpenMpi);
    }

    #[test]
    fn one_process_is_alone() {
        for variables in [
            &[][..],
            &[("RANK", "0"), ("WORLD_SIZE", "1")],
            &[("MASTER_ADDR", "h0"), ("MASTER_PORT", "29500")],
            &[
                ("RANK", "0"),
                ("WORLD_SIZE", "1"),
                ("SLURM_PROCID", "0"),
                ("SLURM_STEP_NUM_TASKS", "1"),
            ],
            &[
                ("SLURM_PROCID", "0"),
                ("SLURM_NTASKS", "8"),
                ("SLURM_LOCALID", "0"),
                ("SLURM_TASKS_PER_NODE", "4(x2)"),
            ],
            &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")],
            &[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")],
            &[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")],
        ] {
            assert_eq!(of(variables), Ok(None), "{variables:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (variables, wanted) in [
            (&[("RANK", "3")][..], "RANK=3 is set, but not WORLD_SIZE"),
            (&[("RANK", "0")], "RANK=0 is set, but not WORLD_SIZE"),
            (&[("WORLD_SIZE", "1")], "WORLD_SIZE=1 is set, but not RANK"),
            (&[("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1")], "LOCAL_RANK=0 is set, but not RANK"),
            (&[("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")], "LOCAL_RANK=0 is set, but not LOCAL_WORLD_SIZE"),
            (&[("PMI_RANK", "0")], "PMI_RANK=0 is set, but not PMI_SIZE"),
            (&[("OMPI_COMM_WORLD_SIZE", "2")], "OMPI_COMM_WORLD_SIZE=2 is set, but not OMPI_COMM_WORLD_RANK"),
            (&[("SLURM_PROCID", "1"), ("SLURM_NTASKS", "2")], "SLURM_PROCID=1 is set, but not SLURM_STEP_NUM_TASKS"),
            (
                &[("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "4")],
                "WORLD_SIZE=2 and LOCAL_WORLD_SIZE=4 contradict each other",
            ),
            (
                &[
                    ("RANK", "1"),
                    ("WORLD_SIZE", "2"),
                    ("SLURM_PROCID", "0"),
                    ("SLURM_STEP_NUM_TASKS", "4"),
                ],
                "SLURM_PROCID=0, SLURM_STEP_NUM_TASKS=4 and RANK=1, WORLD_SIZE=2 contradict each other",
            ),
            (
                &[
                    ("RANK", "1"),
                    ("WORLD_SIZE", "2"),
                    ("SLURM_PROCID", "0"),
                    ("SLURM_STEP_NUM_TASKS", "2"),
                ],
                "SLURM_PROCID=0, SLURM_STEP_NUM_TASKS=2 and RANK=1, WORLD_SIZE=2 contradict each other",
            ),
            (
                &[
                    ("RANK", "0"),
                    ("WORLD_SIZE", "1"),
                    ("SLURM_PROCID", "1"),
                    ("SLURM_STEP_NUM_TASKS", "2"),
                ],
                "SLURM_PROCID=1, SLURM_STEP_NUM_TASKS=2 and RANK=0, WORLD_SIZE=1 contradict each other",
            ),
            (
                &[
                    ("RANK", "0"),
                    ("WORLD_SIZE", "1"),
                    ("OMPI_COMM_WORLD_RANK", "0"),
                    ("OMPI_COMM_WORLD_SIZE", "4"),
                ],
                "OMPI_COMM_WORLD_RANK=0, OMPI_COMM_WORLD_SIZE=4 and RANK=0, WORLD_SIZE=1 contradict each other",
            ),
            (&[("WORLD_SIZE", "2")], "WORLD_SIZE=2 is set, but not RANK"),
            (&[("RANK", "one"), ("WORLD_SIZE", "2")], "RANK=one is not a whole number from 0 up"),
            (&[("RANK", "-1"), ("WORLD_SIZE", "2")], "RANK=-1 is not a whole number from 0 up"),
            (
                &[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "h0"), ("MASTER_PORT", "99999")],
                "MASTER_PORT=99999 is not a port, from 1 to 65535",
            ),
            (
                &[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "h0"), ("MASTER_PORT", "0")],
                "MASTER_PORT=0 is not a port, from 1 to 65535",
            ),
            (&[("RANK", "2"), ("WORLD_SIZE", "2")], "RANK=2 is not below WORLD_SIZE=2"),
            (&[("RANK", "1"), ("WORLD_SIZE", "2")], "RANK=1, WORLD_SIZE=2 is set, but not MASTER_ADDR"),
            (
                &[("RANK", "1"), ("WORLD_SIZE", "2"), ("PMI_RANK", "0"), ("PMI_SIZE", "2")],
                "PMI_RANK=0, PMI_SIZE=2 and RANK=1, WORLD_SIZE=2 contradict each other",
            ),
        ] {
            let error = of(variables).expect_err(wanted);
            assert_eq!(error.to_string(), wanted);
            let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            let hint = error.hint_of(&get);
            let (_, unset) = hint.rsplit_once("unset ").expect("names");
            let left: Vec<_> = variables
                .iter()
                .copied()
                .filter(|(name, _)| !unset.split(' ').any(|unset| unset == *name))
                .collect();
            assert_eq!(of(&left), Ok(None), "{wanted}: {hint}");
        }
    }

    #[test]
    fn ranks_of_a_host_share_its_cores() {
        let launcher = Launcher::Torchrun(Rendezvous { host: String::new(), port: 1, job: String::new() });
        let placement = |local_size| Placement { rank: 0, size: 1000, local_rank: 0, local_size, launcher: launcher.clone() };
        let cores = available_parallelism().map_or(1, usize::from);
        assert_eq!(placement(1).threads(), cores);
        assert_eq!(placement(1000).threads(), (cores / 1000).max(1));
    }
}
