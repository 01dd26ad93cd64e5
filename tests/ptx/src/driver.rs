//! Launches on memory of the process, for a driver in C (`tests/cuda/stub_driver.c`), whose device memory is the host's.
//!
//! What a launch touched is told to the driver, which knows what else happens in its streams. Bounds are those of the driver's allocations:
//! CubeCL cuts its tensors out of larger ones.

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::buffers::Memory;
use crate::fault::{FaultKind, Space};
use crate::kernel::{Kernel, Launch};

/// An allocation of the driver.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Region {
    /// Its address.
    pub address: u64,
    /// Its length.
    pub bytes: u64,
}

/// A part of memory that a launch has read or written, and the bytes that its threads asked for there in all.
type Touch = extern "C" fn(address: u64, bytes: usize, asked: usize, writes: c_int, context: *mut c_void);

/// What was read or written of a tensor.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: u64,
    to: u64,
    /// Bytes of all accesses.
    asked: usize,
}

impl Span {
    const NONE: Self = Self { from: u64::MAX, to: 0, asked: 0 };
}

/// Memory of the process that a launch may use.
struct Lent<'a> {
    /// By address.
    regions: Vec<(u64, &'a mut [u8])>,
    /// Where tensors may begin, ascending, each with what was read and written from there on up to the next.
    starts: Vec<(u64, [Span; 2])>,
}

impl<'a> Lent<'a> {
    /// `pointers` are arguments that may be addresses.
    fn new(mut regions: Vec<(u64, &'a mut [u8])>, pointers: impl Iterator<Item = u64>) -> Self {
        regions.sort_by_key(|(address, _)| *address);
        let mut starts: Vec<u64> = regions.iter().map(|(address, _)| *address).chain(pointers).collect();
        starts.sort_unstable();
        starts.dedup();
        Self { regions, starts: starts.into_iter().map(|start| (start, [Span::NONE; 2])).collect() }
    }

    fn place(&mut self, address: u64, bytes: usize, writes: bool) -> Result<&mut [u8], FaultKind> {
        let out = FaultKind::OutOfBounds { space: Space::Global, address, bytes };
        let index = self.regions.partition_point(|(start, _)| *start <= address);
        let (start, region) = index.checked_sub(1).and_then(|at| self.regions.get_mut(at)).ok_or_else(|| out.clone())?;
        let at = (address - *start) as usize;
        let place = region.get_mut(at..at.saturating_add(bytes)).ok_or(out)?;
        let tensor = self.starts.partition_point(|(start, _)| *start <= address);
        // A region has a start, so there is one.
        if let Some((_, spans)) = tensor.checked_sub(1).and_then(|at| self.starts.get_mut(at)) {
            let span = &mut spans[usize::from(writes)];
            span.from = span.from.min(address);
            span.to = span.to.max(address + bytes as u64);
            span.asked += bytes;
        }
        Ok(place)
    }
}

impl Memory for Lent<'_> {
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), FaultKind> {
        into.copy_from_slice(self.place(address, into.len(), false)?);
        Ok(())
    }

    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), FaultKind> {
        self.place(address, from.len(), true)?.copy_from_slice(from);
        Ok(())
    }
}

/// Reads a kernel of a module, for [`pixgen_ptx_launch`]. It is never freed. Null, and a line on stderr, if it cannot be read.
///
/// # Safety
/// Both are texts that end in a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_ptx_load(module: *const c_char, kernel: *const c_char) -> *const Kernel {
    // SAFETY: the caller promises it.
    let (module, kernel) = unsafe { (CStr::from_ptr(module), CStr::from_ptr(kernel)) };
    let (module, kernel) = (module.to_string_lossy(), kernel.to_string_lossy());
    match Kernel::parse(&module, &kernel) {
        Ok(kernel) => Box::into_raw(Box::new(kernel)),
        Err(error) => {
            eprintln!("{kernel}: {error}");
            std::ptr::null()
        }
    }
}

