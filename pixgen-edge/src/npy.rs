//! Arrays in numpy's format.

/// What an array in version 1 of the format begins with: the kind of its values as numpy names it, for example `<f4`, and its shape as
/// Python writes it. Values follow at a multiple of 64 bytes.
pub fn npy_header(kind: &str, shape: &str) -> Vec<u8> {
    let dictionary = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    let dictionary = format!("{dictionary:<117}\n");
    [
        b"\x93NUMPY\x01\x00",
        &(dictionary.len() as u16).to_le_bytes()[..],
        dictionary.as_bytes(),
    ]
    .concat()
}

/// An array, whose shape begins with a fixed dimension.
pub fn npy(kind: &str, shape: &[usize], values: &[u8]) -> Vec<u8> {
    let shape: String = shape.iter().map(|len| format!("{len}, ")).collect();
    let mut bytes = npy_header(kind, &format!("({})", shape.trim_end()));
    bytes.extend_from_slice(values);
    bytes
}
