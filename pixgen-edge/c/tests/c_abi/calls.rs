//! Every answer of every function.

use crate::fixture::{self, CLASSES, NAME};
use pixgen::{
    Pixgen, PixgenBand, PixgenDrawing, PixgenInfo, Status, pixgen_accelerator_inputs, pixgen_accelerator_picture, pixgen_begin,
    pixgen_draw, pixgen_error_text, pixgen_file_length, pixgen_get_info, pixgen_open, pixgen_self_test, pixgen_step, pixgen_walk,
};
use pixgen_core::integer::plan::plan_sites;
use pixgen_core::integer::{DrawRequest, PictureHash};
use pixgen_core::pxg::{Model, PREFIX_LEN};
use pixgen_edge::aligned::AlignedBytes;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};
use std::slice;

/// What a callback has seen.
pub struct Seen {
    pub hash: PictureHash,
    pub rows: u32,
}

/// Takes the bands of a picture of 12 x 12 x 3.
///
/// # Safety
/// `band` is one of the library, and `user` a [`Seen`].
pub unsafe extern "C" fn show(band: *const PixgenBand, user: *mut c_void) {
    // SAFETY: the tests draw with a `Seen`.
    let (band, seen) = unsafe { (&*band, &mut *user.cast::<Seen>()) };
    assert_eq!((band.y, band.rows, band.width, band.channels), (seen.rows, 3, 12, 3));
    // SAFETY: the library's promise.
    seen.hash.update(unsafe { slice::from_raw_parts(band.pixels, 3 * 12 * 3) });
    seen.rows += band.rows;
}

