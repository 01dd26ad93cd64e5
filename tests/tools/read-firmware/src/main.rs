//! `read-firmware ELF < CONSOLE`: sizes of an image in bytes, and the `defmt` frames that it wrote to its console, as one JSON object:
//!
//! ```json
//! {"flash": 61240, "ram": 9428, "log": [{"level": "info", "text": "stack 412"}]}
//! ```
//!
//! `level` is null for text without one.

use defmt_decoder::{DecodeError, Table};
use object::elf::{SHF_ALLOC, SHF_WRITE};
use object::{Object, ObjectSection, SectionFlags, SectionKind};
use serde_json::{Value, json};
use std::error::Error;
use std::io::Read;
use std::process::ExitCode;

fn main() -> ExitCode {
    match read() {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("read-firmware: {error}");
            eprintln!("hint: read-firmware ELF < CONSOLE");
            ExitCode::FAILURE
        }
    }
}

fn read() -> Result<Value, Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("no ELF file")?;
    let elf = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut console = Vec::new();
    std::io::stdin().read_to_end(&mut console)?;
    let (flash, ram) = sizes(&elf)?;
    Ok(json!({ "flash": flash, "ram": ram, "log": log(&elf, &console)? }))
}

/// What is flashed, and the variables: bytes of the sections that occupy memory.
fn sizes(elf: &[u8]) -> object::Result<(u64, u64)> {
    let (mut flash, mut ram) = (0, 0);
    for section in object::File::parse(elf)?.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else {
            continue;
        };
        // The start-up code of RISC-V gives what is left of RAM to a section.
        if sh_flags & u64::from(SHF_ALLOC) == 0 || section.name()? == ".stack" {
            continue;
        }
        if section.kind() != SectionKind::UninitializedData {
            flash += section.size();
        }
        if sh_flags & u64::from(SHF_WRITE) != 0 {
            ram += section.size();
        }
    }
    Ok((flash, ram))
}

fn log(elf: &[u8], console: &[u8]) -> Result<Vec<Value>, Box<dyn Error>> {
    let table = Table::parse(elf)?.ok_or("the image has no log strings")?;
    let mut decoder = table.new_stream_decoder();
    decoder.received(console);
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => {
                let level = frame.level().map(|level| level.as_str());
                lines.push(json!({ "level": level, "text": frame.display_message().to_string() }));
            }
            Err(DecodeError::UnexpectedEof) => return Ok(lines),
            Err(DecodeError::Malformed) => return Err(format!("the log is damaged after line {}", lines.len()).into()),
        }
    }
}
