//! Why a PyTorch file cannot be used: which file, what kind of problem, and where in it.

use pixgen_edge::file_error::FileError;
use pixgen_edge::file_error::read_hint;
use std::path::{Path, PathBuf};

/// Why a PyTorch file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PytorchError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Reason.
        source: std::io::Error,
    },
    /// A file of another kind.
    #[error("{} is not a PyTorch file that can be read: {kind}", path.display())]
    Format {
        /// File.
        path: PathBuf,
        /// What it is instead.
        kind: FormatProblem,
    },
    /// Parts of the file are missing or changed.
    #[error("{} is damaged: {kind}", path.display())]
    Damaged {
        /// File.
        path: PathBuf,
        /// What is wrong.
        kind: ContainerProblem,
    },
    /// The pickle makes no sense.
    #[error("{} is damaged: byte {offset} of its pickle: {kind}", path.display())]
    Pickle {
        /// File.
        path: PathBuf,
        /// Byte of the pickle.
        offset: u64,
        /// What is wrong there.
        kind: PickleProblem,
    },
    /// The file wants code to be run.
    #[error("{} holds more than tensors: it needs `{name}`, and no code of a file is run", path.display())]
    Code {
        /// File.
        path: PathBuf,
        /// Python's module and name.
        name: String,
    },
    /// A tensor does not fit its storage.
    #[error("{}: tensor {tensor}: {kind}", path.display())]
    Tensor {
        /// File.
        path: PathBuf,
        /// Name.
        tensor: String,
        /// What is wrong.
        kind: TensorProblem,
    },
    /// The converted file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl PytorchError {
    pub(super) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(super) fn format(path: &Path, kind: FormatProblem) -> Self {
        Self::Format { path: path.to_owned(), kind }
    }

    pub(super) fn damaged(path: &Path, kind: ContainerProblem) -> Self {
        Self::Damaged { path: path.to_owned(), kind }
    }

    pub(super) fn pickle(path: &Path) -> impl Fn(PickleError) -> Self {
        move |error| match error {
            PickleError::Bad(offset, kind) => Self::Pickle { path: path.to_owned(), offset, kind },
            PickleError::Global(name) => Self::Code { path: path.to_owned(), name },
        }
    }

    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { source, .. } => return read_hint(source),
            Self::Format { .. } => "save it again with torch.save(model.state_dict(), path)".into(),
            Self::Damaged { .. } | Self::Pickle { .. } | Self::Tensor { .. } => {
                "the copy may be incomplete or damaged: compare its size with the original's and copy it again".into()
            }
            Self::Code { .. } => {
                "if you trust it, load it in PyTorch and save only the tensors: torch.save(model.state_dict(), path)".into()
            }
            Self::File(error) => return error.hint(),
        })
    }
}

/// What a file is instead of a PyTorch file that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatProblem {
    /// No byte.
    #[error("it is empty")]
    Empty,
    /// A Git LFS pointer.
    #[error("it is a pointer to a file of Git LFS, not the file itself")]
    GitLfsPointer,
    /// A pickle of something else.
    #[error("it is a pickle without PyTorch's storages")]
    BarePickle,
    /// Another zip archive.
    #[error("it is a zip archive without `data.pkl`")]
    OtherArchive,
    /// Anything else.
    #[error("it begins neither as a zip archive nor as a pickle")]
    Unknown,
    /// An encrypted archive.
    #[error("`{0}` is encrypted")]
    Encrypted(String),
    /// A compressed archive.
    #[error("`{0}` is compressed, which PyTorch never does")]
    Compressed(String),
    /// Numbers in the other byte order.
    #[error("it was written on a big-endian machine")]
    BigEndian,
}

