//! firmware-examples/c, built against the static library: draw.c on the host and in QEMU, slices.c on an STM32 in QEMU with the library that
//! library.sh builds. All print the hashes that Rust computes. The sketch and the package descriptions are checked for their syntax only.

use crate::fixture::{self, CLASSES};
use pixgen_core::accelerator::inputs;
use pixgen_core::integer::plan::plan_sites;
use pixgen_core::integer::{DrawRequest, PictureHash};
use pixgen_core::pxg::Model;
use pixgen_edge::plan::CODE;
use pixgen_edge::pxg_file::{PxgFormat, write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Folder of the package.
fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The C examples.
fn examples() -> PathBuf {
    package().join("../../firmware-examples/c")
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
        .arg(examples().join("draw.c"))
        .arg(library)
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program));
    compare(&run(&mut Command::new(program)), &expected);
}

/// The example for PCs and Linux boards: with the fastest kernel and the portable one, its hash and its PNG file are the picture.
#[test]
fn a_picture_on_linux() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| folder.path().join(name);
    let file = fixture::file();
    std::fs::write(at("model.pxg"), file.bytes()).expect("written");
    run(Command::new("cc")
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(package())
        .arg(examples().join("linux.c"))
        .arg(library(&mut Command::new(env!("CARGO")), &[]))
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(at("linux")));
    let model = Model::read(file.bytes()).expect("a good file");
    let hash = fixture::hash(&model, 1, 5);
    let draw = |class: &str, kernel: &str| {
        let mut program = Command::new(at("linux"));
        program.args([&at("model.pxg"), Path::new(class), Path::new("5"), &at("picture.png")]);
        if !kernel.is_empty() {
            program.env("PIXGEN_KERNEL", kernel);
        }
        program
    };
    for kernel in ["", "portable"] {
        let output = run(&mut draw("1", kernel));
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("class 1 seed 5 number 0 hash {hash:016x}\n"));
        let (picture, _) = pixgen_edge::picture::png::read(&at("picture.png")).expect("a PNG file");
        assert_eq!((picture.width(), picture.height(), picture.channels()), (12, 12, 3));
        let mut found = PictureHash::new();
        found.update(picture.bytes());
        assert_eq!(found.value(), hash, "{kernel}");
    }
    for (class, kernel, says) in [("3", "", "no such class"), ("1", "abacus", "no kernel of that name")] {
        let output = draw(class, kernel).output().expect("runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains(says), "{text}");
    }
}

/// Needs arm-none-eabi-gcc, newlib and qemu-system-arm: tests/run.sh installs them.
#[test]
fn on_a_cortex_m4() {
    let (folder, expected) = model();
    // Floating-point registers stay out of the calls, as in newlib's default.
    let mut cargo = Command::new(package().join("../../tests/tools/fw-cargo.sh"));
    let library = library(&mut cargo, &["--target", "thumbv7em-none-eabi"]);
    let program = folder.path().join("draw.elf");
    link_for_cortex_m4(&["draw.c"], "mps2.ld", &[folder.path(), package()], &library, &program);
    compare(&emulate("mps2-an386", &program), &expected);
}

/// Compiles and links C files for a Cortex-M4 with the start-up code of the examples.
fn link_for_cortex_m4(sources: &[&str], script: &str, include: &[&Path], library: &Path, program: &Path) {
    let cortex_m = examples().join("cortex-m");
    let mut gcc = Command::new("arm-none-eabi-gcc");
    gcc.args([
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
    ])
    .args(include.iter().flat_map(|folder| [Path::new("-I"), folder]))
    .arg("-T")
    .arg(cortex_m.join(script))
    .args(sources.iter().map(|source| examples().join(source)))
    .arg(cortex_m.join("startup.c"))
    .arg(library)
    .arg("-o")
    .arg(program);
    run(&mut gcc);
}

/// slices.elf, by the command of docs/guides/from-c.md, in a folder that holds model.h and the folder of library.sh.
fn build_as_the_guide(folder: &Path) -> PathBuf {
    std::os::unix::fs::symlink(examples().join(".."), folder.join("firmware-examples")).expect("a link");
    let guide = std::fs::read_to_string(examples().join("../../docs/guides/from-c.md")).expect("the guide");
    let start = guide.find("arm-none-eabi-gcc -mcpu").expect("its command");
    let command = guide[start..].split("\nqemu").next().expect("its end");
    run(Command::new("bash")
        .args(["-c", &format!("{command} -std=c11 -Wall -Wextra -Werror -Wl,--fatal-warnings")])
        .current_dir(folder));
    folder.join("slices.elf")
}

/// Runs a program in QEMU.
fn emulate(machine: &str, program: &Path) -> Output {
    run(Command::new("timeout")
        .args(["60", "qemu-system-arm", "-M", machine])
        .args(["-display", "none", "-serial", "none", "-monitor", "none"])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(program))
}

