//! The part of the interface for PCs and Linux boards: every kernel of this CPU, whose pictures are those of `pixgen_draw`.

use crate::calls::{Seen, open, show};
use crate::fixture;
use pixgen::{Pixgen, PixgenPrepared, Status, pixgen_draw_prepared, pixgen_prepare, pixgen_prepared_lengths};
use pixgen_core::integer::PictureHash;
use pixgen_core::kernels::host::HostKernel;
use pixgen_core::pxg::Model;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::slice;

fn lengths(model: &Pixgen) -> (usize, usize) {
    let (mut panels, mut scratch) = (0, 0);
    // SAFETY: a handle of `open`, and memory of this test.
    assert_eq!(unsafe { pixgen_prepared_lengths(model, &raw mut panels, &raw mut scratch) }, Status::Ok);
    (panels, scratch)
}

fn prepare(model: &Pixgen, kernel: Option<&CStr>, panels: &mut [u8]) -> Result<PixgenPrepared, Status> {
    let mut prepared = MaybeUninit::<PixgenPrepared>::uninit();
    let kernel = kernel.map_or(null(), CStr::as_ptr);
    // SAFETY: a handle of `open`, and memory of this test, filled when the answer is `Ok`.
    unsafe {
        match pixgen_prepare(prepared.as_mut_ptr(), model, kernel, panels.as_mut_ptr().cast(), panels.len()) {
            Status::Ok => Ok(prepared.assume_init()),
            error => Err(error),
        }
    }
}

fn draw(prepared: &PixgenPrepared, class: u32, workspace: &mut [u8], scratch: &mut [u8]) -> (Status, Seen) {
    let mut seen = Seen { hash: PictureHash::new(), rows: 0 };
    let user = (&raw mut seen).cast();
    let (start, len) = (workspace.as_mut_ptr().cast(), workspace.len());
    // SAFETY: filled by `prepare`; memory of this test.
    let status =
        unsafe { pixgen_draw_prepared(prepared, class, 7, 0, start, len, scratch.as_mut_ptr().cast(), scratch.len(), Some(show), user) };
    (status, seen)
}

fn name(prepared: &PixgenPrepared) -> &str {
    // SAFETY: a name of the library.
    let bytes = unsafe { slice::from_raw_parts(prepared.kernel.cast(), prepared.kernel_length) };
    std::str::from_utf8(bytes).expect("ASCII")
}

#[test]
fn every_kernel_draws_what_rust_draws() {
    let file = fixture::file();
    let (model, mut workspace) = open(&file);
    let (panels, scratch) = lengths(&model);
    let (mut panels, mut scratch) = (vec![0x55; panels + 3], vec![0x55; scratch + 1]);
    let wanted = fixture::hash(&Model::read(file.bytes()).expect("a good file"), 2, 7);
    let fastest = HostKernel::fastest().map_or("portable", HostKernel::name);
    let names = HostKernel::detected().map(HostKernel::name).chain(["portable"]);
    let kernels = names.map(|name| Some(CString::new(name).expect("no zero"))).chain([None]);
    for kernel in kernels {
        // They may begin anywhere.
        let prepared = prepare(&model, kernel.as_deref(), &mut panels[3..]).expect("prepared");
        assert_eq!(name(&prepared), kernel.as_deref().map_or(fastest, |kernel| kernel.to_str().expect("ASCII")));
        let (status, seen) = draw(&prepared, 2, workspace.bytes_mut(), &mut scratch[1..]);
        assert_eq!((status, seen.rows, seen.hash.value()), (Status::Ok, 12, wanted), "{}", name(&prepared));
        assert_eq!(draw(&prepared, 3, workspace.bytes_mut(), &mut scratch[1..]).0, Status::NoSuchClass);
    }
}

#[test]
fn what_is_wrong_is_told() {
    let file = fixture::file();
    let (model, mut workspace) = open(&file);
    let (panels_len, scratch_len) = lengths(&model);
    let (mut panels, mut scratch) = (vec![0; panels_len], vec![0; scratch_len]);
    for unknown in [c"abacus", c"", c"\xff", c"crosswise", c"avx512"] {
        assert_eq!(prepare(&model, Some(unknown), &mut panels).map(drop), Err(Status::NoKernel));
    }
    let prepared = prepare(&model, None, &mut panels).expect("prepared");
    assert_eq!(draw(&prepared, 0, &mut workspace.bytes_mut()[..16], &mut scratch).0, Status::SmallWorkspace);
    // The portable kernel has neither.
    if HostKernel::fastest().is_some() {
        assert_eq!(draw(&prepared, 0, workspace.bytes_mut(), &mut scratch[..99]).0, Status::SmallScratch);
        let cut = PixgenPrepared { panels_length: 99, ..prepared };
        assert_eq!(draw(&cut, 0, workspace.bytes_mut(), &mut scratch).0, Status::SmallPanels);
        assert_eq!(prepare(&model, None, &mut panels[..99]).map(drop), Err(Status::SmallPanels));
    }
    let (mut length, memory) = (0, panels.as_mut_ptr().cast());
    let mut filled = MaybeUninit::<PixgenPrepared>::uninit();
    // SAFETY: null is refused; memory of this test.
    unsafe {
        assert_eq!(pixgen_prepared_lengths(null(), &raw mut length, &raw mut length), Status::NullPointer);
        assert_eq!(pixgen_prepared_lengths(&raw const model, null_mut(), &raw mut length), Status::NullPointer);
        assert_eq!(pixgen_prepare(null_mut(), &raw const model, null(), memory, panels_len), Status::NullPointer);
        assert_eq!(pixgen_prepare(filled.as_mut_ptr(), null(), null(), memory, panels_len), Status::NullPointer);
        assert_eq!(pixgen_prepare(filled.as_mut_ptr(), &raw const model, null(), null_mut(), panels_len), Status::NullPointer);
        let (start, len) = (workspace.bytes_mut().as_mut_ptr().cast(), scratch_len);
        let scratch = scratch.as_mut_ptr().cast();
        assert_eq!(pixgen_draw_prepared(null(), 0, 7, 0, start, 16, scratch, len, Some(show), null_mut()), Status::NullPointer);
        assert_eq!(
            pixgen_draw_prepared(&raw const prepared, 0, 7, 0, start, 16, scratch, len, None, null_mut()),
            Status::NullPointer
        );
        assert_eq!(
            pixgen_draw_prepared(&raw const prepared, 0, 7, 0, start, 16, null_mut(), len, Some(show), null_mut()),
            Status::NullPointer
        );
    }
}
