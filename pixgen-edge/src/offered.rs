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

/// Their chips, in the same order.
pub fn board_chips() -> impl Iterator<Item = &'static str> + Clone {
    let npus = NPUS.iter().filter(|npu| board(npu.board).is_none()).map(|npu| npu.chip);
    BOARDS.iter().map(|board| board.chip).chain(npus)
}

/// The boards that may be meant by a name that is none: a part of a name or of a chip's, in any spelling.
pub fn meant_boards(text: &str) -> Vec<&'static str> {
    let plain = |text: &str| {
        let letters = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        letters.strip_prefix("rpi").map_or(letters.clone(), |rest| format!("raspberrypi{rest}"))
    };
    let wanted = plain(text);
    if wanted.len() < 2 {
        return Vec::new();
    }
    // A chip is often written with its package: STM32F407VGT6.
    let meant = |name: &str, chip: &str| plain(name).contains(&wanted) || plain(chip).contains(&wanted) || wanted.contains(&plain(chip));
    let pairs = board_names().zip(board_chips());
    pairs.filter(|(name, chip)| meant(name, chip)).map(|(name, _)| name).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_are_meant_by_parts_of_names_and_chips() {
        for (text, want) in [
            ("rpi5", &["raspberry-pi-5"][..]),
            ("Pi 4", &["raspberry-pi-4"]),
            ("raspberry", &["raspberry-pi-zero-2-w", "raspberry-pi-4", "raspberry-pi-5"]),
            ("alif", &["ensemble-e7-devkit", "ensemble-e3-devkit", "ensemble-e8-devkit"]),
            ("Alif E7", &["ensemble-e7-devkit"]),
            ("i.MX 93", &["imx93-evk"]),
            ("RK3588", &["rock-5b"]),
            ("ra8p1", &["ek-ra8p1"]),
            ("STM32F407VGT6", &["stm32f4-discovery"]),
            ("commodore", &[]),
            ("", &[]),
        ] {
            assert_eq!(meant_boards(text), want, "{text}");
        }
    }
}
