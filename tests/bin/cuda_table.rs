//! Compiles the kernels of a program for sm_80 and sm_90a without a GPU, and writes the table of what they take.
//! `tests/cuda/compile.sh` prepares what this needs; see there for the arguments.

use pixgen_tests::cuda::assemble::assemble;
use pixgen_tests::cuda::report::{Kernels, patterns};
use pixgen_tests::cuda::run::{Arch, Tools, run};
use std::path::PathBuf;
use std::process::ExitCode;

/// What was asked for.
struct Arguments {
    tools: Tools,
    out: PathBuf,
    archs: Vec<Arch>,
    expected: Vec<String>,
    command: Vec<String>,
}

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)).and_then(compile) {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            problems.iter().for_each(|it| eprintln!("error: {it}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (mut stub, mut toolkit, mut out, mut cache) = (None, None, None, None);
    let (mut archs, mut expected) = (vec![Arch::Sm80, Arch::Sm90a], Vec::new());
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--stub" => stub = Some(value.into()),
            "--toolkit" => toolkit = Some(value.into()),
            "--out" => out = Some(value.into()),
            "--cache" => cache = Some(value.into()),
            "--arch" => archs = value.split(',').map(arch).collect::<Result<_, _>>()?,
            "--expect" => {
                let text = std::fs::read_to_string(&value).map_err(|error| format!("{value}: {error}"))?;
                expected.extend(patterns(&text));
            }
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    let command: Vec<String> = words.collect();
    if command.is_empty() {
        return Err("no program: put it after `--`".into());
    }
    let tools = Tools {
        stub: stub.ok_or("--stub is missing")?,
        toolkit: toolkit.ok_or("--toolkit is missing")?,
        cache,
    };
    Ok(Arguments { tools, out: out.ok_or("--out is missing")?, archs, expected, command })
}

fn arch(name: &str) -> Result<Arch, String> {
    [Arch::Sm80, Arch::Sm90a]
        .into_iter()
        .find(|it| it.name() == name)
        .ok_or_else(|| format!("{name} is neither sm_80 nor sm_90a"))
}

/// Runs the program for each architecture, assembles, writes `kernels.md` and `kernels.json`, and returns what is wrong.
fn compile(arguments: Arguments) -> Result<Vec<String>, String> {
    let Arguments { tools, out, archs, expected, mut command } = arguments;
    // The program starts in another folder.
    if command[0].contains('/') {
        let program = std::fs::canonicalize(&command[0]).map_err(|error| format!("{}: {error}", command[0]))?;
        command[0] = program.to_string_lossy().into_owned();
    }
    let mut problems = Vec::new();
    let name = std::path::Path::new(&command[0])
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut markdown = format!("# Kernels of `{}`\n", [&[name], &command[1..]].concat().join(" "));
    let mut json = Vec::new();
    for arch in archs {
        let collected = run(&command, arch, &tools, &out.join(arch.name())).map_err(|error| format!("{}: {error}", arch.name()))?;
        let usages = assemble(&collected.kernels, arch, &tools.toolkit);
        let rows = collected.kernels.into_iter().zip(usages).collect();
        let kernels = Kernels { arch, rows, complaints: collected.complaints };
        println!("{}", kernels.summary());
        problems.extend(kernels.problems(&expected));
        markdown = format!("{markdown}\n{}", kernels.to_markdown());
        json.push(kernels.to_json());
    }
    for (name, text) in [
        ("kernels.md", markdown),
        ("kernels.json", format!("{:#}\n", serde_json::Value::from(json))),
    ] {
        let path = out.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(problems)
}