/// A handle and a workspace.
pub fn open(file: &AlignedBytes) -> (Pixgen, AlignedBytes) {
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

/// Draws in slices on the way to another noise: status, picture, slices.
fn draw_slices(model: &Pixgen, class: u32, workspace: &mut [u8], walk: Option<(u64, u64, u32)>) -> (Status, Seen, usize) {
    let mut seen = Seen { hash: PictureHash::new(), rows: 0 };
    let mut drawing = std::mem::MaybeUninit::<PixgenDrawing>::uninit();
    let (start, len) = (workspace.as_mut_ptr().cast(), workspace.len());
    // SAFETY: a handle of `open`; memory of this test.
    unsafe {
        let status = pixgen_begin(drawing.as_mut_ptr(), model, class, 7, 0, start, len);
        if status != Status::Ok {
            return (status, seen, 0);
        }
        if let Some((seed, number, share)) = walk {
            assert_eq!(pixgen_walk(drawing.as_mut_ptr(), seed, number, share), Status::Ok);
        }
        let mut slices = 1;
        loop {
            match pixgen_step(drawing.as_mut_ptr(), Some(show), (&raw mut seen).cast()) {
                Status::More => slices += 1,
                status => return (status, seen, slices),
            }
        }
    }
}

#[test]
fn slices_are_the_picture() {
    let file = fixture::file();
    let (model, mut workspace) = open(&file);
    let workspace = workspace.bytes_mut();
    let read = Model::read(file.bytes()).expect("a good file");
    let planned = plan_sites(read.config(), read.steps(), &mut |_| ()).slices;
    let hash = |seed| fixture::hash(&read, 1, seed);
    for (walk, wanted) in [
        (None, Some(hash(7))),
        (Some((8, 0, 0)), Some(hash(7))),
        (Some((8, 0, 65_536)), Some(hash(8))),
        (Some((8, 0, u32::MAX)), Some(hash(8))),
        (Some((7, 0, 30_000)), Some(hash(7))),
        (Some((8, 0, 30_000)), None),
    ] {
        let (status, seen, slices) = draw_slices(&model, 1, workspace, walk);
        assert_eq!((status, seen.rows, slices), (Status::Ok, 12, planned), "{walk:?}");
        match wanted {
            Some(wanted) => assert_eq!(seen.hash.value(), wanted, "{walk:?}"),
            None => assert!(![hash(7), hash(8)].contains(&seen.hash.value()), "{walk:?}"),
        }
    }
    assert!(planned > 2, "{planned} slices");
    assert_eq!(draw_slices(&model, 3, workspace, None).0, Status::NoSuchClass);
    let len = workspace.len();
    assert_eq!(draw_slices(&model, 0, &mut workspace[..len - 1], None).0, Status::SmallWorkspace);
    let start = workspace.as_mut_ptr().cast();
    let mut drawing = std::mem::MaybeUninit::<PixgenDrawing>::uninit();
    let drawing = drawing.as_mut_ptr();
    // SAFETY: null is refused; memory of this test.
    unsafe {
        assert_eq!(pixgen_begin(null_mut(), &raw const model, 0, 7, 0, start, len), Status::NullPointer);
        assert_eq!(pixgen_begin(drawing, null(), 0, 7, 0, start, len), Status::NullPointer);
        assert_eq!(pixgen_begin(drawing, &raw const model, 0, 7, 0, null_mut(), len), Status::NullPointer);
        assert_eq!(pixgen_begin(drawing, &raw const model, 0, 7, 0, start, len), Status::Ok);
        assert_eq!(pixgen_step(drawing, None, null_mut()), Status::NullPointer);
        assert_eq!(pixgen_step(null_mut(), Some(show), null_mut()), Status::NullPointer);
        assert_eq!(pixgen_walk(null_mut(), 0, 0, 0), Status::NullPointer);
    }
}

#[test]
fn a_prefix_tells_the_length_of_the_file() {
    let file = fixture::file();
    let measure = |bytes: &[u8], length: usize| {
        let mut found = usize::MAX;
        // SAFETY: memory of this test.
        let status = unsafe { pixgen_file_length(bytes.as_ptr().cast(), length, &raw mut found) };
        (status, found)
    };
    let (good, len) = (file.bytes(), file.bytes().len());
    assert_eq!(measure(good, len), (Status::Ok, len));
    assert_eq!(measure(&good[..PREFIX_LEN], PREFIX_LEN), (Status::Ok, len));
    assert_eq!(measure(good, PREFIX_LEN - 1), (Status::Length, usize::MAX));
    assert_eq!(measure(good, 0).0, Status::Length);
    assert_eq!(measure(&[0xff; 32], 32), (Status::NotAModel, usize::MAX));
    // A whole partition, erased behind the file.
    let partition = AlignedBytes::copy(&[good, &[0xff; 4096]].concat());
    assert_eq!(measure(partition.bytes(), partition.bytes().len()), (Status::Ok, len));
    let (model, mut workspace) = open(&partition);
    assert_eq!(model.length, len + 4096);
    let (status, seen) = draw(&raw const model, 1, workspace.bytes_mut());
    assert_eq!((status, seen.hash.value()), (Status::Ok, fixture::hash(&Model::read(good).expect("a good file"), 1, 7)));
    let mut unused = 0_usize;
    // SAFETY: null is refused.
    unsafe {
        assert_eq!(pixgen_file_length(null(), 24, &raw mut unused), Status::NullPointer);
        assert_eq!(pixgen_file_length(good.as_ptr().cast(), 24, null_mut()), Status::NullPointer);
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

/// What goes to an accelerator and comes back, as in Rust.
#[test]
fn accelerators() {
    let request = DrawRequest { class: 2, seed: 7, number: 1 };
    let (mut noise, mut class) = ([0i8; 12 * 12 * 3], [1i16; 3]);
    pixgen_core::accelerator::inputs(&request, &mut noise, &mut class).expect("a class");
    let (mut filled, mut chosen) = ([0i8; 12 * 12 * 3], [1i16; 3]);
    let mut inputs = |number, noise: *mut i8, classes| {
        // SAFETY: memory of this test, or a pointer that is refused.
        unsafe { pixgen_accelerator_inputs(number, 7, 1, noise, 12 * 12 * 3, chosen.as_mut_ptr(), classes) }
    };
    assert_eq!(inputs(2, null_mut(), 3), Status::NullPointer);
    assert_eq!(inputs(2, filled.as_mut_ptr(), 2), Status::NoSuchClass);
    assert_eq!(inputs(2, filled.as_mut_ptr(), usize::MAX), Status::TensorLength);
    assert_eq!(inputs(2, filled.as_mut_ptr(), 3), Status::Ok);
    assert_eq!((filled, chosen), (noise, class));

    /// Takes a whole picture.
    ///
    /// # Safety
    /// As [`show`].
    unsafe extern "C" fn show_all(band: *const PixgenBand, user: *mut c_void) {
        // SAFETY: as `show`.
        let (band, seen) = unsafe { (&*band, &mut *user.cast::<Seen>()) };
        assert_eq!((band.y, band.rows, band.width, band.channels), (0, 12, 12, 3));
        // SAFETY: the library's promise.
        seen.hash.update(unsafe { slice::from_raw_parts(band.pixels, 12 * 12 * 3) });
        seen.rows += band.rows;
    }
    let mut output: Vec<u8> = (0..12 * 12 * 3).map(|value| value as u8).collect();
    let mut seen = Seen { hash: PictureHash::new(), rows: 0 };
    let (place, user) = (output.as_mut_ptr().cast(), (&raw mut seen).cast());
    // SAFETY: memory of this test.
    let status = unsafe { pixgen_accelerator_picture(12, 3, place, output.len(), Some(show_all), user) };
    assert_eq!((status, seen.rows), (Status::Ok, 12));
    let mut expected = PictureHash::new();
    expected.update(&(0..12 * 12 * 3).map(|value| value as u8 ^ 0x80).collect::<Vec<u8>>());
    assert_eq!(seen.hash.value(), expected.value());
    // SAFETY: what is null is refused.
    unsafe {
        assert_eq!(pixgen_accelerator_picture(12, 3, null_mut(), 9, Some(show_all), null_mut()), Status::NullPointer);
        assert_eq!(pixgen_accelerator_picture(12, 3, place, 9, None, null_mut()), Status::NullPointer);
        for (width, channels, length) in [
            (12, 3, 12 * 12 * 3 - 1),
            (12, 3, 3 * 12 * 3),
            (12, 2, 288),
            (0, 3, 0),
            (u32::MAX, u32::MAX, 1),
        ] {
            assert_eq!(pixgen_accelerator_picture(width, channels, place, length, Some(show_all), null_mut()), Status::TensorLength);
        }
    }
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
