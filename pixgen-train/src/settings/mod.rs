//! Settings: where each value comes from and which one wins.
//!
//! A value is looked up in layers: flag > environment > file > preset > built-in default. [`layers::resolve`] merges them over the
//! table of defaults, which is also the schema: a key that has no default is unknown, and a value has the type of its default.
//! The other files make layers: [`mod@file`] from TOML, [`mod@env`] from `PIXGEN_*`; [`assign()`] from one text, such as a
//! flag; presets are tables the program builds itself.
//! [`units`] turns `8Mi` into a number and numbers into words.

mod assign;
pub mod env;
pub mod error;
pub mod file;
pub mod layers;
mod origin;
pub(crate) mod suggest;
pub mod units;

pub use assign::{MICRO_BATCH_AUTO, assign};
pub use error::SettingsError;
pub use layers::{Resolved, SettingsLayer, resolve};
pub use origin::Origin;
