//! Memory that begins at a multiple of 16 bytes, as model files and workspaces do.

/// Bytes of whose multiple the address of a model file and of a workspace is.
pub const ALIGN: usize = 16;

/// A value at a multiple of [`ALIGN`] bytes. Its main use is the workspace of a firmware, which lies in a `static`:
///
/// ```
/// use pixgen_core::Aligned;
///
/// const WORKSPACE: usize = 24_576; // Model::workspace_len(), which a build script can ask
/// static mut MEMORY: Aligned<[u8; WORKSPACE]> = Aligned([0; WORKSPACE]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Aligned<T: ?Sized>(pub T);

const _: () = assert!(align_of::<Aligned<u8>>() == ALIGN);

/// The part of `memory` from its first multiple of [`ALIGN`] bytes on: for a `Vec` or a heap, whose address nobody chose.
///
/// Ask for [`ALIGN`] bytes more than you need.
///
/// ```
/// let mut memory = vec![0; 1000 + pixgen_core::ALIGN];
/// let workspace = pixgen_core::align(&mut memory);
/// assert!(workspace.len() >= 1000);
/// ```
pub fn align(memory: &mut [u8]) -> &mut [u8] {
    let skipped = memory.as_ptr().align_offset(ALIGN);
    memory.get_mut(skipped..).unwrap_or_default()
}

/// Puts a model file into the program, aligned, so that [`Model::read`](crate::pxg::Model::read) takes it where it lies: in flash.
///
/// The path is relative to the source file, as that of [`include_bytes!`]. The result is a `&'static [u8]`.
///
/// ```
/// use pixgen_core::include_pxg;
/// use pixgen_core::pxg::{Model, PxgError};
///
/// static MODEL: &[u8] = include_pxg!("../examples/nano-28-grey.pxg");
///
/// let model = Model::read(MODEL)?;
/// assert_eq!(model.class_name(9), Some("Ankle boot"));
/// # Ok::<(), PxgError>(())
/// ```
#[macro_export]
macro_rules! include_pxg {
    ($path:expr $(,)?) => {{
        const FILE: &$crate::Aligned<[u8]> = &$crate::Aligned(*::core::include_bytes!($path));
        &FILE.0
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_cut_at_the_first_multiple() {
        let mut memory = Aligned([0; 64]);
        for offset in 0..64 {
            let rest = &mut memory.0[offset..];
            let (have, skipped) = (rest.len(), offset.next_multiple_of(ALIGN) - offset);
            let cut = align(rest);
            assert_eq!(cut.len(), have.saturating_sub(skipped));
            assert!(cut.is_empty() || (cut.as_ptr() as usize).is_multiple_of(ALIGN));
        }
    }
}
