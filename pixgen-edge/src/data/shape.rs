//! The size of images.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::data::error::DataError;

/// The longest side that is accepted.
pub const MAX_SIDE: usize = 4096;

/// Size of every image of a data set. Pixels are rows of columns of channels (H, W, C).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
}

impl ImageShape {
    /// Bytes of one image.
    pub const fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether an image of this shape has no pixel.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Refuses shapes other than 1 or 3 channels with sides in `1..=MAX_SIDE`.
    pub fn check(self) -> Result<(), DataError> {
        let side = |n: usize| (1..=MAX_SIDE).contains(&n);
        if side(self.height) && side(self.width) && matches!(self.channels, 1 | 3) {
            return Ok(());
        }
        Err(DataError::Shape { height: self.height, width: self.width, channels: self.channels })
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}
