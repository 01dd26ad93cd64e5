//! The C interface: a few functions over [`pixgen_core::pxg`]. `pixgen.h` documents them for users.
//!
//! There are no globals and no allocation. A model is the place and length of its file; every call reads the header again, which is
//! quick beside drawing a picture. Null pointers, wrong alignment and wrong lengths are errors; what C cannot check, each function names
//! under "Safety".

#![cfg_attr(target_os = "none", no_std)]

#[cfg(not(target_os = "none"))]
mod host;
mod status;

#[cfg(not(target_os = "none"))]
pub use host::{PixgenPrepared, pixgen_draw_prepared, pixgen_prepare, pixgen_prepared_lengths};
pub use status::Status;

use core::ffi::{c_char, c_int, c_void};
use core::slice;
use pixgen_core::accelerator;
use pixgen_core::integer::{DrawRequest, Drawing, NoiseSeed};
use pixgen_core::pixels::Band;
use pixgen_core::pxg::{Model, PREFIX_LEN, file_len};

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

/// `struct pixgen_drawing`: a picture that is drawn slice by slice. Plain data; between two slices nothing else is kept.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PixgenDrawing {
    /// The model.
    pub model: Pixgen,
    /// First byte of the workspace.
    pub workspace: *mut c_void,
    /// Bytes of the workspace.
    pub workspace_length: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// Number of the picture among those of the seed.
    pub number: u64,
    /// Seed of the noise that a walk leads to.
    pub to_seed: u64,
    /// Number of its picture.
    pub to_number: u64,
    /// Share of the way there, in units of 1/65,536; 0 for no walk.
    pub share: u32,
    /// Class.
    pub class_number: u32,
    /// What is done: steps of the sampler, and pieces of the next one.
    pub position: [u32; 2],
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
        // SAFETY: the caller's promise for `show` and `user`.
        let mut each = unsafe { each_band(show, user) };
        model.draw(&DrawRequest { class, seed, number }, workspace, &mut each)?;
        Ok(())
    };
    draw().into()
}

/// Prepares a picture that [`pixgen_step`] draws. Everything that can be wrong with the request is found here.
///
/// # Safety
/// `drawing` is null or can be written; as [`pixgen_draw`] for the rest, until the picture is complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_begin(
    drawing: *mut PixgenDrawing,
    model: *const Pixgen,
    class_number: u32,
    seed: u64,
    number: u64,
    workspace: *mut c_void,
    workspace_length: usize,
) -> Status {
    let begin = || {
        check(drawing)?;
        // SAFETY: the caller's promises for `model` and `workspace`.
        let (checked, memory) = unsafe { (read(model)?, bytes_mut(workspace, workspace_length)?) };
        let class = usize::try_from(class_number).map_err(|_| Status::NoSuchClass)?;
        checked.check_request(class, memory)?;
        // SAFETY: `read` found the handle not null and aligned.
        let model = unsafe { model.read() };
        let begun = PixgenDrawing {
            model,
            workspace,
            workspace_length,
            seed,
            number,
            to_seed: 0,
            to_number: 0,
            share: 0,
            class_number,
            position: [0; 2],
        };
        // SAFETY: not null and aligned, and the caller lets it be written.
        unsafe { drawing.write(begun) };
        Ok(())
    };
    begin().into()
}

/// Puts a picture that was begun, and of which nothing is drawn, on the way to the noise of another.
///
/// # Safety
/// `drawing` is null or was filled by [`pixgen_begin`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_walk(drawing: *mut PixgenDrawing, to_seed: u64, to_number: u64, share: u32) -> Status {
    let walk = || {
        check(drawing)?;
        // SAFETY: not null and aligned, and the caller's promise.
        let begun = unsafe { drawing.read() };
        // SAFETY: as above.
        unsafe { drawing.write(PixgenDrawing { to_seed, to_number, share, ..begun }) };
        Ok(())
    };
    walk().into()
}

