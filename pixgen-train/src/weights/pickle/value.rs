//! What a pickle can hold: values that name each other by position in one table, and the functions and classes that are known.

use crate::weights::scalar::Scalar;

/// Position of a value in the table.
pub type Id = usize;

/// A value of the pickle.
#[derive(Clone, Debug)]
pub enum Value {
    /// Something that holds no tensor: a float, None, an object of a library.
    Opaque,
    /// An integer or truth value that fits.
    Int(i64),
    /// Text.
    Str(String),
    /// A tuple or list.
    List(Vec<Id>),
    /// Keys and values in order.
    Dict(Vec<(Id, Id)>),
    /// A known function or class.
    Global(Global),
    /// Position in the storages of the pickle.
    Storage(usize),
    /// A view of a storage.
    Tensor(View),
}

/// The functions and classes that are known.
#[derive(Clone, Copy, Debug)]
pub enum Global {
    /// `OrderedDict` and the like.
    Dict,
    /// `_rebuild_tensor_v2(storage, offset, shape, stride, ..)`; with a type in `_rebuild_tensor_v3`.
    Tensor,
    /// `_rebuild_parameter(tensor, ..)`.
    Parameter,
    /// `torch.Size(dims)`.
    Size,
    /// `torch.FloatStorage`; without a type `UntypedStorage`.
    Storage(Option<Scalar>),
    /// `torch.float32`.
    Type(Scalar),
    /// Makes something that holds no tensor.
    Inert,
}

/// A storage that the pickle refers to.
#[derive(Clone, Debug)]
pub struct StorageRef {
    /// Its name in the container.
    pub key: String,
    /// Type of its numbers, if it has one.
    pub scalar: Option<Scalar>,
    /// Where this view of it begins, in numbers; old files only.
    pub offset: usize,
}

/// A tensor: which numbers of which storage.
#[derive(Clone, Debug)]
pub struct View {
    /// Position in the storages of the pickle.
    pub storage: usize,
    /// Type of the numbers.
    pub scalar: Scalar,
    /// First number.
    pub offset: usize,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Numbers from one index of a dimension to the next.
    pub stride: Vec<usize>,
}

impl Global {
    /// What a module and name mean; `None` if they are not known to be data.
    pub fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict" | "defaultdict") => Self::Dict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => Self::Tensor,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Self::Parameter,
            ("torch", "Size") => Self::Size,
            ("torch.storage", "UntypedStorage" | "_UntypedStorage") => Self::Storage(None),
            ("torch" | "torch.cuda", name) if name.ends_with("Storage") => Self::Storage(Some(Scalar::of_storage(name)?)),
            ("torch", "device") => Self::Inert,
            ("torch", name) => Self::Type(Scalar::of_dtype(name)?),
            ("collections", "Counter")
            | ("argparse", "Namespace")
            | ("pathlib", "PosixPath")
            | ("_codecs", "encode")
            | ("builtins" | "__builtin__", "set" | "frozenset" | "bytearray" | "complex" | "slice")
            | ("numpy", "dtype" | "ndarray")
            | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct") => Self::Inert,
            _ => return None,
        })
    }
}
