//! The number types of PyTorch's storages, as f32.

use half::{bf16, f16};

/// Type of the numbers in a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scalar {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Signed, 64 bits.
    I64,
    /// Signed, 32 bits.
    I32,
    /// Signed, 16 bits.
    I16,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 8 bits.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl Scalar {
    /// Bytes of one number.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The type of `torch.FloatStorage` and its like.
    pub(super) fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }

    /// The type of `torch.float32` and its like.
    pub(super) fn of_dtype(name: &str) -> Option<Self> {
        Some(match name {
            "float64" | "double" => Self::F64,
            "float32" | "float" => Self::F32,
            "float16" | "half" => Self::F16,
            "bfloat16" => Self::Bf16,
            "int64" | "long" => Self::I64,
            "int32" | "int" => Self::I32,
            "int16" | "short" => Self::I16,
            "int8" => Self::I8,
            "uint8" => Self::U8,
            "bool" => Self::Bool,
            _ => return None,
        })
    }

    /// Appends little-endian numbers to `out`, rounded to f32; a rest of less than a number is ignored.
    pub(super) fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F64 => out.extend(numbers(bytes).map(|b| f64::from_le_bytes(b) as f32)),
            Self::F32 => out.extend(numbers(bytes).map(f32::from_le_bytes)),
            Self::F16 => out.extend(numbers(bytes).map(|b| f16::from_le_bytes(b).to_f32())),
            Self::Bf16 => out.extend(numbers(bytes).map(|b| bf16::from_le_bytes(b).to_f32())),
            Self::I64 => out.extend(numbers(bytes).map(|b| i64::from_le_bytes(b) as f32)),
            Self::I32 => out.extend(numbers(bytes).map(|b| i32::from_le_bytes(b) as f32)),
            Self::I16 => out.extend(numbers(bytes).map(|b| f32::from(i16::from_le_bytes(b)))),
            Self::I8 => out.extend(numbers(bytes).map(|b| f32::from(i8::from_le_bytes(b)))),
            Self::U8 | Self::Bool => out.extend(bytes.iter().map(|&b| f32::from(b))),
        }
    }
}

fn numbers<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}
