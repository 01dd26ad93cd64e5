//! Running an image in QEMU.

use super::{FirmwareError, Image, Line, Report, log};
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// After which firmware is taken to hang. Pictures take seconds.
const PATIENCE: Duration = Duration::from_secs(300);

impl Image {
    /// Runs the firmware to its end and reads its log. An error when it does not exit with code 0 or leaves something out.
    pub fn run(&self) -> Result<Report, FirmwareError> {
        let (console, failure) = self.emulate()?;
        let (log, sizes) = log::read(self.file.path(), &console)?;
        match failure {
            Some(reason) => Err(FirmwareError::Run(reason, log)),
            None => log::report(log, sizes),
        }
    }

    /// Runs firmware that writes text. An error when it does not exit with code 0.
    pub fn run_text(&self) -> Result<Vec<Line>, FirmwareError> {
        let (console, failure) = self.emulate()?;
        let text = String::from_utf8_lossy(&console);
        let lines = text.lines().map(|line| Line { level: None, text: line.to_owned() }).collect();
        match failure {
            Some(reason) => Err(FirmwareError::Run(reason, lines)),
            None => Ok(lines),
        }
    }

    /// What the firmware wrote to the console, and what was wrong with its end.
    fn emulate(&self) -> Result<(Vec<u8>, Option<String>), FirmwareError> {
        let name = self.machine.name;
        let [emulator, arguments @ ..] = self.machine.emulator else {
            return Err(FirmwareError::Host(format!("{name}: no emulator")));
        };
        let host = |error: std::io::Error| FirmwareError::Host(format!("{emulator}: {error}\nhint: `tests/run.sh firmware` installs it"));
        let mut qemu = Command::new(emulator)
            .args(arguments)
            // An instruction takes a nanosecond of the machine's time: counts repeat exactly.
            .args(["-icount", "shift=0", "-display", "none", "-serial", "none", "-monitor", "none"])
            .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
            .arg(self.file.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(host)?;
        let console = drain(qemu.stdout.take());
        let complaints = drain(qemu.stderr.take());
        let status = wait(&mut qemu).map_err(host)?;
        let console = console.join().unwrap_or_default();
        let complaints = complaints.join().unwrap_or_default();
        let failure = match status {
            None => Some(format!("{name}: no end after {} s", PATIENCE.as_secs())),
            Some(status) if !status.success() => Some(format!("{name}: {status} {}", String::from_utf8_lossy(&complaints).trim())),
            Some(_) => None,
        };
        Ok((console, failure))
    }
}

/// Reads a pipe to its end on a thread of its own.
fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is kept.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Waits for the end; `None` when [`PATIENCE`] ran out and the process was ended.
fn wait(process: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = process.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(5));
    }
    process.kill()?;
    process.wait()?;
    Ok(None)
}
