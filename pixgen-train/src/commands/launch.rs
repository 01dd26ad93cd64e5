//! `launch`: starts the processes of a command, passes signals on, and ends all when one dies.

use crate::cli::{Cli, LaunchArgs, LaunchEngine};
use crate::distributed::{LAUNCHED, Placement, Rendezvous};
use crate::error::Error;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use pixgen_edge::interrupt::{EXIT_INTERRUPTED, Interrupt};
use pixgen_edge::terminal::note;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// Time between two looks at the processes.
const LOOK: Duration = Duration::from_millis(50);
/// Time that the others have to end by themselves when one has failed.
const GRACE: Duration = Duration::from_secs(5);

/// Starts the processes and waits for them; returns the exit code.
pub(super) fn run(args: &LaunchArgs) -> Result<i32, Error> {
    let wrong = |what: String, hint: &str| Error::Argument { what, hint: Some(hint.to_owned()) };
    let verb = args.command.first().map(|verb| verb.to_string_lossy().into_owned()).unwrap_or_default();
    if !["pretrain", "finetune", "sample", "eval"].contains(&verb.as_str()) {
        return Ok(usage(&Cli::command().error(
            ErrorKind::InvalidValue,
            format!(
                "launch -- {verb}: only `pretrain`, `finetune`, `sample` and `eval` run on several processes\n\n  \
                 tip: write launch --processes 2 -- finetune ..."
            ),
        )));
    }
    // A command line that is none is told once.
    let command = args.command.iter().map(OsString::as_os_str);
    if let Err(error) = Cli::try_parse_from([OsStr::new("pixgen-train")].into_iter().chain(command)) {
        return Ok(usage(&error));
    }
    let cannot = |what: String, error: std::io::Error| wrong(format!("cannot start {what}: {error}"), "see whether it runs by itself");
    let program = std::env::current_exe().map_err(|error| cannot("pixgen-train".to_owned(), error))?;
    let mpirun = match args.engine {
        LaunchEngine::Tcp => None,
        LaunchEngine::Auto => Mpirun::find(),
        LaunchEngine::Mpi => Some(
            Mpirun::find()
                .ok_or_else(|| wrong("there is no `mpirun` on the PATH".to_owned(), "install Open MPI or MPICH, or take --engine tcp"))?,
        ),
    };
    let interrupt = Interrupt::listen();
    let commands = match mpirun {
        Some(mpirun) => vec![mpirun.command(args, &program)],
        None => ranks(args, &program).map_err(|error| cannot("processes".to_owned(), error))?,
    };
    let mut job = Job { processes: Vec::new(), interrupt };
    for (rank, mut command) in commands.into_iter().enumerate() {
        let started = command.spawn();
        match started {
            Ok(child) => job.add(rank, child),
            Err(error) => {
                job.kill();
                return Err(cannot(program.display().to_string(), error));
            }
        }
    }
    Ok(job.wait())
}

/// Says what is wrong with a command line; returns the exit code.
fn usage(error: &clap::Error) -> i32 {
    let _ = error.print();
    error.exit_code()
}

/// `mpirun` of this machine.
struct Mpirun {
    open_mpi: bool,
}

impl Mpirun {
    fn find() -> Option<Self> {
        let output = Command::new("mpirun").arg("--version").stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output
            .status
            .success()
            .then(|| Self { open_mpi: text.contains("Open MPI") || text.contains("OpenRTE") })
    }

    /// The command that starts all processes. They share the cores themselves, so it binds none.
    fn command(&self, args: &LaunchArgs, program: &Path) -> Command {
        let mut command = own_group(Command::new("mpirun"));
        command.args(["-np", &args.processes.to_string()]);
        if self.open_mpi {
            command.args(["--bind-to", "none", "--oversubscribe"]);
            // Debian's Open MPI runs as root only when told twice.
            command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        } else {
            command.args(["-bind-to", "none"]);
        }
        // What `mpirun` can put before lines it puts before those of standard output, too.
        command.env(LAUNCHED, "1").arg(program).args(&args.command).stdin(Stdio::null());
        command
    }
}

