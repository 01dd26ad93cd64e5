//! Numbers as people write and read them: images, bytes, durations.

use super::error::SettingsError;

/// Longest text of a whole `u64` with a suffix, generously; also bounds the arithmetic below.
const LONGEST: usize = 64;

/// Reads a number of images: `240000`, `240_000`, `250k`, `1.5M`, `8Mi`, and what [`pixgen_edge::units::format_images`] writes (`1.25 Mimg`).
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

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_edge::units::format_images;

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
