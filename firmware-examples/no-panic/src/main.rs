//! Proof that nothing in a model file can make `pixgen-core` panic on a chip, or in the kernels of a PC: this program links only when no panic is left.
//!
//! Its panic handler calls a function that does not exist. While any panic can be reached from [`start`], the linker asks for that function
//! and fails. The model, the request and the workspace come from the outside, so that nothing can be computed when compiling.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

use core::hint::black_box;
use core::slice;
use pixgen_core::integer::{DrawRequest, Drawing, NoiseSeed};
use pixgen_core::pxg::{Model, file_len};

unsafe extern "C" {
    /// Not defined anywhere.
    fn a_panic_can_be_reached() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: never run: a program with this call does not link.
    unsafe { a_panic_can_be_reached() }
}

/// Memory of unknown content.
#[repr(C)]
pub struct Inputs {
    file: *const u8,
    file_len: usize,
    workspace: *mut u8,
    workspace_len: usize,
    class: usize,
    seed: u64,
    number: u64,
    /// Packed weights and scratch, on a PC.
    host: [*mut u8; 2],
    host_len: [usize; 2],
}

/// Everything that a firmware does with a model file. Returns a hash of the picture, or 0.
///
/// # Safety
/// The pointers and lengths are those of a file and a workspace.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn start(inputs: &Inputs) -> u64 {
    // SAFETY: the caller's.
    let (file, workspace) = unsafe {
        (
            slice::from_raw_parts(inputs.file, inputs.file_len),
            slice::from_raw_parts_mut(inputs.workspace, inputs.workspace_len),
        )
    };
    #[cfg(feature = "planted")]
    black_box(file[inputs.class]);
    let _ = black_box(file_len(file));
    let Ok(model) = Model::read(file) else { return 0 };
    black_box((model.header(), model.file_len(), model.workspace_len(), model.class_name(inputs.class)));
    let request = DrawRequest { class: inputs.class, seed: inputs.seed, number: inputs.number };
    let drawn = model.draw(&request, workspace, &mut |band| {
        for row in band.rows() {
            black_box(row);
        }
        for pixel in band.rgb888().zip(band.rgb565()).zip(band.grey()) {
            black_box(pixel);
        }
    });
    let _ = black_box(drawn);
    let to = NoiseSeed { seed: inputs.number, number: inputs.seed };
    let mut drawing = Drawing::new(request).towards(to, black_box(1)).resume(black_box([0; 2]));
    while let Ok(None) = drawing.step(&model, workspace, &mut |band| _ = black_box(band.bytes())) {}
    let _ = black_box(model.self_test(workspace));
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        // SAFETY: the caller's.
        let [panels, scratch] = [0, 1].map(|i| unsafe { slice::from_raw_parts_mut(inputs.host[i], inputs.host_len[i]) });
        host::draw(&model, &request, workspace, panels, scratch);
    }
    model.picture_hash(&request, workspace).unwrap_or_default()
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod host {
    use core::hint::black_box;
    use pixgen_core::integer::{DrawRequest, Prepared};
    use pixgen_core::kernels::host::HostKernel;
    use pixgen_core::pxg::Model;

    #[cfg(target_arch = "x86_64")]
    fn kernels() -> [HostKernel; 4] {
        use pixgen_core::kernels::host::avx2::Avx2;
        use pixgen_core::kernels::host::avx512::Avx512Vnni;
        use pixgen_core::kernels::host::vnni::AvxVnni;
        // SAFETY: this program is linked and never run.
        unsafe {
            [
                HostKernel::Avx2(Avx2::detected()),
                HostKernel::Avx2Crosswise(Avx2::detected()),
                HostKernel::Avx512Vnni(Avx512Vnni::detected()),
                HostKernel::AvxVnni(AvxVnni::detected()),
            ]
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn kernels() -> [HostKernel; 2] {
        use pixgen_core::kernels::host::dotprod::Dotprod;
        use pixgen_core::kernels::host::neon::Neon;
        // SAFETY: as on x86.
        unsafe { [HostKernel::Neon(Neon::detected()), HostKernel::Dotprod(Dotprod::detected())] }
    }

    /// Draws with every kernel of a PC or a Linux board.
    pub fn draw(model: &Model<'_>, request: &DrawRequest, workspace: &mut [u8], panels: &mut [u8], scratch: &mut [u8]) {
        for kernel in black_box(kernels()) {
            black_box((Prepared::panels_len(model), Prepared::scratch_len(model)));
            if let Ok(prepared) = Prepared::new(kernel, model, panels) {
                let _ = black_box(prepared.draw(request, workspace, scratch, &mut |band| _ = black_box(band.bytes())));
                let _ = black_box(prepared.interpreter(request.class, black_box(0), workspace, scratch, None).is_ok());
            }
        }
    }
}
