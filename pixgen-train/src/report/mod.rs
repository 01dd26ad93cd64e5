//! The work behind `report`: runs and measurements as one page that needs no server, no network and no other file.
//!
//! [`source`] reads a run folder, [`log`] its curves, and [`numbers`] the measurements of `eval --json`; `quality::nearest_pairs` draws
//! pictures and finds the training pictures nearest to them. [`page`] lays everything out, with [`chart`] for the curves and [`html`] for the markup.
//! Every text is escaped in `html`, so no file can put markup into the page, and a content security policy keeps the browser from
//! loading anything or running any script.

pub mod chart;
pub mod error;
pub mod html;
pub mod log;
pub mod numbers;
pub mod page;
pub mod source;

pub use error::ReportError;
