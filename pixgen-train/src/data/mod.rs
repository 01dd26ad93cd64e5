//! Images in, batches out: everything between a user's files and the numbers that the network sees.
//!
//! Loading is that of [`pixgen_edge::data`], all of which is here too. Training adds which image comes when ([`order`]) and the views
//! of stage 1 ([`augment`]). Both are functions of (seed, images seen), so a resumed run repeats them exactly.

pub mod augment;
pub mod order;

pub use pixgen_edge::data::*;
