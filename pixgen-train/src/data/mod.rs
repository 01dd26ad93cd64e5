//! What training adds to the loading of pixgen-edge: which image comes when ([`order`]), the views of stage 1 ([`augment`]), and the
//! verbs that look at a data set ([`check`], [`contact_sheet`](mod@contact_sheet)) or write it at the training size ([`prepare`]).
//!
//! Order and views are functions of (seed, images seen), so a resumed run repeats them exactly.

pub mod augment;
pub mod check;
pub mod contact_sheet;
#[cfg(test)]
mod containers;
pub mod order;
pub mod prepare;
