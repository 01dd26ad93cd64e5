//! example/draw.c, built against the static library, on the host and in QEMU: both print the hashes that Rust computes. And the sketch.

use crate::fixture::{self, CLASSES};
use pixgen_core::pxg::Model;
use pixgen_edge::pxg_file::{PxgFormat, write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Folder of the package.
fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command to a good end.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    output
}

/// The static library: what `cargo` builds for the arguments.
fn library(cargo: &mut Command, arguments: &[&str]) -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    let target = program.ancestors().nth(3).expect("target/PROFILE/deps").join("c-abi");
    let output = run(cargo
        .args([
            "build",
            "--release",
            "--locked",
            "-p",
            "pixgen-c",
            "--message-format=json-render-diagnostics",
        ])
        .args(arguments)
        .env("CARGO_TARGET_DIR", target)
        .current_dir(package()));
    let files = String::from_utf8(output.stdout).expect("JSON");
    let messages = files.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let names = messages.filter_map(|message| message.get("filenames").cloned());
    let mut names = names.flat_map(|names| serde_json::from_value::<Vec<PathBuf>>(names).expect("a list"));
    names.find(|name| name.ends_with("libpixgen.a")).expect("a static library")
}

/// model.h in a folder, and what the program must print about it.
fn model() -> (TempDir, Vec<String>) {
    let file = fixture::file();
    let folder = tempfile::tempdir().expect("temporary folder");
    write(&folder.path().join("model.h"), file.bytes(), PxgFormat::CHeader, "Untrained.", None).expect("written");
    let model = Model::read(file.bytes()).expect("a good file");
    let mut lines = vec![
        format!("{}: {} classes, {} bytes of workspace", fixture::NAME, CLASSES.len(), model.workspace_len()),
        "self-test 2 passed".to_owned(),
    ];
    for class in 0..CLASSES.len() {
        lines.push(format!("picture class {class} seed 1 number 0 hash {:016x}", fixture::hash(&model, class, 1)));
    }
    (folder, lines)
}

/// Compares the output: the lines, and a picture of 12 rows of 24 characters.
fn compare(output: &Output, expected: &[String]) {
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let (art, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.chars().all(|c| " .:-=+*#%@".contains(c)));
    assert_eq!(lines, expected, "{text}");
    assert_eq!(art.iter().map(|row| row.len()).collect::<Vec<_>>(), [24; 12], "{text}");
}

#[test]
fn on_the_host() {
    let (folder, expected) = model();
    let library = library(&mut Command::new(env!("CARGO")), &[]);
    let program = folder.path().join("draw");
    run(Command::new("cc")
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(folder.path())
        .arg("-I")
        .arg(package())
        .arg(package().join("example/draw.c"))
        .arg(library)
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program));
    compare(&run(&mut Command::new(program)), &expected);
}

/// Needs arm-none-eabi-gcc, newlib and qemu-system-arm: tests/run.sh installs them.
#[test]
fn on_a_cortex_m4() {
    let (folder, expected) = model();
    // Floating-point registers stay out of the calls, as in newlib's default.
    let mut cargo = Command::new(package().join("../../tests/tools/fw-cargo.sh"));
    let library = library(&mut cargo, &["--target", "thumbv7em-none-eabi"]);
    let program = folder.path().join("draw.elf");
    let example = package().join("example");
    run(Command::new("arm-none-eabi-gcc")
        .args([
            "-mcpu=cortex-m4",
            "-mthumb",
            "-mfloat-abi=soft",
            "-std=c11",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .args([
            "-ffunction-sections",
            "-Wl,--gc-sections",
            "-nostartfiles",
            "--specs=nano.specs",
            "--specs=rdimon.specs",
            "-I",
        ])
        .arg(folder.path())
        .arg("-I")
        .arg(package())
        .arg("-T")
        .arg(example.join("cortex-m/mps2.ld"))
        .arg(example.join("draw.c"))
        .arg(example.join("cortex-m/startup.c"))
        .arg(library)
        .arg("-o")
        .arg(&program));
    let output = run(Command::new("timeout")
        .args([
            "60",
            "qemu-system-arm",
            "-M",
            "mps2-an386",
            "-display",
            "none",
            "-serial",
            "none",
            "-monitor",
            "none",
        ])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(&program));
    compare(&output, &expected);
}

/// The sketch is C++ and compiles; what it calls of Arduino is declared here.
#[test]
fn the_sketch_compiles() {
    const ARDUINO: &str = "#include <stddef.h>\n#include <stdint.h>\n\
        struct SerialPort { void begin(unsigned long); operator bool(); void print(char); void print(unsigned long); void print(const char *);\n\
        void println(); void println(const char *); };\nextern SerialPort Serial;\nunsigned long millis(); void delay(unsigned long);\n";
    let (folder, _) = model();
    std::fs::write(folder.path().join("Arduino.h"), ARDUINO).expect("written");
    run(Command::new("arm-none-eabi-g++")
        .args([
            "-std=gnu++11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsyntax-only",
            "-include",
            "Arduino.h",
            "-I",
        ])
        .arg(folder.path())
        .arg("-I")
        .arg(package())
        .args(["-x", "c++"])
        .arg(package().join("example/arduino/arduino.ino")));
}
