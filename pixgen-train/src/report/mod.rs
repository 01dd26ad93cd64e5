//! The work behind `report`: runs and measurements as one page that needs no server, no network and no other file.
//!
//! [`source`] reads a run folder, [`log`] its curves, [`numbers`] the measurements of `eval --json`, and [`nearest`] draws pictures and
//! finds what they might be copies of. [`page`] lays all of it out with [`chart`] for curves and [`html`] under everything: texts are
//! escaped there, so that no file can put markup into the page, and a content security policy keeps the browser from loading anything.

pub mod chart;
pub mod error;
pub mod html;
pub mod log;
pub mod nearest;
pub mod numbers;
pub mod page;
pub mod source;

pub use error::ReportError;
