//! Every answer of every function.

use crate::fixture::{self, CLASSES, NAME};
use pixgen::{Pixgen, PixgenBand, PixgenInfo, Status, pixgen_draw, pixgen_error_text, pixgen_get_info, pixgen_open, pixgen_self_test};
use pixgen_core::integer::PictureHash;
use pixgen_core::pxg::Model;
use pixgen_edge::aligned::AlignedBytes;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};
use std::slice;

/// What a callback has seen.
struct Seen {
    hash: PictureHash,
    rows: u32,
}

unsafe extern "C" fn show(band: *const PixgenBand, user: *mut c_void) {
    // SAFETY: the tests draw with a `Seen`.
    let (band, seen) = unsafe { (&*band, &mut *user.cast::<Seen>()) };
    assert_eq!((band.y, band.rows, band.width, band.channels), (seen.rows, 3, 12, 3));
    // SAFETY: the library's promise.
    seen.hash.update(unsafe { slice::from_raw_parts(band.pixels, 3 * 12 * 3) });
    seen.rows += band.rows;
}

/// A handle and a workspace.
fn open(file: &AlignedBytes) -> (Pixgen, AlignedBytes) {
    let mut model = Pixgen { file: null(), length: 0 };
    // SAFETY: the file outlives the handle in all tests.
    let status = unsafe { pixgen_open(&raw mut model, file.bytes().as_ptr().cast(), file.bytes().len()) };
    assert_eq!(status, Status::Ok);
    let len = Model::read(file.bytes()).expect("a good file").workspace_len();
    (model, AlignedBytes::zeroed(len))
}

fn draw(model: *const Pixgen, class: u32, workspace: &mut [u8]) -> (Status, Seen) {
    let mut seen = Seen { hash: PictureHash::new(), rows: 0 };
    let user = (&raw mut seen).cast();
    // SAFETY: a handle of `open`, or a pointer that is refused; memory of this test.
    let status = unsafe { pixgen_draw(model, class, 7, 0, workspace.as_mut_ptr().cast(), workspace.len(), Some(show), user) };
    (status, seen)
}

#[test]
fn draws_what_rust_draws() {
    let file = fixture::file();
    let (model, mut workspace) = open(&file);
    for class in 0..CLASSES.len() {
        let (status, seen) = draw(&raw const model, class as u32, workspace.bytes_mut());
        assert_eq!((status, seen.rows), (Status::Ok, 12));
        assert_eq!(seen.hash.value(), fixture::hash(&Model::read(file.bytes()).expect("a good file"), class, 7), "class {class}");
    }
}

#[test]
fn says_what_the_file_holds() {
    let file = fixture::file();
    let (model, workspace) = open(&file);
    let mut info = std::mem::MaybeUninit::<PixgenInfo>::uninit();
    // SAFETY: memory of this test, filled when the answer is `Ok`.
    let info = unsafe {
        assert_eq!(pixgen_get_info(&raw const model, info.as_mut_ptr()), Status::Ok);
        info.assume_init()
    };
    assert_eq!(info.workspace, workspace.bytes().len());
    assert_eq!((info.width, info.channels, info.classes), (12, 3, 3));
    assert_eq!((info.steps, info.tests, info.band_rows), (1, 2, 3));
    // SAFETY: places in the file.
    let text = |start: *const c_char, length| unsafe { slice::from_raw_parts(start.cast::<u8>(), length) };
    assert_eq!(text(info.name, info.name_length), NAME.as_bytes());
    assert_eq!(text(info.class_names, info.class_names_length), CLASSES.join("\n").as_bytes());
}

