//! Numbers as people write and read them: images, bytes, durations.

use std::time::Duration;

use super::error::SettingsError;

/// Longest text of a whole `u64` with a suffix, generously; also bounds the arithmetic below.
const LONGEST: usize = 64;

/// Reads a number of images: `240000`, `240_000`, `250k`, `1.5M`, `8Mi`, and what [`format_images`] writes (`1.25 Mimg`).
///
/// `k`, `M`, `G` are powers of 1000 and `Ki`, `Mi`, `Gi` powers of 1024. The result is exact.
///
/// # Errors
/// [`SettingsError::NotANumber`], [`SettingsError::NotWhole`] and [`SettingsError::TooLarge`].
pub fn parse_images(text: &str) -> Result<u64, SettingsError> {
    let not_a_number = || SettingsError::NotANumber { text: text.to_owned() };
    let too_large = || SettingsError::TooLarge { text: text.to_owned() };
    let not_whole = || SettingsError::NotWhole { text: text.to_owned() };

    let bare = text.trim();
    let bare = bare.strip_suffix("img").unwrap_or(bare).trim_end();
    if bare.len() > LONGEST {
        return Err(not_a_number());
    }
    let end = bare.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(bare.len());
    let (number, suffix) = bare.split_at(end);
    let factor: u128 = match suffix.trim_start() {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(not_a_number()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits_only = |part: &str| part.starts_with(|c: char| c.is_ascii_digit()) && part.chars().all(|c| c.is_ascii_digit() || c == '_');
    if !digits_only(whole) || !digits_only(fraction) {
        return Err(not_a_number());
    }

    // number = digits / 10^decimals, so the result is digits * factor / 10^decimals.
    let fraction = fraction.replace('_', "");
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{}{fraction}", whole.replace('_', ""));
    let decimals = u32::try_from(fraction.len()).map_err(|_| not_whole())?;
    let scale = 10u128.checked_pow(decimals).ok_or_else(not_whole)?;
    let scaled = digits
        .parse::<u128>()
        .ok()
        .and_then(|digits| digits.checked_mul(factor))
        .ok_or_else(too_large)?;
    if scaled % scale != 0 {
        return Err(not_whole());
    }
    u64::try_from(scaled / scale).map_err(|_| too_large())
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

/// A number of bytes in three digits: `17 B`, `183 KiB`, `1.2 GiB`.
pub fn format_bytes(bytes: u64) -> String {
    let (number, unit) = scale(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]);
    format!("{number} {unit}")
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
    fn parses_what_people_write() {
        for (text, images) in [
            ("240000", 240_000),
            ("240_000", 240_000),
            ("250k", 250_000),
            ("250K", 250_000),
            ("1.5M", 1_500_000),
            ("8Mi", 8 << 20),
            ("0.5Ki", 512),
            ("2G", 2_000_000_000),
            ("1.500 M", 1_500_000),
            (" 1.25 Mimg ", 1_250_000),
            ("0.00000095367431640625Gi", 1024),
            ("0", 0),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_images(text).unwrap(), images, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_number_of_images() {
        for text in [
            "", "k", "img", ".5M", "1.M", "1.2.3", "-1", "1e6", "1m", "8MiB", "_1", "1,5M", "M1", "é",
        ] {
            let error = parse_images(text).unwrap_err();
            assert!(matches!(error, SettingsError::NotANumber { .. }), "{text}: {error}");
            assert!(error.hint().unwrap().contains("8Mi"));
        }
        for text in ["0.5", "1.0005k", "0.3Ki", "0.0000000000000000000000000000001G"] {
            let error = parse_images(text).unwrap_err();
            assert!(matches!(error, SettingsError::NotWhole { .. }), "{text}: {error}");
        }
        for text in ["18446744073709551616", "18446744074G", "99999999999999999999999999999999999999999"] {
            let error = parse_images(text).unwrap_err();
            assert!(matches!(error, SettingsError::TooLarge { .. }), "{text}: {error}");
        }
        assert!(parse_images(&"9".repeat(10_000)).is_err());
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
        assert_eq!(format_rate(0.4211), "0.42 img/s");
        assert_eq!(format_rate(812.3), "812 img/s");
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

    #[test]
    fn formatted_images_parse_back() {
        let mut images = 1u64;
        while images < 1_000_000_000_000 {
            let back = parse_images(&format_images(images)).unwrap();
            let error = back.abs_diff(images) as f64 / images as f64;
            assert!(error <= 0.005, "{images} -> {back}");
            images += images / 7 + 1;
        }
    }
}
