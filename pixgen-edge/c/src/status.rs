//! Error codes: `enum pixgen_status` of pixgen.h.

use core::ffi::{CStr, c_int};
use pixgen_core::integer::{DrawError, SelfTestError};
use pixgen_core::pxg::PxgError;

/// Result of a call.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// A pointer is null.
    NullPointer = 1,
    /// A pointer is not aligned.
    Misaligned = 2,
    /// The bytes are no `.pxg` file.
    NotAModel = 3,
    /// The file is of another version of the format.
    Version = 4,
    /// The file has another length than given.
    Length = 5,
    /// The file is damaged.
    Checksum = 6,
    /// The file describes no model that this library can draw.
    Content = 7,
    /// There is no such class.
    NoSuchClass = 8,
    /// The workspace is too small.
    SmallWorkspace = 9,
    /// The file has no self-test vectors.
    NoSelfTest = 10,
    /// A picture of the self-test differs.
    SelfTest = 11,
    /// A fault of this library.
    Internal = 12,
    /// The picture is not complete; not an error.
    More = 13,
    /// This CPU has no kernel of that name.
    NoKernel = 14,
    /// The panels are too small.
    SmallPanels = 15,
    /// The scratch is too small.
    SmallScratch = 16,
    /// A tensor of an accelerator has another length than given.
    TensorLength = 17,
}

impl Status {
    /// All codes and their texts.
    pub const ALL: &[(Self, &CStr)] = &[
        (Self::Ok, c"no error"),
        (Self::NullPointer, c"a pointer is null"),
        (Self::Misaligned, c"a pointer is not aligned: files and workspaces begin at multiples of 16 bytes"),
        (Self::NotAModel, c"not a .pxg file"),
        (Self::Version, c"the file is of another version of the format"),
        (Self::Length, c"the file has another length than given"),
        (Self::Checksum, c"the file is damaged: its checksum differs"),
        (Self::Content, c"the file describes no model that can be drawn here"),
        (Self::NoSuchClass, c"the model has no such class"),
        (Self::SmallWorkspace, c"the workspace is too small"),
        (Self::NoSelfTest, c"the file has no self-test vectors"),
        (Self::SelfTest, c"a self-test picture is not the one drawn at export"),
        (Self::Internal, c"a fault of the library"),
        (Self::More, c"the picture is not complete: call pixgen_step again"),
        (Self::NoKernel, c"this CPU has no kernel of that name"),
        (Self::SmallPanels, c"the panels are too small"),
        (Self::SmallScratch, c"the scratch is too small"),
        (
            Self::TensorLength,
            c"a tensor has another length: pixels has width * width * channels bytes, of 1 or 3 channels",
        ),
    ];

    /// The text of a code.
    pub fn text(code: c_int) -> &'static CStr {
        let known = Self::ALL.iter().find(|(status, _)| *status as c_int == code);
        known.map_or(c"not an error code of pixgen", |(_, text)| text)
    }
}

impl From<Result<(), Status>> for Status {
    fn from(result: Result<(), Status>) -> Self {
        result.err().unwrap_or(Self::Ok)
    }
}

impl From<PxgError> for Status {
    fn from(error: PxgError) -> Self {
        match error {
            PxgError::Magic => Self::NotAModel,
            PxgError::Version { .. } => Self::Version,
            PxgError::Misaligned => Self::Misaligned,
            PxgError::Length { .. } => Self::Length,
            PxgError::Checksum { .. } => Self::Checksum,
            _ => Self::Content,
        }
    }
}

impl From<DrawError> for Status {
    fn from(error: DrawError) -> Self {
        match error {
            DrawError::Class { .. } => Self::NoSuchClass,
            DrawError::Misaligned => Self::Misaligned,
            DrawError::Workspace(_) => Self::SmallWorkspace,
            #[cfg(not(target_os = "none"))]
            DrawError::Panels { .. } => Self::SmallPanels,
            #[cfg(not(target_os = "none"))]
            DrawError::Scratch { .. } => Self::SmallScratch,
            _ => Self::Internal,
        }
    }
}

impl From<SelfTestError> for Status {
    fn from(error: SelfTestError) -> Self {
        match error {
            SelfTestError::Missing => Self::NoSelfTest,
            SelfTestError::Draw(error) => error.into(),
            SelfTestError::Picture { .. } => Self::SelfTest,
            _ => Self::Internal,
        }
    }
}