/// What is wrong with the parts of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerProblem {
    /// The zip reader's reason.
    #[error("as a zip archive: {0}")]
    Zip(String),
    /// A member of the archive.
    #[error("`{0}` is missing")]
    NoMember(String),
    /// A member that is not text.
    #[error("`{0}` is not text")]
    NotText(String),
    /// The old format's list of storages.
    #[error("its storages have no list")]
    NoStorageList,
    /// An entry of that list.
    #[error("a storage has no name")]
    UnnamedStorage,
    /// A storage that no tensor refers to.
    #[error("no tensor tells the type of storage {0}")]
    UntypedStorage(String),
    /// A storage that the file ends before.
    #[error("it ends before storage {0}")]
    EndsBeforeStorage(String),
    /// A storage that a tensor needs.
    #[error("storage {0} is missing")]
    NoStorage(String),
    /// A length beyond the file.
    #[error("it has {file_len} bytes, a storage reaches beyond them")]
    BeyondFile {
        /// Bytes of the file.
        file_len: u64,
    },
    /// Shared parts that multiply.
    #[error("its dicts and lists hold more than 8 million values")]
    TooManyValues,
    /// Containers that hold themselves.
    #[error("its dicts and lists lie in each other without end")]
    TooDeep,
}

/// What is wrong at a byte of a pickle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleProblem {
    /// The end of the file.
    #[error("it ends too early")]
    EndsEarly,
    /// The system's reason.
    #[error("{0}")]
    Unreadable(String),
    /// The whole pickle.
    #[error("more than 64 MiB without the numbers")]
    TooLong,
    /// One string.
    #[error("a string of {0} bytes")]
    LongString(u64),
    /// Text in another encoding.
    #[error("a string that is not UTF-8")]
    NotUtf8,
    /// A module or name.
    #[error("a line without end")]
    EndlessLine,
    /// Values on the stack.
    #[error("more than 4 million values")]
    TooManyValues,
    /// Nothing on the stack above the last mark.
    #[error("it takes a value that is not there")]
    NoValue,
    /// No mark.
    #[error("it takes a mark that is not there")]
    NoMark,
    /// The memo.
    #[error("it recalls value {0}, which it did not keep")]
    NotKept(u64),
    /// An instruction that no state dict needs.
    #[error("instruction {0:#04x}, which no state dict needs")]
    Instruction(u8),
    /// A list or tuple was needed.
    #[error("a list was expected")]
    NotAList,
    /// Items of a dict.
    #[error("a key without a value")]
    OddItems,
    /// Items put into another thing.
    #[error("it sets items of something that is not a dict")]
    NotADict,
    /// Items appended to another thing.
    #[error("it appends to something that is not a list")]
    AppendsToOther,
    /// A pair was needed.
    #[error("a dict item that is not a pair")]
    NotAPair,
    /// A number was needed.
    #[error("a number was expected")]
    NotANumber,
    /// A number that is no size.
    #[error("a size or offset of {0}")]
    Size(i64),
    /// Dimensions.
    #[error("a tensor of {0} dimensions")]
    Rank(usize),
    /// Sizes and strides.
    #[error("a tensor with {sizes} sizes and {strides} strides")]
    Strides {
        /// Sizes.
        sizes: usize,
        /// Strides.
        strides: usize,
    },
    /// A class needs a name.
    #[error("a class without a name")]
    UnnamedClass,
    /// A call of data.
    #[error("it calls something that is not a function")]
    NotAFunction,
    /// A call.
    #[error("a call with too few arguments")]
    FewArguments,
    /// A parameter holds a tensor.
    #[error("a parameter that is not a tensor")]
    NotATensor,
    /// A tensor has a storage.
    #[error("a tensor without a storage")]
    NoStorage,
    /// Neither the tensor nor its storage tells.
    #[error("a tensor whose type is not known")]
    NoType,
    /// An offset.
    #[error("an offset beyond the file")]
    Offset,
    /// A persistent reference to something else.
    #[error("a reference that is not to a storage")]
    NotAStorage,
}

/// How a tensor does not fit its storage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// Numbers that are not in the storage.
    #[error("shape {shape:?} with strides {stride:?} lies outside of its storage")]
    Outside {
        /// Dimensions.
        shape: Vec<usize>,
        /// Numbers from one index of a dimension to the next.
        stride: Vec<usize>,
    },
    /// A small file that would fill the memory.
    #[error("it repeats {numbers} numbers {times} times")]
    Repeats {
        /// Numbers that are there.
        numbers: usize,
        /// How often.
        times: usize,
    },
    /// The archive's checksum.
    #[error("its numbers are not those that were written (CRC-32)")]
    Checksum,
}

/// Why a pickle cannot be read.
#[derive(Debug)]
pub(super) enum PickleError {
    /// Byte and problem.
    Bad(u64, PickleProblem),
    /// It needs code: module and name.
    Global(String),
}
