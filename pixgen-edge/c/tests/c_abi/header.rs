//! pixgen.h says what the code says: a C compiler compares sizes, offsets, values and prototypes.

use pixgen::{Pixgen, PixgenBand, PixgenDrawing, PixgenInfo, PixgenPrepared, PixgenShow, Status};
use pixgen_core::kernels::host::HostKernel;
use pixgen_edge::source_code::{Symbol, SymbolError};
use std::collections::BTreeSet;
use std::ffi::{c_char, c_int, c_void};
use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

const HEADER: &str = include_str!("../../pixgen.h");

/// Bytes of what a function refers to.
const fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Sizes and offsets of a struct as static assertions.
macro_rules! layout {
    ($rust:ty, $c:literal, $($field:ident),+) => {{
        let mut text = format!("_Static_assert(sizeof({0}) == {1}, \"{0}\");\n", $c, size_of::<$rust>());
        $(
            let (offset, name) = (offset_of!($rust, $field), stringify!($field));
            let _ = writeln!(text, "_Static_assert(offsetof({}, {name}) == {offset}, \"{name}\");", $c);
            let size = size_of_field(|whole: &$rust| &whole.$field);
            let _ = writeln!(text, "_Static_assert(sizeof((({} *)0)->{name}) == {size}, \"{name}\");", $c);
        )+
        // No field of C is missing above.
        let body = HEADER.split_once(concat!("\n", $c, " {\n")).expect($c).1.split_once("\n};").expect($c).0;
        let fields = [$(stringify!($field)),+];
        let declared = body.lines().filter(|line| line.split("/*").next().unwrap_or_default().contains(';'));
        assert_eq!(declared.count(), fields.len(), $c);
        text
    }};
}

/// The prototypes, in both languages.
fn prototypes() -> &'static str {
    let _: unsafe extern "C" fn(*mut Pixgen, *const c_void, usize) -> Status = pixgen::pixgen_open;
    let _: unsafe extern "C" fn(*const Pixgen, *mut PixgenInfo) -> Status = pixgen::pixgen_get_info;
    let _: unsafe extern "C" fn(*const Pixgen, u32, u64, u64, *mut c_void, usize, Option<PixgenShow>, *mut c_void) -> Status =
        pixgen::pixgen_draw;
    let _: unsafe extern "C" fn(*const Pixgen, *mut c_void, usize) -> Status = pixgen::pixgen_self_test;
    let _: extern "C" fn(c_int) -> *const c_char = pixgen::pixgen_error_text;
    let _: unsafe extern "C" fn(*const c_void, usize, *mut usize) -> Status = pixgen::pixgen_file_length;
    let _: unsafe extern "C" fn(*mut PixgenDrawing, *const Pixgen, u32, u64, u64, *mut c_void, usize) -> Status = pixgen::pixgen_begin;
    let _: unsafe extern "C" fn(*mut PixgenDrawing, u64, u64, u32) -> Status = pixgen::pixgen_walk;
    let _: unsafe extern "C" fn(*mut PixgenDrawing, Option<PixgenShow>, *mut c_void) -> Status = pixgen::pixgen_step;
    let _: unsafe extern "C" fn(*const Pixgen, *mut usize, *mut usize) -> Status = pixgen::pixgen_prepared_lengths;
    let _: unsafe extern "C" fn(*mut PixgenPrepared, *const Pixgen, *const c_char, *mut c_void, usize) -> Status = pixgen::pixgen_prepare;
    type DrawPrepared = unsafe extern "C" fn(
        *const PixgenPrepared,
        u32,
        u64,
        u64,
        *mut c_void,
        usize,
        *mut c_void,
        usize,
        Option<PixgenShow>,
        *mut c_void,
    ) -> Status;
    let _: DrawPrepared = pixgen::pixgen_draw_prepared;
    let _: unsafe extern "C" fn(u32, u64, u64, *mut i8, usize, *mut i16, usize) -> Status = pixgen::pixgen_accelerator_inputs;
    let _: unsafe extern "C" fn(u32, u32, *mut c_void, usize, Option<PixgenShow>, *mut c_void) -> Status =
        pixgen::pixgen_accelerator_picture;
    let _: fn(PixgenShow) -> unsafe extern "C" fn(*const PixgenBand, *mut c_void) = |show| show;
    "int pixgen_open(struct pixgen *, const void *, size_t);\n\
     int pixgen_get_info(const struct pixgen *, struct pixgen_info *);\n\
     int pixgen_draw(const struct pixgen *, uint32_t, uint64_t, uint64_t, void *, size_t, pixgen_show, void *);\n\
     int pixgen_self_test(const struct pixgen *, void *, size_t);\n\
     const char *pixgen_error_text(int);\n\
     int pixgen_file_length(const void *, size_t, size_t *);\n\
     int pixgen_begin(struct pixgen_drawing *, const struct pixgen *, uint32_t, uint64_t, uint64_t, void *, size_t);\n\
     int pixgen_walk(struct pixgen_drawing *, uint64_t, uint64_t, uint32_t);\n\
     int pixgen_step(struct pixgen_drawing *, pixgen_show, void *);\n\
     int pixgen_prepared_lengths(const struct pixgen *, size_t *, size_t *);\n\
     int pixgen_prepare(struct pixgen_prepared *, const struct pixgen *, const char *, void *, size_t);\n\
     int pixgen_draw_prepared(const struct pixgen_prepared *, uint32_t, uint64_t, uint64_t, void *, size_t, void *, size_t, pixgen_show, void *);\n\
     int pixgen_accelerator_inputs(uint32_t, uint64_t, uint64_t, int8_t *, size_t, int16_t *, size_t);\n\
     int pixgen_accelerator_picture(uint32_t, uint32_t, void *, size_t, pixgen_show, void *);\n\
     extern void (*show)(const struct pixgen_band *, void *);\nextern pixgen_show show;\n"
}

