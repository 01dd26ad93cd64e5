//! Names that completion scripts and shells offer for a flag, without the command line refusing others: the command itself says what was
//! meant by a name that is not there.

use crate::boards::{BOARDS, board};
use crate::npus::NPUS;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::Error;
use clap::{Arg, Command};
use std::ffi::OsStr;

/// Takes any text and offers some.
#[derive(Clone, Copy, Debug)]
pub struct Offered(pub fn() -> Vec<&'static str>);

/// The presets.
pub const PRESET_NAMES: Offered = Offered(|| pixgen_core::presets::PRESETS.iter().map(|preset| preset.name).collect());
/// The boards.
pub const BOARD_NAMES: Offered = Offered(|| board_names().collect());

/// Of [`BOARDS`] and of boards of which only the accelerator is planned for.
pub fn board_names() -> impl Iterator<Item = &'static str> + Clone {
    let npus = NPUS.iter().map(|npu| npu.board).filter(|name| board(name).is_none());
    BOARDS.iter().map(|board| board.name).chain(npus)
}

impl TypedValueParser for Offered {
    type Value = String;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.0)().into_iter().map(PossibleValue::new)))
    }
}
