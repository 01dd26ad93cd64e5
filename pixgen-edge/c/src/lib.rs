//! The C interface: five functions over [`pixgen_core::pxg`]. `pixgen.h` documents them for users.
//!
//! There are no globals and no allocation. A model is the place and length of its file; every call reads the header again, which is
//! quick beside drawing a picture. Null pointers, wrong alignment and wrong lengths are errors; what C cannot check, each function names
//! under "Safety".

#![cfg_attr(target_os = "none", no_std)]

mod status;

pub use status::Status;

use core::ffi::{c_char, c_int, c_void};
use core::slice;
use pixgen_core::integer::DrawRequest;
use pixgen_core::pixels::Band;
use pixgen_core::pxg::Model;

/// `struct pixgen`: a file in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Pixgen {
    /// First byte of the file.
    pub file: *const c_void,
    /// Bytes of the file.
    pub length: usize,
}

/// `struct pixgen_info`: what a file holds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PixgenInfo {
    /// Bytes of workspace for a picture.
    pub workspace: usize,
    /// Pixels in a row, and rows.
    pub width: u32,
    /// Bytes of a pixel: 1 or 3.
    pub channels: u32,
    /// Classes.
    pub classes: u32,
    /// Network evaluations of a picture.
    pub steps: u32,
    /// Self-test vectors in the file.
    pub tests: u32,
    /// Rows of a band.
    pub band_rows: u32,
    /// Name of the model, UTF-8, in the file; not zero-terminated.
    pub name: *const c_char,
    /// Bytes of the name.
    pub name_length: usize,
    /// Names of the classes, one a line, UTF-8, in the file; not zero-terminated.
    pub class_names: *const c_char,
    /// Bytes of the names of the classes.
    pub class_names_length: usize,
}

/// `struct pixgen_band`: some rows of a picture, drawn just now.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PixgenBand {
    /// The pixels, row by row, `rows * width * channels` bytes.
    pub pixels: *const u8,
    /// Number of the first row, from the top.
    pub y: u32,
    /// Rows.
    pub rows: u32,
    /// Pixels in a row.
    pub width: u32,
    /// Bytes of a pixel: 1 or 3.
    pub channels: u32,
}

/// `pixgen_show`: takes the bands of a picture, from the top.
pub type PixgenShow = unsafe extern "C" fn(band: *const PixgenBand, user: *mut c_void);

/// Checks a file, checksum included, and fills `model`.
///
/// # Safety
/// `model` is null or can be written. `file` is null or points to `length` bytes, which stay as they are while `model` is in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_open(model: *mut Pixgen, file: *const c_void, length: usize) -> Status {
    let open = || {
        check(model)?;
        let handle = Pixgen { file, length };
        // SAFETY: the caller's promise for `file` and `length`.
        Model::read(unsafe { bytes(&handle) }?)?;
        // SAFETY: not null and aligned, and the caller lets it be written.
        unsafe { model.write(handle) };
        Ok(())
    };
    open().into()
}

/// Describes a model.
///
/// # Safety
/// `model` is null or was filled by [`pixgen_open`], and its file is still there; `info` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_get_info(model: *const Pixgen, info: *mut PixgenInfo) -> Status {
    let fill = || {
        check(info)?;
        // SAFETY: the caller's promise for `model`.
        let model = unsafe { read(model) }?;
        let (header, config) = (model.header(), model.config());
        // All of these are below 2^16: `Model::read` has checked them.
        let filled = PixgenInfo {
            workspace: model.workspace_len(),
            width: config.size as u32,
            channels: config.channels as u32,
            classes: config.classes as u32,
            steps: u32::from(header.steps),
            tests: u32::from(header.tests),
            band_rows: config.patch as u32,
            name: header.name.as_ptr().cast(),
            name_length: header.name.len(),
            class_names: header.class_names.as_ptr().cast(),
            class_names_length: header.class_names.len(),
        };
        // SAFETY: not null and aligned, and the caller lets it be written.
        unsafe { info.write(filled) };
        Ok(())
    };
    fill().into()
}

