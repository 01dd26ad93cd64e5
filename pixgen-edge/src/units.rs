//! Numbers as people read them: images, bytes, rates, durations.

use std::time::Duration;

/// A number with its noun: `1 step`, `2 steps`.
pub fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A number of images in three digits: `960 img`, `1.25 Mimg`.
pub fn format_images(images: u64) -> String {
    let (number, unit) = scale(images as f64, 1000.0, &["img", "kimg", "Mimg", "Gimg"]);
    format!("{number} {unit}")
}

/// Images per second in three digits: `0.42 img/s`, `812 img/s`, `1.25 kimg/s`.
pub fn format_rate(images_per_second: f64) -> String {
    let (number, unit) = scale(images_per_second, 1000.0, &["img/s", "kimg/s", "Mimg/s"]);
    format!("{number} {unit}")
}

/// Multiply-accumulates in three digits: `960`, `7.9 M`, `80.1 G`.
pub fn format_macs(macs: u64) -> String {
    let (number, unit) = scale(macs as f64, 1000.0, &["", "k", "M", "G", "T"]);
    format!("{number} {unit}").trim_end().to_owned()
}

/// A number of bytes in three digits: `17 B`, `183 KiB`, `1.2 GiB`.
pub fn format_bytes(bytes: u64) -> String {
    let (number, unit) = scale(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]);
    format!("{number} {unit}")
}

/// A number with a suffix k, M or G for powers of `base`, and the unit behind it or not: `96K` and `96KiB`, `80MHz`, `1.5M`, `65536`.
/// `None` when it is not one, or not above zero.
pub fn parse_scaled(text: &str, base: f64, units: &[&str]) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let suffix = suffix.trim().to_ascii_lowercase();
    let rest = units
        .iter()
        .find_map(|unit| suffix.strip_suffix(&unit.to_ascii_lowercase()))
        .unwrap_or(&suffix);
    let power = ["", "k", "m", "g"].iter().position(|letter| *letter == rest)?;
    let value = number.parse::<f64>().ok()? * base.powi(power as i32);
    (value > 0.0).then_some(value)
}

/// A duration in its two largest units: `0.4 s`, `42 s`, `12 min 5 s`, `3 h 10 min`, `2 d 4 h`.
pub fn format_duration(duration: Duration) -> String {
    if duration < Duration::from_millis(9_950) {
        return format!("{} s", three_digits(duration.as_millis() as f64 / 1000.0));
    }
    let seconds = (duration + Duration::from_millis(500)).as_secs();
    let (large, large_unit, small, small_unit) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3_600 => (seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => (seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => (seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    };
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

/// `value` in the largest of `units` that keeps it at 1 or more, each `step` times the one before.
fn scale<'a>(value: f64, step: f64, units: &[&'a str]) -> (String, &'a str) {
    let mut value = value;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for larger in units {
        // Half a unit below the step would already round up to it.
        if value < step - 0.5 {
            break;
        }
        value /= step;
        unit = larger;
    }
    (three_digits(value), unit)
}

/// Three significant digits (more before the point if there are more), without zeros at the end.
fn three_digits(value: f64) -> String {
    let decimals = match value {
        value if value >= 99.95 => return format!("{value:.0}"),
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_their_nouns() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "class", "classes")), ["0 classes", "1 class", "2 classes"]);
    }

    #[test]
    fn formats_three_digits() {
        assert_eq!(format_images(0), "0 img");
        assert_eq!(format_images(960), "960 img");
        assert_eq!(format_images(1_250_000), "1.25 Mimg");
        assert_eq!(format_images(8_000_000), "8 Mimg");
        assert_eq!(format_images(999_999), "1 Mimg");
        assert_eq!(format_images(12_345_678), "12.3 Mimg");
        assert_eq!(format_images(5_000_000_000_000), "5000 Gimg");
        assert_eq!(format_bytes(17), "17 B");
        assert_eq!(format_bytes(183 * 1024), "183 KiB");
        assert_eq!(format_bytes(1_288_490_189), "1.2 GiB");
        assert_eq!(format_bytes(1023), "1023 B");
        assert_eq!([960, 7_902_720, 80_100_000_000].map(format_macs), ["960", "7.9 M", "80.1 G"]);
        assert_eq!(format_rate(0.4211), "0.42 img/s");
        assert_eq!(format_rate(812.3), "812 img/s");
    }

    #[test]
    fn reads_sizes_and_clocks() {
        let bytes = |text| parse_scaled(text, 1024.0, &["iB", "B"]);
        for (text, want) in [
            ("96K", 98_304.0),
            ("96 KiB", 98_304.0),
            ("96kb", 98_304.0),
            ("1M", 1_048_576.0),
            ("1.5M", 1_572_864.0),
            ("65536", 65_536.0),
        ] {
            assert_eq!(bytes(text), Some(want), "{text}");
        }
        assert_eq!(parse_scaled("7.3728MHz", 1000.0, &["Hz"]), Some(7_372_800.0));
        assert_eq!(parse_scaled("80000000", 1000.0, &["Hz"]), Some(8e7));
        for text in ["", "K", "0", "0K", "-1K", "1T", "1 0K", "1e3", "nan", "1..2M", "1MM", "\u{661}K"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn formats_durations() {
        let seconds = |s: f64| format_duration(Duration::from_secs_f64(s));
        assert_eq!(seconds(0.0), "0 s");
        assert_eq!(seconds(0.4), "0.4 s");
        assert_eq!(seconds(9.99), "10 s");
        assert_eq!(seconds(59.7), "1 min");
        assert_eq!(seconds(725.0), "12 min 5 s");
        assert_eq!(seconds(11_400.0), "3 h 10 min");
        assert_eq!(seconds(187_200.0), "2 d 4 h");
        assert_eq!(format_duration(Duration::MAX.saturating_sub(Duration::from_secs(1))), "213503982334601 d 7 h");
    }
}