/// Draws the next slice of a picture; [`Status::More`] until it is complete.
///
/// # Safety
/// `drawing` is null or was filled by [`pixgen_begin`], whose model and workspace are still there and were not written to; `show` can be
/// called with `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_step(drawing: *mut PixgenDrawing, show: Option<PixgenShow>, user: *mut c_void) -> Status {
    let step = || {
        check(drawing)?;
        let show = show.ok_or(Status::NullPointer)?;
        // SAFETY: not null and aligned, and the caller's promise.
        let begun = unsafe { drawing.read() };
        // SAFETY: the promises that the caller made to `pixgen_begin`.
        let (model, workspace) = unsafe { (read(&raw const begun.model)?, bytes_mut(begun.workspace, begun.workspace_length)?) };
        let class = usize::try_from(begun.class_number).map_err(|_| Status::NoSuchClass)?;
        let mut at = Drawing::new(DrawRequest { class, seed: begun.seed, number: begun.number }).resume(begun.position);
        if begun.share > 0 {
            at = at.towards(NoiseSeed { seed: begun.to_seed, number: begun.to_number }, begun.share);
        }
        // SAFETY: the caller's promise for `show` and `user`.
        let mut each = unsafe { each_band(show, user) };
        let complete = at.step(&model, workspace, &mut each)?.is_some();
        // SAFETY: not null and aligned, and the caller lets it be written.
        unsafe { drawing.write(PixgenDrawing { position: at.position(), ..begun }) };
        if complete { Ok(()) } else { Err(Status::More) }
    };
    step().into()
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

/// Reads how long the file that begins with these bytes is.
///
/// # Safety
/// `start` is null or points to `length` bytes; `file_length` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_file_length(start: *const c_void, length: usize, file_length: *mut usize) -> Status {
    let measure = || {
        check(file_length)?;
        let start: *const u8 = start.cast();
        check(start)?;
        // The rest need not be there, or be addressable.
        let length = length.min(PREFIX_LEN);
        // SAFETY: not null, not too long, and the caller's promise.
        let len = file_len(unsafe { slice::from_raw_parts(start, length) })?;
        // SAFETY: not null and aligned, and the caller lets it be written.
        unsafe { file_length.write(len) };
        Ok(())
    };
    measure().into()
}

/// Fills the inputs of a graph of `pixgen-edge tflite`: `noise_length` values of noise, and a one-hot class among `classes`.
///
/// # Safety
/// `noise` is null or points to `noise_length` values, `class_values` is null or points to `classes` values, and nothing else uses either
/// during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_accelerator_inputs(
    class_number: u32,
    seed: u64,
    number: u64,
    noise: *mut i8,
    noise_length: usize,
    class_values: *mut i16,
    classes: usize,
) -> Status {
    let fill = || {
        let class = usize::try_from(class_number).map_err(|_| Status::NoSuchClass)?;
        // SAFETY: the caller's promises.
        let (noise, class_values) = unsafe { (values_mut(noise, noise_length)?, values_mut(class_values, classes)?) };
        accelerator::inputs(&DrawRequest { class, seed, number }, noise, class_values)?;
        Ok(())
    };
    fill().into()
}

/// Turns the output of such a graph, `width` times `width` pixels of `channels` bytes, into bytes where it lies, and gives it to `show`.
///
/// # Safety
/// `output` is null or points to `length` bytes that nothing else uses during the call; `show` can be called with `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_accelerator_picture(
    width: u32,
    channels: u32,
    output: *mut c_void,
    length: usize,
    show: Option<PixgenShow>,
    user: *mut c_void,
) -> Status {
    let convert = || {
        let show = show.ok_or(Status::NullPointer)?;
        // SAFETY: the caller's promise for `output`.
        let output = unsafe { bytes_mut(output, length) }?;
        // SAFETY: the caller's promise for `show` and `user`.
        let mut each = unsafe { each_band(show, user) };
        each(&accelerator::picture(width as usize, channels as usize, output).ok_or(Status::TensorLength)?);
        Ok(())
    };
    convert().into()
}

/// The text of an error code: a sentence, zero-terminated and never freed.
#[unsafe(no_mangle)]
pub extern "C" fn pixgen_error_text(error: c_int) -> *const c_char {
    Status::text(error).as_ptr()
}

/// Calls back with each band.
///
/// # Safety
/// `show` can be called with `user`.
unsafe fn each_band(show: PixgenShow, user: *mut c_void) -> impl FnMut(&Band<'_>) {
    move |band| {
        let band = PixgenBand {
            pixels: band.bytes().as_ptr(),
            y: band.y() as u32,
            rows: band.rows().count() as u32,
            width: band.width() as u32,
            channels: band.channels() as u32,
        };
        // SAFETY: the caller's promise.
        unsafe { show(&raw const band, user) };
    }
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

/// Values to write.
///
/// # Safety
/// The pointer is null, or its values can be written and nothing else uses them for `'a`.
unsafe fn values_mut<'a, T>(values: *mut T, length: usize) -> Result<&'a mut [T], Status> {
    check(values.cast_const())?;
    if length > isize::MAX as usize / size_of::<T>() {
        return Err(Status::TensorLength);
    }
    // SAFETY: not null, aligned, not too long, and the caller's promise.
    Ok(unsafe { slice::from_raw_parts_mut(values, length) })
}

/// Nothing in this library panics; the linker needs a handler all the same.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
