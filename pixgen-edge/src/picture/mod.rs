//! Pictures for people: grids of samples, a strip over time, a preview in the terminal.
//!
//! Everything here is bytes, 0 to 255, in rows of pixels of channels (HWC). [`raster`] holds a picture, [`png`] reads and writes it,
//! [`grid`] lays out samples, [`strip`] adds a row of samples per checkpoint to one file, [`text`] writes names into pictures,
//! [`preview`] draws with characters, and [`animation`] shows pictures one after another.

pub mod animation;
pub mod error;
pub mod grid;
pub mod png;
pub mod preview;
pub mod raster;
pub mod strip;
pub mod text;

pub use error::PictureError;
pub use grid::Grid;
pub use preview::Preview;
pub use raster::Picture;