/// A command for each process, with the variables of torchrun, that meet by TCP.
fn ranks(args: &LaunchArgs, program: &PathBuf) -> std::io::Result<Vec<Command>> {
    // The port is free now, and nobody but this job is told of it.
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let job = format!("launch-{}-{port}", std::process::id());
    let at = Rendezvous { host: "127.0.0.1".to_owned(), port, job };
    let processes = usize::from(args.processes);
    let one = |rank| {
        let mut command = own_group(Command::new(program));
        Placement::variables_of_others().for_each(|name| {
            command.env_remove(name);
        });
        command.args(&args.command).stdin(Stdio::null()).stderr(Stdio::piped());
        command.envs(at.variables(rank, processes));
        command
    };
    Ok((0..processes).map(one).collect())
}

/// Ctrl-C on a terminal reaches a whole group: processes in one of their own get the signal once, from here. Should `launch` itself be killed,
/// Linux asks them to save and stop.
fn own_group(mut command: Command) -> Command {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
        let launcher = getpid();
        let follow = move || {
            set_parent_process_death_signal(Some(Signal::TERM))?;
            // It may have been killed before the line above.
            if getppid() == Some(launcher) {
                Ok(())
            } else {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
        };
        // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
        unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, follow) };
    }
    command
}

/// A process, and who reads its messages.
struct Process {
    rank: usize,
    child: Child,
    reader: Option<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

/// All processes.
struct Job {
    processes: Vec<Process>,
    interrupt: Interrupt,
}

impl Job {
    fn add(&mut self, rank: usize, mut child: Child) {
        let reader = child.stderr.take().map(|stderr| spawn(move || tell(rank, stderr)));
        self.processes.push(Process { rank, child, reader, ended: None });
    }

    /// Waits for all, or for the first that fails and then not much longer for the others. Returns the exit code.
    fn wait(&mut self) -> i32 {
        let mut failed: Option<(i32, Instant)> = None;
        while self.processes.iter().any(|process| process.ended.is_none()) {
            for process in self.processes.iter_mut().filter(|process| process.ended.is_none()) {
                process.ended = process.child.try_wait().ok().flatten();
                let code = process.ended.map_or(0, code);
                if code != 0 && failed.is_none() {
                    failed = Some((code, Instant::now()));
                }
            }
            if self.interrupt.requested() {
                // The next signal is another one.
                self.interrupt = Interrupt::listen();
                self.signal();
            }
            if failed.is_some_and(|(_, at)| at.elapsed() > GRACE) {
                self.kill();
            }
            sleep(LOOK);
        }
        for process in &mut self.processes {
            let _ = process.reader.take().map(JoinHandle::join);
        }
        self.report();
        failed.map_or(0, |(code, _)| code)
    }

    /// Asks all to save and stop. An `mpirun` would kill its processes soon after: they are asked themselves, where the system says who they
    /// are.
    fn signal(&self) {
        #[cfg(unix)]
        for process in self.processes.iter().filter(|process| process.ended.is_none()) {
            for pid in youngest(process.child.id()) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
            }
        }
    }

    fn kill(&mut self) {
        for process in self.processes.iter_mut().filter(|process| process.ended.is_none()) {
            let _ = process.child.kill();
        }
    }

    /// Says how the processes ended that could not say it themselves.
    fn report(&self) {
        if self.processes.len() == 1 {
            return;
        }
        for Process { rank, ended, .. } in &self.processes {
            if let Some(status) = ended.filter(|status| ![0, 1, 2, EXIT_INTERRUPTED].contains(&code(*status))) {
                note(&format!("rank {rank} ended with {status}"));
            }
        }
    }
}

/// A process, or those of its children, and of theirs, that have none; only Linux tells.
#[cfg(unix)]
fn youngest(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let below: Vec<u32> = children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .flat_map(youngest)
        .collect();
    if below.is_empty() { vec![pid] } else { below }
}

/// The exit code of a process, as shells count signals.
fn code(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    status.code().unwrap_or(1)
}

/// Passes messages on, each line with its rank.
fn tell(rank: usize, messages: impl Read) {
    let mut messages = BufReader::new(messages);
    let mut line = Vec::new();
    while messages.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        note(&format!("[{rank}] {}", String::from_utf8_lossy(&line).trim_end_matches('\n')));
        line.clear();
    }
}