#[test]
fn refuses_files() {
    let file = fixture::file();
    let good = file.bytes();
    let open = |bytes: &[u8]| {
        let mut model = Pixgen { file: null(), length: 0 };
        // SAFETY: memory of this test.
        let status = unsafe { pixgen_open(&raw mut model, bytes.as_ptr().cast(), bytes.len()) };
        assert_eq!(model.file.is_null(), status != Status::Ok, "filled only when the file is good");
        status
    };
    let changed = |at: usize, bytes: &[u8]| {
        let mut copy = AlignedBytes::copy(good);
        copy.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
        copy
    };
    assert_eq!(open(good), Status::Ok);
    assert_eq!(open(&good[16..]), Status::NotAModel);
    assert_eq!(open(&good[..good.len() - 1]), Status::Length);
    assert_eq!(open(&[]), Status::Length);
    assert_eq!(open(changed(8, &[99]).bytes()), Status::Version);
    assert_eq!(open(changed(good.len() / 2, &[!good[good.len() / 2]]).bytes()), Status::Checksum);
    let mut shifted = AlignedBytes::zeroed(good.len() + 4);
    shifted.bytes_mut()[4..].copy_from_slice(good);
    assert_eq!(open(&shifted.bytes()[4..]), Status::Misaligned);
    // SAFETY: null is refused; the length of a slice that cannot be is too.
    unsafe {
        let mut model = Pixgen { file: null(), length: 0 };
        assert_eq!(pixgen_open(null_mut(), good.as_ptr().cast(), good.len()), Status::NullPointer);
        assert_eq!(pixgen_open(&raw mut model, null(), 0), Status::NullPointer);
        assert_eq!(pixgen_open(&raw mut model, good.as_ptr().cast(), usize::MAX), Status::Length);
    }
}

#[test]
fn refuses_requests() {
    let file = fixture::file();
    let (model, mut workspace) = open(&file);
    let model = &raw const model;
    let workspace = workspace.bytes_mut();
    let len = workspace.len();
    assert_eq!(draw(model, 3, workspace).0, Status::NoSuchClass);
    assert_eq!(draw(model, u32::MAX, workspace).0, Status::NoSuchClass);
    assert_eq!(draw(model, 0, &mut workspace[..len - 1]).0, Status::SmallWorkspace);
    assert_eq!(draw(model, 0, &mut workspace[..0]).0, Status::SmallWorkspace);
    let mut longer = AlignedBytes::zeroed(len + 8);
    assert_eq!(draw(model, 0, &mut longer.bytes_mut()[8..]).0, Status::Misaligned);
    assert_eq!(draw(null(), 0, workspace).0, Status::NullPointer);
    assert_eq!(draw(model.wrapping_byte_add(1), 0, workspace).0, Status::Misaligned);
    let empty = Pixgen { file: null(), length: 0 };
    assert_eq!(draw(&raw const empty, 0, workspace).0, Status::NullPointer);
    let start = workspace.as_mut_ptr().cast();
    // SAFETY: null is refused.
    unsafe {
        assert_eq!(pixgen_draw(model, 0, 7, 0, null_mut(), len, Some(show), null_mut()), Status::NullPointer);
        assert_eq!(pixgen_draw(model, 0, 7, 0, start, len, None, null_mut()), Status::NullPointer);
        assert_eq!(pixgen_get_info(model, null_mut()), Status::NullPointer);
        assert_eq!(pixgen_self_test(model, null_mut(), len), Status::NullPointer);
    }
}

#[test]
fn tests_itself() {
    let file = fixture::file();
    let (model, mut workspace) = open(&file);
    let test = |model: &Pixgen, workspace: &mut [u8]| {
        // SAFETY: memory of this test.
        unsafe { pixgen_self_test(model, workspace.as_mut_ptr().cast(), workspace.len()) }
    };
    assert_eq!(test(&model, workspace.bytes_mut()), Status::Ok);
    assert_eq!(test(&model, &mut workspace.bytes_mut()[..16]), Status::SmallWorkspace);
    // The last byte belongs to the hash of the last vector; only `pixgen_open` looks at the checksum.
    let mut damaged = AlignedBytes::copy(file.bytes());
    if let Some(last) = damaged.bytes_mut().last_mut() {
        *last ^= 1;
    }
    let model = Pixgen { file: damaged.bytes().as_ptr().cast(), ..model };
    assert_eq!(test(&model, workspace.bytes_mut()), Status::SelfTest);
}

#[test]
fn every_code_has_its_own_text() {
    let text = |code| {
        // SAFETY: a constant that ends in a zero.
        unsafe { CStr::from_ptr(pixgen_error_text(code)) }.to_str().expect("English")
    };
    let mut texts: Vec<&str> = Status::ALL.iter().map(|(status, _)| text(*status as i32)).collect();
    texts.extend([text(-1)]);
    assert_eq!(text(i32::MAX), text(-1));
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), Status::ALL.len() + 1);
}