/// The library of one command, and firmware that draws in slices within the memory of an STM32L476. QEMU's STM32F405 has its flash and RAM at
/// the same addresses, and no less of them.
#[test]
fn slices_on_an_stm32() {
    let (folder, mut expected) = model();
    let target = std::env::current_exe().expect("this program");
    let target = target.ancestors().nth(3).expect("target/PROFILE/deps").join("c-abi");
    let out = folder.path().join("pixgen");
    run(Command::new(examples().join("library.sh"))
        .arg("cortex-m4")
        .arg(&out)
        .env("CARGO_TARGET_DIR", target));
    let program = build_as_the_guide(folder.path());
    let file = fixture::file();
    let sizes = run(Command::new("arm-none-eabi-size").arg(&program)).stdout;
    let sizes = String::from_utf8_lossy(&sizes).into_owned();
    let text: u64 = sizes.split_whitespace().nth(6).and_then(|text| text.parse().ok()).expect("a size");
    assert!(text - file.bytes().len() as u64 <= CODE, "more flash than `plan` counts\n{sizes}");

    let model = Model::read(file.bytes()).expect("a good file");
    let slices = plan_sites(model.config(), model.steps(), &mut |_| ()).slices;
    let expected: Vec<String> = expected.split_off(2).iter().map(|line| format!("{line} in {slices} slices")).collect();
    let output = emulate("netduinoplus2", &program);
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);

    let unknown = Command::new(examples().join("library.sh")).arg("z80").output().expect("runs");
    let text = String::from_utf8_lossy(&unknown.stderr);
    assert!(unknown.status.code() == Some(1) && text.contains("cortex-m0plus cortex-m3"), "{text}");
}

/// What Arduino, PlatformIO and ESP-IDF read. None of them is here, so this is a check of syntax and of what they ask for.
#[test]
fn packages_are_described() {
    let read = |name: &str| std::fs::read_to_string(examples().join("package").join(name)).expect(name);
    let version = env!("CARGO_PKG_VERSION");
    let properties = read("library.properties");
    let property = |key: &str| properties.lines().find_map(|line| line.split_once('=').filter(|(name, _)| *name == key));
    for key in [
        "name",
        "version",
        "author",
        "maintainer",
        "sentence",
        "paragraph",
        "category",
        "url",
        "architectures",
    ] {
        assert!(property(key).is_some_and(|(_, value)| !value.is_empty()), "library.properties: {key}");
    }
    assert_eq!(property("version").map(|(_, value)| value), Some(version));
    assert_eq!(property("ldflags").map(|(_, value)| value), Some("-lpixgen"));
    let json: serde_json::Value = serde_json::from_str(&read("library.json")).expect("JSON");
    assert_eq!((json["name"].as_str(), json["version"].as_str()), (Some("Pixgen"), Some(version)));
    let cmake = read("CMakeLists.txt");
    let commands: Vec<&str> = cmake.lines().filter(|line| !line.starts_with('#')).collect();
    for line in &commands {
        let (command, arguments) = line.split_once('(').unwrap_or_else(|| panic!("CMakeLists.txt: {line}"));
        assert!(command.chars().all(|c| c.is_ascii_lowercase() || c == '_') && arguments.ends_with(')'), "{line}");
        assert_eq!(line.matches('"').count() % 2, 0, "{line}");
    }
    assert!(commands.first().is_some_and(|line| line.starts_with("idf_component_register(")));
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
        .arg(examples().join("arduino/arduino.ino")));
}

/// The glue for an Ethos-U, with stubs for the vendor's runtime: what it shows are the bytes of the inputs that Rust computes. With a data cache
/// the arena is cleaned before the accelerator starts, after the runtime's last write, and the picture's old bytes are dropped; a runtime without
/// memory fails every time.
#[test]
fn ethos_u_with_a_stub_runtime() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let sources = examples().join("../ethos-u");
    let program = |name: &str, options: &[&str]| {
        let program = folder.path().join(name);
        run(Command::new("c++")
            .args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-I"])
            .arg(sources.join("stubs"))
            .arg("-I")
            .arg(package())
            .args(options)
            .args([sources.join("draw.cc"), sources.join("stubs/host.cc")])
            .arg(library(&mut Command::new(env!("CARGO")), &[]))
            .args(["-lpthread", "-ldl", "-lm", "-o"])
            .arg(&program));
        Command::new(program)
    };
    let (mut noise, mut class) = ([0i8; 12 * 12 * 3], [0i16; 3]);
    inputs(&DrawRequest { class: 2, seed: 7, number: 0 }, &mut noise, &mut class).expect("a class");
    let expected: Vec<u8> = noise.iter().map(|n| (n.wrapping_sub(2) as u8) ^ 0x80).collect();
    let cached = "-DPIXGEN_CMSIS_HEADER=\"cmsis.h\"";
    let own = &[cached, "-DPIXGEN_OWN_INFERENCE_BEGIN"][..]; // and none that cleans
    for (name, options, cache) in [
        ("draw", &[][..], "0 0 1"),
        ("cached", &[cached], "65536 432 0"),
        ("own", own, "65536 432 1"),
    ] {
        let output = run(&mut program(name, options));
        assert_eq!((output.stdout == expected, String::from_utf8_lossy(&output.stderr).as_ref()), (true, cache), "{name}");
    }
    let small = program("small", &["-DPIXGEN_ARENA_BYTES=512"]).output().expect("runs");
    assert!(small.status.code() == Some(3) && small.stdout.is_empty(), "{small:?}");
}