/// Runs a kernel. `sizes` are grid, block, bytes of dynamic shared memory and the seed of the order of warps; `arguments` point to the
/// values of [`Kernel::arguments`]. `touched` is called for what was read and written. 0, or 1 and a line on stderr after a fault.
///
/// # Safety
/// The kernel is of [`pixgen_ptx_load`], all pointers are valid, and the regions are memory that does not overlap and that nobody uses
/// meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pixgen_ptx_launch(
    kernel: *const Kernel,
    sizes: &[u32; 8],
    arguments: *const *const u8,
    regions: *const Region,
    count: usize,
    touched: Touch,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the caller promises it.
    let (kernel, regions) = unsafe { (&*kernel, std::slice::from_raw_parts(regions, count)) };
    let [gx, gy, gz, bx, by, bz, shared, seed] = *sizes;
    let launch = Launch {
        grid: [gx, gy, gz],
        block: [bx, by, bz],
        dynamic_shared: shared as usize,
        seed: seed.into(),
    };
    let arguments: Vec<Vec<u8>> = kernel
        .arguments()
        .enumerate()
        // SAFETY: there is an argument for each, of this size.
        .map(|(at, bytes)| unsafe { std::slice::from_raw_parts(*arguments.add(at), bytes) }.to_vec())
        .collect();
    let pointers = arguments
        .iter()
        .filter_map(|it| <[u8; 8]>::try_from(it.as_slice()).ok())
        .map(u64::from_le_bytes);
    let regions = regions.iter().map(|it| {
        // SAFETY: memory of the process that the caller lends, as bytes, which have no invalid values.
        (it.address, unsafe { std::slice::from_raw_parts_mut(it.address as *mut u8, it.bytes as usize) })
    });
    let mut memory = Lent::new(regions.collect(), pointers);
    if let Err(fault) = kernel.run(&launch, &arguments, &mut memory) {
        eprintln!("{fault}");
        return 1;
    }
    for (_, spans) in memory.starts {
        for (writes, Span { from, to, asked }) in spans.into_iter().enumerate() {
            if asked > 0 {
                touched(from, (to - from) as usize, asked, writes as c_int, context);
            }
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Buffers;

    /// `to[i] = 3 from[i]` for `%ntid` numbers.
    const TRIPLE: &str = "
.visible .entry triple(.param .u64 from, .param .u64 to)
{
	ld.param.u64 %rd1, [from];
	ld.param.u64 %rd2, [to];
	mov.u32 %r1, %tid.x;
	mul.wide.u32 %rd3, %r1, 4;
	add.s64 %rd4, %rd1, %rd3;
	ld.global.u32 %r2, [%rd4];
	mul.lo.u32 %r3, %r2, 3;
	add.s64 %rd5, %rd2, %rd3;
	st.global.u32 [%rd5], %r3;
	ret;
}
";

    extern "C" fn note(address: u64, bytes: usize, asked: usize, writes: c_int, context: *mut c_void) {
        assert_eq!(asked, bytes, "each number once");
        // SAFETY: the test gives this vector.
        unsafe { &mut *context.cast::<Vec<(u64, usize, c_int)>>() }.push((address, bytes, writes));
    }

    /// On memory of the process as in buffers of our own, in one allocation; one number too many is found.
    #[test]
    fn a_driver_launches() {
        let mut lent: Vec<u32> = (0..128).collect();
        let address = lent.as_mut_ptr() as u64;
        let region = Region { address, bytes: 4 * 128 };
        let launch = |threads: u32, to: u64, noted: &mut Vec<(u64, usize, c_int)>| {
            let pointers = [address, to];
            let arguments = pointers.each_ref().map(|it| std::ptr::from_ref(it).cast::<u8>());
            let sizes = [1, 1, 1, threads, 1, 1, 0, 1];
            let text = std::ffi::CString::new(TRIPLE).expect("no zeros");
            // SAFETY: the region is `lent`, which nobody uses meanwhile, and the arguments are those of the kernel.
            unsafe {
                let kernel = pixgen_ptx_load(text.as_ptr(), c"triple".as_ptr());
                pixgen_ptx_launch(kernel, &sizes, arguments.as_ptr(), &region, 1, note, std::ptr::from_mut(noted).cast())
            }
        };
        let mut noted = Vec::new();
        assert_eq!(launch(40, address + 4 * 64, &mut noted), 0);
        assert_eq!(noted, [(address, 160, 0), (address + 256, 160, 1)]);
        assert_eq!(launch(40, address + 4 * 89, &mut Vec::new()), 1);

        let mut buffers = Buffers::default();
        let (from, to) = (buffers.filled((0..40u32).flat_map(u32::to_le_bytes).collect()), buffers.empty(160));
        let arguments = [buffers.argument(from), buffers.argument(to)];
        let kernel = Kernel::parse(TRIPLE, "triple").expect("it is known");
        let launch = Launch { grid: [1; 3], block: [40, 1, 1], dynamic_shared: 0, seed: 1 };
        kernel.run(&launch, &arguments, &mut buffers).expect("no fault");
        assert_eq!(lent[64..104].iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<_>>(), buffers.bytes(to));
        // SAFETY: the texts end in zeros.
        assert!(unsafe { pixgen_ptx_load(c"".as_ptr(), c"triple".as_ptr()) }.is_null());
    }
}