/// `PIXGEN_SMALL_WORKSPACE` of `SmallWorkspace`.
fn constant(status: Status) -> String {
    let mut name = "PIXGEN".to_owned();
    for letter in format!("{status:?}").chars() {
        if letter.is_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[test]
fn the_header_is_that_of_the_code() {
    let mut text = "#include \"pixgen.h\"\n".to_owned();
    text += &layout!(Pixgen, "struct pixgen", file, length);
    text += &layout!(
        PixgenInfo,
        "struct pixgen_info",
        workspace,
        width,
        channels,
        classes,
        steps,
        tests,
        band_rows,
        name,
        name_length,
        class_names,
        class_names_length
    );
    text += &layout!(PixgenBand, "struct pixgen_band", pixels, y, rows, width, channels);
    text += &layout!(
        PixgenDrawing,
        "struct pixgen_drawing",
        model,
        workspace,
        workspace_length,
        seed,
        number,
        to_seed,
        to_number,
        share,
        class_number,
        position
    );
    text += &layout!(PixgenPrepared, "struct pixgen_prepared", model, panels, panels_length, kernel, kernel_length);
    for (status, _) in Status::ALL {
        let (name, value) = (constant(*status), *status as c_int);
        let _ = writeln!(text, "_Static_assert({name} == {value}, \"{name}\");");
    }
    let _ = writeln!(text, "_Static_assert(sizeof(int) == {}, \"int\");", size_of::<Status>());
    let enumerators = HEADER
        .lines()
        .filter(|line| line.trim_start().starts_with("PIXGEN_") && line.contains(" = "));
    assert_eq!(enumerators.count(), Status::ALL.len());
    text += prototypes();
    assert_eq!(HEADER.matches("\nint pixgen_").count() + HEADER.matches("\nconst char *pixgen_").count(), 14);

    let folder = tempfile::tempdir().expect("temporary folder");
    let source = folder.path().join("header.c");
    std::fs::write(&source, &text).expect("written");
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")))
        .arg(&source)
        .output()
        .expect("a C compiler called cc");
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
}

/// What can be asked for on a PC is what the header names.
#[test]
fn kernels_of_the_header_are_those_of_the_code() {
    let comment = HEADER
        .split_once("or a name:")
        .expect("the names")
        .1
        .split_once("\n * A CPU")
        .expect("their end")
        .0;
    let named: BTreeSet<&str> = comment.split('"').skip(1).step_by(2).collect();
    // The last is for browsers.
    let known: BTreeSet<&str> = HostKernel::NAMES.into_iter().filter(|name| *name != "simd128").collect();
    assert_eq!(named, known);
}

/// A model in source code cannot take a name that the header declares.
#[test]
fn names_of_the_header_are_taken() {
    let names = HEADER.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names: BTreeSet<&str> = names.filter(|name| name.starts_with("pixgen_") && *name != "pixgen_model").collect();
    assert!(names.len() > 8);
    for name in names {
        assert_eq!(name.parse::<Symbol>(), Err(SymbolError::Taken), "{name}");
        assert_ne!(Symbol::of_path(Path::new(&name["pixgen_".len()..])).to_string(), name);
    }
}
