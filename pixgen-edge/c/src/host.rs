//! The part of the interface that libraries for an operating system have: weights packed for the instructions of a CPU, in memory of the caller.

use crate::{Pixgen, PixgenShow, Status, bytes_mut, check, each_band, read};
use core::ffi::{CStr, c_char, c_void};
use core::slice;
use pixgen_core::integer::{DrawRequest, Prepared};
use pixgen_core::kernels::{self, host::HostKernel};

/// `struct pixgen_prepared`: a model with packed weights. Threads may share it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PixgenPrepared {
    /// The model.
    pub model: Pixgen,
    /// The packed weights.
    pub panels: *const c_void,
    /// Their bytes.
    pub panels_length: usize,
    /// Name of the kernel, ASCII; not zero-terminated.
    pub kernel: *const c_char,
    /// Bytes of the name.
    pub kernel_length: usize,
}

/// Says how many bytes of panels and of scratch a model takes.
///
/// # Safety
/// As [`pixgen_get_info`](crate::pixgen_get_info) for `model`; `panels` and `scratch` are null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_prepared_lengths(model: *const Pixgen, panels: *mut usize, scratch: *mut usize) -> Status {
    let measure = || {
        check(panels)?;
        check(scratch)?;
        // SAFETY: the caller's promise for `model`.
        let model = unsafe { read(model) }?;
        // SAFETY: not null and aligned, and the caller lets them be written.
        unsafe {
            // C may answer malloc(0) with null, which says that memory is short.
            panels.write(Prepared::panels_len(&model).max(1));
            scratch.write(Prepared::scratch_len(&model).max(1));
        }
        Ok(())
    };
    measure().into()
}

/// Packs the weights of a model for the fastest kernel of this CPU, or for the one that is named.
///
/// # Safety
/// As [`pixgen_get_info`](crate::pixgen_get_info) for `model`. `kernel` is null or zero-terminated; `panels` is null or points to
/// `panels_length` bytes that can be written and that nothing else uses during the call, the file and `prepared` among it; they stay as they
/// are while `prepared` is in use. `prepared` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_prepare(
    prepared: *mut PixgenPrepared,
    model: *const Pixgen,
    kernel: *const c_char,
    panels: *mut c_void,
    panels_length: usize,
) -> Status {
    let prepare = || {
        check(prepared)?;
        // SAFETY: the caller's promises for `model` and `panels`.
        let (checked, memory) = unsafe { (read(model)?, bytes_mut(panels, panels_length)?) };
        // SAFETY: the caller's promise for `kernel`.
        let kernel = unsafe { chosen(kernel) }?;
        if let Some(kernel) = kernel {
            Prepared::new(kernel, &checked, memory)?;
        }
        let name = kernel.map_or(kernels::NAME, HostKernel::name);
        // SAFETY: `read` found the handle not null and aligned.
        let model = unsafe { model.read() };
        let filled = PixgenPrepared { model, panels, panels_length, kernel: name.as_ptr().cast(), kernel_length: name.len() };
        // SAFETY: not null and aligned, and the caller lets it be written.
        unsafe { prepared.write(filled) };
        Ok(())
    };
    prepare().into()
}

/// Draws as [`pixgen_draw`](crate::pixgen_draw), with packed weights.
///
/// # Safety
/// `prepared` is null or was filled by [`pixgen_prepare`], and its file and panels are still there, unchanged. `scratch` is null or points to
/// `scratch_length` bytes that nothing else uses during the call; as [`pixgen_draw`](crate::pixgen_draw) for the rest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_draw_prepared(
    prepared: *const PixgenPrepared,
    class_number: u32,
    seed: u64,
    number: u64,
    workspace: *mut c_void,
    workspace_length: usize,
    scratch: *mut c_void,
    scratch_length: usize,
    show: Option<PixgenShow>,
    user: *mut c_void,
) -> Status {
    let draw = || {
        check(prepared)?;
        let show = show.ok_or(Status::NullPointer)?;
        // SAFETY: not null and aligned, and the caller's promises.
        let (handle, workspace, scratch) =
            unsafe { (prepared.read(), bytes_mut(workspace, workspace_length)?, bytes_mut(scratch, scratch_length)?) };
        // SAFETY: the promises that the caller made to `pixgen_prepare`.
        let (model, kernel) = unsafe { (read(&raw const handle.model)?, kernel_of(&handle)?) };
        let class = usize::try_from(class_number).map_err(|_| Status::NoSuchClass)?;
        let request = DrawRequest { class, seed, number };
        // SAFETY: the caller's promise for `show` and `user`.
        let mut each = unsafe { each_band(show, user) };
        if let Some(kernel) = kernel {
            // SAFETY: the promise that the caller made to `pixgen_prepare`.
            let panels = unsafe { slice::from_raw_parts(handle.panels.cast(), handle.panels_length.min(isize::MAX as usize)) };
            Prepared::packed(kernel, &model, panels)?.draw(&request, workspace, scratch, &mut each)?;
        } else {
            model.draw(&request, workspace, &mut each)?;
        }
        Ok(())
    };
    draw().into()
}

/// The kernel that C names, null for the fastest; `None` for the portable one.
///
/// # Safety
/// `name` is null or zero-terminated.
unsafe fn chosen(name: *const c_char) -> Result<Option<HostKernel>, Status> {
    if name.is_null() {
        return Ok(HostKernel::fastest());
    }
    // SAFETY: not null, and the caller's promise.
    by_name(unsafe { CStr::from_ptr(name) }.to_bytes())
}

/// The kernel that a model was prepared for.
///
/// # Safety
/// The handle was filled by [`pixgen_prepare`].
unsafe fn kernel_of(prepared: &PixgenPrepared) -> Result<Option<HostKernel>, Status> {
    check(prepared.panels)?;
    let name: *const u8 = prepared.kernel.cast();
    check(name)?;
    // SAFETY: not null, and the caller's promise: it is a name of this library.
    by_name(unsafe { slice::from_raw_parts(name, prepared.kernel_length) })
}

fn by_name(name: &[u8]) -> Result<Option<HostKernel>, Status> {
    let name = core::str::from_utf8(name).map_err(|_| Status::NoKernel)?;
    HostKernel::named(name).map_err(|_| Status::NoKernel)
}