/// Draws picture `number` of `seed` and gives it to `show` in bands, with `user` as it is.
///
/// # Safety
/// As [`pixgen_get_info`] for `model`. `workspace` is null or points to `workspace_length` bytes that nothing else uses during the call;
/// `show` can be called with `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_draw(
    model: *const Pixgen,
    class_number: u32,
    seed: u64,
    number: u64,
    workspace: *mut c_void,
    workspace_length: usize,
    show: Option<PixgenShow>,
    user: *mut c_void,
) -> Status {
    let draw = || {
        let show = show.ok_or(Status::NullPointer)?;
        // SAFETY: the caller's promises for `model` and `workspace`.
        let (model, workspace) = unsafe { (read(model)?, bytes_mut(workspace, workspace_length)?) };
        let class = usize::try_from(class_number).map_err(|_| Status::NoSuchClass)?;
        let mut each = |band: &Band<'_>| {
            let band = PixgenBand {
                pixels: band.bytes().as_ptr(),
                y: band.y() as u32,
                rows: band.rows().count() as u32,
                width: band.width() as u32,
                channels: band.channels() as u32,
            };
            // SAFETY: the caller's promise for `show` and `user`.
            unsafe { show(&raw const band, user) };
        };
        model.draw(&DrawRequest { class, seed, number }, workspace, &mut each)?;
        Ok(())
    };
    draw().into()
}

/// Draws the pictures of the file's self-test vectors and compares their hashes.
///
/// # Safety
/// As [`pixgen_draw`] for `model` and `workspace`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_self_test(model: *const Pixgen, workspace: *mut c_void, workspace_length: usize) -> Status {
    let test = || {
        // SAFETY: the caller's promises for `model` and `workspace`.
        let (model, workspace) = unsafe { (read(model)?, bytes_mut(workspace, workspace_length)?) };
        model.self_test(workspace)?;
        Ok(())
    };
    test().into()
}

/// The text of an error code: a sentence, zero-terminated and never freed.
#[unsafe(no_mangle)]
pub extern "C" fn pixgen_error_text(error: c_int) -> *const c_char {
    Status::text(error).as_ptr()
}

/// Rejects pointers that are null or misaligned.
fn check<T>(pointer: *const T) -> Result<(), Status> {
    if pointer.is_null() {
        Err(Status::NullPointer)
    } else if !pointer.is_aligned() {
        Err(Status::Misaligned)
    } else {
        Ok(())
    }
}

/// The model behind a handle.
///
/// # Safety
/// `model` is null or points to a handle whose file is there, unchanged, for `'a`.
unsafe fn read<'a>(model: *const Pixgen) -> Result<Model<'a>, Status> {
    check(model)?;
    // SAFETY: not null and aligned, and the caller's promise.
    let handle = unsafe { model.read() };
    // SAFETY: the caller's promise.
    Ok(Model::read_trusted(unsafe { bytes(&handle) }?)?)
}

/// The bytes of a file.
///
/// # Safety
/// The handle's pointer is null, or its bytes are there, unchanged, for `'a`.
unsafe fn bytes<'a>(handle: &Pixgen) -> Result<&'a [u8], Status> {
    let file: *const u8 = handle.file.cast();
    check(file)?;
    if handle.length > isize::MAX as usize {
        return Err(Status::Length);
    }
    // SAFETY: not null, not too long, and the caller's promise.
    Ok(unsafe { slice::from_raw_parts(file, handle.length) })
}

/// A workspace. Its content may be anything, also bytes that were never written.
///
/// # Safety
/// The pointer is null, or its bytes can be written and nothing else uses them for `'a`.
unsafe fn bytes_mut<'a>(workspace: *mut c_void, length: usize) -> Result<&'a mut [u8], Status> {
    let workspace: *mut u8 = workspace.cast();
    check(workspace.cast_const())?;
    // No workspace is as long as that; a part of it suffices.
    let length = length.min(isize::MAX as usize);
    // SAFETY: not null, not too long, and the caller's promise.
    Ok(unsafe { slice::from_raw_parts_mut(workspace, length) })
}

/// Nothing in this library panics; the linker needs a handler all the same.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
