//! A board that is not in the table, as the command line describes it.

use crate::boards::{Board, Core, Supply, WeightMemory};
use crate::terminal::printable;
use crate::units::parse_scaled;
use clap::Args;
use clap::builder::{StringValueParser, TypedValueParser};

/// A board as its data sheet describes it.
#[derive(Debug, Args)]
#[command(next_help_heading = "A board that is not in the table")]
pub struct OwnBoardArgs {
    /// Flash of a board that is not in the table, for example 1M or 512K; under Linux what is free of its card
    #[arg(long, value_name = "SIZE", value_parser = size, requires_all = ["ram", "core", "clock"], conflicts_with_all = ["board", "all_boards"])]
    pub flash: Option<u64>,
    /// Its largest block of RAM without a gap, for example 96K; under Linux what is free
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "flash")]
    pub ram: Option<u64>,
    /// Its core
    #[arg(long, value_parser = core, requires = "flash", help = format!("Its core: {}", core_names()))]
    pub core: Option<Core>,
    /// Its clock, for example 80M
    #[arg(long, value_name = "HERTZ", value_parser = clock, requires = "flash")]
    pub clock: Option<f64>,
    /// Its name in the output
    #[arg(long, requires = "flash", default_value = "my-board", value_parser = StringValueParser::new().map(|name| printable(&name)))]
    pub name: String,
    /// Current while it computes, for the energy of a picture, for example 12mA; replaces that of the table
    #[arg(long, value_name = "AMPERES", help_heading = "Energy", value_parser = current)]
    pub current: Option<f64>,
    /// Supply voltage of the current
    #[arg(long, value_name = "VOLTS", help_heading = "Energy", value_parser = voltage, default_value = "3.3", requires = "current")]
    pub voltage: f64,
}

impl OwnBoardArgs {
    /// The board, when one is described.
    pub fn board(&self) -> Option<Board<'_>> {
        let (flash, ram, core, mhz) = (self.flash?, self.ram?, self.core?, self.clock?);
        let weights = if core.runs_linux() {
            WeightMemory::Ram
        } else {
            WeightMemory::Internal
        };
        Some(Board {
            name: &self.name,
            chip: "-",
            core,
            mhz,
            flash,
            ram,
            weights,
            // What is given is what is free.
            system: None,
            supply: None,
            source: "the command line",
        })
    }

    /// The current, when one is given.
    pub fn supply(&self) -> Option<Supply> {
        self.current.map(|milliamperes| Supply { milliamperes, volts: self.voltage })
    }
}

/// Bytes.
fn size(text: &str) -> Result<u64, String> {
    let bytes = parse_scaled(text, 1024.0, &["iB", "B"]).filter(|bytes| *bytes >= 1.0 && *bytes < 1e15);
    bytes
        .map(|bytes| bytes as u64)
        .ok_or_else(|| "a size is a number with K or M for KiB or MiB, for example 96K".to_owned())
}

/// MHz.
fn clock(text: &str) -> Result<f64, String> {
    let hertz = parse_scaled(text, 1000.0, &["Hz"]).filter(|hertz| *hertz < 1e10);
    match hertz {
        // 80 alone is far more often a slip than a clock.
        Some(hertz) if hertz < 1000.0 => Err(format!("{hertz} Hz is no clock of a chip; for {hertz} MHz write {hertz}M")),
        Some(hertz) => Ok(hertz / 1e6),
        None => Err("a clock is a number of hertz with k or M, for example 80M".to_owned()),
    }
}

/// A core by its name, as makers write it or in small letters.
fn core(text: &str) -> Result<Core, String> {
    let plain = |name: &str| name.to_ascii_lowercase().replace("plus", "+").replace('_', "-");
    let wanted = plain(text);
    // M0 and M0+ take the same instructions; the F is a floating-point unit, which is not used.
    let wanted = match wanted.as_str() {
        "cortex-m0" => "cortex-m0+",
        "cortex-m4f" => "cortex-m4",
        "cortex-m33f" => "cortex-m33",
        other => other,
    };
    let found = Core::ALL.into_iter().find(|core| plain(core.name()) == wanted);
    found.ok_or_else(|| format!("there are: {}", core_names()))
}

