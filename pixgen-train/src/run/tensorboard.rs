//! The numbers of `metrics.jsonl` as an event file of TensorBoard.
//!
//! An event file is a sequence of records: length, masked CRC-32C of the length, a protobuf message `Event`, and its masked CRC-32C. Of
//! the messages only scalars are needed here. The crates that write such files are stale (tensorboard-rs is of 2021 and brings its own
//! protobuf and image crates), and two kinds of message take fewer lines than calling them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crc::{CRC_32_ISCSI, Crc};
use serde_json::{Map, Value};

use super::error::RunError;
use super::folder::RunFolder;
use super::log_line::numbers;
use pixgen_edge::atomic::make_folder;
use pixgen_edge::file_error::FileError;

const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// TensorBoard looks for names that contain this.
const PREFIX: &str = "events.out.tfevents.";
/// Ours; other event files in the folder stay.
const SUFFIX: &str = ".pixgen";

/// An event file that is being written.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a new event file in `tensorboard/` of a run with what its log holds, and removes the one before: the log of a resumed run
    /// was cut, and so nothing is there twice.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn open(folder: &RunFolder) -> Result<Self, RunError> {
        folder.require_lock()?;
        let place = folder.path().join("tensorboard");
        make_folder(&place).map_err(RunError::write(&place))?;
        let mut latest = 0;
        for entry in fs::read_dir(&place).map_err(RunError::read(&place))? {
            let name = entry.map_err(RunError::read(&place))?.file_name().to_string_lossy().into_owned();
            let Some(number) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX)) else {
                continue;
            };
            latest = latest.max(number.parse().unwrap_or(0));
            let path = place.join(&name);
            fs::remove_file(&path).map_err(|source| FileError::Remove { path: path.clone(), source })?;
        }
        // A later name each time, so that a TensorBoard that is looking goes on to the new file.
        let path = place.join(format!("{PREFIX}{:010}{SUFFIX}", (now() as u64).max(latest + 1)));
        let file = File::create(&path).map_err(RunError::write(&path))?;
        let mut events = Self { path, file };
        let log = match fs::read(folder.metrics()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(RunError::read(&folder.metrics())(error)),
        };
        let lines: Vec<Map<String, Value>> = log
            .split(|&byte| byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        // When a line was written is not known, but how long it took.
        let seconds = |line: &Map<String, Value>| line.get("seconds").and_then(Value::as_f64).unwrap_or(0.0);
        let mut time = now() - lines.iter().map(seconds).sum::<f64>();
        events.write(&first(time))?;
        for line in &lines {
            time += seconds(line);
            if let Some(images) = line.get("images").and_then(Value::as_u64) {
                events.write(&event(time, images, line))?;
            }
        }
        Ok(events)
    }

    /// Appends what was appended to the log.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn append(&mut self, images: u64, fields: &Map<String, Value>) -> Result<(), RunError> {
        self.write(&event(now(), images, fields))
    }

    fn write(&mut self, message: &[u8]) -> Result<(), RunError> {
        self.file.write_all(&record(message)).map_err(RunError::write(&self.path))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

// Protobuf: a field is its number and wire type, then the value.

fn bytes(field: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    varint(value.len() as u64, out);
    out.extend(value);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `Event.wall_time`, seconds since 1970, and `Event.step`.
fn head(time: f64, step: u64) -> Vec<u8> {
    let mut out = vec![1 << 3 | 1];
    out.extend(time.to_le_bytes());
    out.push(2 << 3);
    varint(step, &mut out);
    out
}

/// The message that every file begins with: `Event.file_version`.
fn first(time: f64) -> Vec<u8> {
    let mut out = head(time, 0);
    bytes(3, b"brain.Event:2", &mut out);
    out
}

/// `Event.summary` with a `Summary.Value` (tag, simple_value) for each number.
fn event(time: f64, images: u64, fields: &Map<String, Value>) -> Vec<u8> {
    let mut summary = Vec::new();
    let finite = numbers(fields).into_iter().filter_map(|(tag, value)| Some((tag, value?)));
    for (tag, value) in finite.filter(|(tag, _)| tag != "images") {
        let mut scalar = Vec::new();
        bytes(1, tag.as_bytes(), &mut scalar);
        scalar.push(2 << 3 | 5);
        scalar.extend((value as f32).to_le_bytes());
        bytes(1, &scalar, &mut summary);
    }
    let mut out = head(time, images);
    bytes(5, &summary, &mut out);
    out
}

/// A message with its length and both checksums.
fn record(message: &[u8]) -> Vec<u8> {
    let masked = |bytes: &[u8]| (CASTAGNOLI.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)).to_le_bytes();
    let length = (message.len() as u64).to_le_bytes();
    [&length, &masked(&length)[..], message, &masked(message)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::MetricsLog;
    use serde_json::json;

    /// (step, tag, value) of all scalars in an event file; the checksums are checked.
    fn read(bytes: &[u8]) -> Vec<(u64, String, f32)> {
        let (mut rest, mut found) = (bytes, Vec::new());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(record(&rest[12..12 + length]), rest[..16 + length], "a checksum");
            let fields = fields(&rest[12..12 + length]);
            let step = fields.iter().find(|(number, _)| *number == 2).map_or(0, |(_, value)| varint_of(value));
            for (_, summary) in fields.iter().filter(|(number, _)| *number == 5) {
                for (_, scalar) in self::fields(summary) {
                    let parts = self::fields(scalar);
                    found.push((step, String::from_utf8(parts[0].1.to_vec()).unwrap(), f32::from_le_bytes(parts[1].1.try_into().unwrap())));
                }
            }
            rest = &rest[16 + length..];
        }
        found
    }

    fn varint_of(bytes: &[u8]) -> u64 {
        bytes.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
    }

    /// Numbers and bytes of a message's fields.
    fn fields(mut rest: &[u8]) -> Vec<(u8, &[u8])> {
        let mut found = Vec::new();
        while let [key, after @ ..] = rest {
            let digits = |bytes: &[u8]| bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
            let (skip, length) = match key & 7 {
                0 => (0, digits(after)),
                1 => (0, 8),
                5 => (0, 4),
                _ => (digits(after), varint_of(&after[..digits(after)]) as usize),
            };
            found.push((key >> 3, &after[skip..skip + length]));
            rest = &after[skip + length..];
        }
        found
    }

    fn only_file(folder: &RunFolder) -> Vec<u8> {
        let files: Vec<_> = fs::read_dir(folder.path().join("tensorboard"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        fs::read(&files[0]).unwrap()
    }

    /// Known answers: CRC-32C of the usual test string, and a masked one by a bitwise computation in Python.
    #[test]
    fn records_are_those_of_tensorflow() {
        let record = record(b"abc");
        assert_eq!(record[..8], 3u64.to_le_bytes());
        assert_eq!(CASTAGNOLI.checksum(b"123456789"), 0xe306_9283);
        assert_eq!(record[15..], 0x21f1_576e_u32.to_le_bytes());
    }

    #[test]
    fn a_resumed_run_has_nothing_twice() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(parent.path()).unwrap();
        let line = |loss: f64| {
            json!({ "loss": loss, "seconds": 2.0, "rate": null, "quality": { "fd": 3.5 },
                "loss_by_noise": [{ "t_low": 0.25, "t_high": 1.0 / 3.0, "loss": 0.5, "count": 7 }, { "t_low": 1, "t_high": 2, "loss": null }] })
        };
        let mut log = MetricsLog::open(&folder, None).unwrap();
        log.mirror(EventFile::open(&folder).unwrap());
        for (images, loss) in [(64, 4.0), (128, 3.0), (192, 2.0)] {
            log.append(images, &line(loss)).unwrap();
        }
        let losses = |found: Vec<(u64, String, f32)>| {
            let losses = found.into_iter().filter(|(_, tag, _)| tag == "loss");
            losses.map(|(step, _, value)| (step, value)).collect::<Vec<_>>()
        };
        let all = read(&only_file(&folder));
        let tags: Vec<&str> = all[..4].iter().map(|(_, tag, _)| tag.as_str()).collect();
        assert_eq!(tags, ["loss", "loss_by_noise/0.25 to 0.333", "quality/fd", "seconds"]);
        assert_eq!(losses(all), [(64, 4.0), (128, 3.0), (192, 2.0)]);

        let mut log = MetricsLog::open(&folder, Some(128)).unwrap();
        log.mirror(EventFile::open(&folder).unwrap());
        log.append(192, &line(2.5)).unwrap();
        assert_eq!(losses(read(&only_file(&folder))), [(64, 4.0), (128, 3.0), (192, 2.5)]);
    }
}
