//! A package over HTTP: into a file that a later call can complete, and checked before it is used.

use super::catalogue::Package;
use super::checksum;
use super::error::PackageError;
use crate::run::Progress;
use pixgen_edge::file_error::FileError;
use pixgen_edge::interrupt::Interrupt;
use pixgen_edge::units::format_bytes;
use std::error::Error as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use ureq::http::{StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, http::Response};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection that brings nothing for so long counts as broken.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections in a row that may break without a single byte.
const FRUITLESS: u32 = 3;

/// Downloads packages.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    quiet: bool,
    /// Time before a broken connection is opened again, times the number of fruitless ones.
    pause: Duration,
}

impl Client {
    /// Certificates are checked as the operating system does, and proxies are those of `HTTPS_PROXY` and its kin, less `NO_PROXY`.
    pub fn new(quiet: bool) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("pixgen/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .http_status_as_error(false)
            .build();
        Self { agent: config.into(), quiet, pause: Duration::from_secs(1) }
    }

    /// Downloads the package at `url` into `part`, from where an earlier call was stopped; false if the user asked to stop.
    ///
    /// A connection that breaks is opened again while it brings something. `part` stays when this fails, unless its checksum is wrong.
    ///
    /// # Errors
    /// [`PackageError`]: connection, the server's answer, size, checksum, files.
    pub fn download(&self, url: &str, package: &Package, part: &Path, interrupt: &Interrupt) -> Result<bool, PackageError> {
        let mut resumed = part.metadata().is_ok_and(|metadata| metadata.len() > 0);
        loop {
            if !self.receive_all(url, package, part, interrupt)? {
                return Ok(false);
            }
            match checksum::check(part, package) {
                Ok(()) => return Ok(true),
                Err(PackageError::Checksum { title, expected, found, .. }) => {
                    std::fs::remove_file(part).map_err(FileError::write(part))?;
                    if !std::mem::take(&mut resumed) {
                        return Err(PackageError::Checksum { origin: url.to_owned(), title, expected, found });
                    }
                    if !self.quiet {
                        pixgen_edge::terminal::note("what an earlier call left is damaged; starting again");
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Downloads until `part` has the length of the package; false if the user asked to stop.
    fn receive_all(&self, url: &str, package: &Package, part: &Path, interrupt: &Interrupt) -> Result<bool, PackageError> {
        let write = FileError::write(part);
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(part).map_err(write)?;
        let mut kept = file.metadata().map_err(FileError::read(part))?.len();
        if kept > package.bytes {
            kept = 0;
        }
        let before = kept;
        if kept == package.bytes {
            return Ok(true);
        }
        let mut progress = Progress::of_bytes("download", kept, package.bytes, self.quiet);
        if kept > 0 {
            progress.message(&format!("resuming at {}", format_bytes(kept)));
        }
        let mut fruitless = 0;
        while kept < package.bytes {
            if interrupt.requested() {
                return Ok(false);
            }
            let start = kept;
            let broken = match self.request(url, &mut kept, package)? {
                Err(error) => error,
                Ok(body) => match receive(url, body, package, part, (&mut file, &mut kept), &mut progress, interrupt)? {
                    None => continue,
                    Some(error) => error,
                },
            };
            fruitless = if kept > start { 0 } else { fruitless + 1 };
            let never = kept == before;
            if never || fruitless >= FRUITLESS {
                let (mut reason, certificate) = explain(&broken);
                if self.agent.config().proxy().is_some_and(|proxy| proxy.is_from_env()) {
                    reason += " (with the proxy that the environment names)";
                }
                return Err(PackageError::Connection { url: url.to_owned(), reason, certificate, kept });
            }
            progress.message(&format!("the connection broke at {}; trying again", format_bytes(kept)));
            sleep(self.pause * (fruitless + 1));
        }
        file.set_len(kept).map_err(FileError::write(part))?;
        progress.finish();
        Ok(true)
    }

    /// Asks for what is missing behind `kept` bytes; `kept` becomes 0 when the server begins from the start.
    fn request(&self, url: &str, kept: &mut u64, package: &Package) -> Result<Result<Body, ureq::Error>, PackageError> {
        let mut response = match self.ask(url, *kept) {
            Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => return Err(PackageError::Address { url: url.to_owned() }),
            Err(error) => return Ok(Err(error)),
            Ok(response) => response,
        };
        // What is kept is longer than what the server has, or another part came than was asked for.
        let odd = match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => true,
            StatusCode::PARTIAL_CONTENT => !begins_at(&response, *kept),
            _ => false,
        };
        if odd && *kept > 0 {
            *kept = 0;
            response = match self.ask(url, 0) {
                Err(error) => return Ok(Err(error)),
                Ok(response) => response,
            };
        }
        let status = response.status();
        match status {
            StatusCode::OK => *kept = 0,
            StatusCode::PARTIAL_CONTENT if *kept > 0 => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(PackageError::Missing { url: url.to_owned(), status: status.as_u16() });
            }
            status => return Err(PackageError::Status { url: url.to_owned(), status: status.as_u16() }),
        }
        if let Some(length) = response.body().content_length()
            && *kept + length != package.bytes
        {
            return Err(PackageError::Size { url: url.to_owned(), expected: package.bytes, found: *kept + length });
        }
        Ok(Ok(response.into_body()))
    }

    fn ask(&self, url: &str, from: u64) -> Result<Response<Body>, ureq::Error> {
        // A package is a file; a server must not pack it a second time.
        let request = self.agent.get(url).header(header::ACCEPT_ENCODING, "identity");
        if from == 0 {
            request.call()
        } else {
            request.header(header::RANGE, format!("bytes={from}-")).call()
        }
    }
}

/// Appends a body to `part`; what broke the connection, if something did.
fn receive(
    url: &str,
    body: Body,
    package: &Package,
    part: &Path,
    (file, kept): (&mut File, &mut u64),
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Result<Option<ureq::Error>, PackageError> {
    let full = |source| FileError::Write { path: part.to_owned(), needed: Some(package.bytes), source };
    file.seek(SeekFrom::Start(*kept)).map_err(full)?;
    let mut reader = body.into_with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0; 1 << 16];
    while !interrupt.requested() {
        let read = match reader.read(&mut buffer) {
            Ok(0) if *kept < package.bytes => return Ok(Some(ureq::Error::Io(io::ErrorKind::UnexpectedEof.into()))),
            Ok(0) => return Ok(None),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Some(ureq::Error::from(error))),
        };
        if *kept + read as u64 > package.bytes {
            return Err(PackageError::Size { url: url.to_owned(), expected: package.bytes, found: *kept + read as u64 });
        }
        file.write_all(&buffer[..read]).map_err(full)?;
        *kept += read as u64;
        progress.update(*kept, None);
    }
    Ok(None)
}

/// Whether the part of a file that a server sends begins at `start`: `Content-Range: bytes 100-199/200`.
fn begins_at(response: &Response<Body>, start: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok());
    first == Some(start)
}

/// An error in words, with its causes, and whether a certificate is one of them.
fn explain(error: &ureq::Error) -> (String, bool) {
    let mut text = match error {
        ureq::Error::HostNotFound => "the name of the server cannot be resolved".to_owned(),
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => "the connection ended early".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text += &format!(": {more}");
        }
        cause = error.source();
    }
    let certificate = text.to_lowercase().contains("certificate");
    (text, certificate)
}

#[cfg(test)]
mod tests;