/// All cores, in small letters.
fn core_names() -> String {
    Core::ALL.map(|core| core.name().to_ascii_lowercase()).join(", ")
}

/// Milliamperes.
fn current(text: &str) -> Result<f64, String> {
    let bare = text.trim().trim_end_matches(['a', 'A']);
    let (number, scale) = match bare.chars().last() {
        Some('m') => (bare.strip_suffix('m'), 1.0),
        Some('u') => (bare.strip_suffix('u'), 1e-3),
        Some('\u{b5}') => (bare.strip_suffix('\u{b5}'), 1e-3),
        Some('\u{3bc}') => (bare.strip_suffix('\u{3bc}'), 1e-3),
        _ => (Some(bare).filter(|bare| bare.len() < text.trim().len()), 1e3),
    };
    let amperes = number.and_then(|number| number.trim().parse::<f64>().ok());
    let sound = amperes
        .map(|amperes| amperes * scale)
        .filter(|milliamperes| *milliamperes > 0.0 && *milliamperes < 1e6);
    // Without the last digits, which the change of units makes up: 1e-9 A is 0.000001 mA.
    let rounded = sound.and_then(|milliamperes| format!("{milliamperes:.12e}").parse().ok());
    rounded.ok_or_else(|| "a current is a number with its unit: 12mA, 900uA or 0.012A".to_owned())
}

/// Volts.
fn voltage(text: &str) -> Result<f64, String> {
    let volts = text.trim().trim_end_matches(['v', 'V']).trim().parse::<f64>().ok();
    volts
        .filter(|volts| *volts > 0.0 && *volts < 1000.0)
        .ok_or_else(|| "a voltage is a number of volts, for example 3.3".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_units() {
        assert_eq!((size("1M"), size("96K"), size("65536")), (Ok(1 << 20), Ok(98_304), Ok(65_536)));
        assert_eq!((clock("80M"), clock("7.3728MHz"), clock("32768k")), (Ok(80.0), Ok(7.3728), Ok(32.768)));
        for (text, want) in [
            ("12mA", 12.0),
            ("1e-9A", 1e-6),
            ("0.7uA", 0.0007),
            ("0.012A", 12.0),
            ("900uA", 0.9),
            ("900 \u{b5}A", 0.9),
            ("12 mA", 12.0),
            ("2A", 2000.0),
        ] {
            assert!((current(text).unwrap() - want).abs() < 1e-9, "{text}");
        }
        assert_eq!((voltage("3.3"), voltage("3V"), voltage("1.8 V")), (Ok(3.3), Ok(3.0), Ok(1.8)));
        for (core_name, want) in [
            ("cortex-m4", Core::M4),
            ("Cortex-M4F", Core::M4),
            ("cortex-m0plus", Core::M0Plus),
            ("CORTEX_M7", Core::M7),
        ] {
            assert_eq!(core(core_name), Ok(want), "{core_name}");
        }
        for known in Core::ALL {
            assert_eq!(core(known.name()), Ok(known));
        }
    }

    #[test]
    fn what_is_no_number_says_what_one_looks_like() {
        for text in ["", "M", "-1M", "0", "1e9", "many", "1T"] {
            assert!(size(text).unwrap_err().contains("96K"), "{text}");
        }
        assert!(clock("80").unwrap_err().contains("80M"));
        assert!(clock("999G").unwrap_err().contains("80M"));
        assert!(clock("fast").unwrap_err().contains("80M"));
        for text in ["12", "mA", "", "-1mA", "0mA", "nanmA", "infA", "12V"] {
            assert!(current(text).unwrap_err().contains("12mA"), "{text}");
        }
        for text in ["", "V", "-3", "0", "nan", "inf"] {
            assert!(voltage(text).unwrap_err().contains("3.3"), "{text}");
        }
        let error = core("cortex-a5").unwrap_err();
        assert!(error.contains("cortex-m4, cortex-m7") && error.contains("rv32imc, cortex-a53"), "{error}");
    }
}
