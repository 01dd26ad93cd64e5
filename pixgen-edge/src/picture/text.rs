//! Short texts in pictures: the names of classes beside samples. A bitmap font of 8 x 8 pixels with Latin and Greek letters.

use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};

use super::raster::Picture;

/// Width and height of a letter in pixels, at scale 1.
pub const LETTER: usize = 8;

/// A text of at most `letters` letters; a longer one ends with two dots.
pub fn shorten(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let kept = text.chars().take(letters.saturating_sub(2));
    kept.chain("..".chars()).take(letters).collect()
}

/// Calls `paint(x, y)` for every pixel of a text whose corner is (0, 0); `scale` is the side of one pixel of the font. Letters that the font
/// has not are question marks.
pub fn draw(text: &str, scale: usize, mut paint: impl FnMut(usize, usize)) {
    for (place, letter) in text.chars().enumerate() {
        for (row, bits) in glyph(letter).into_iter().enumerate() {
            for column in (0..LETTER).filter(|column| bits >> column & 1 == 1) {
                for dot in 0..scale * scale {
                    paint((place * LETTER + column) * scale + dot % scale, row * scale + dot / scale);
                }
            }
        }
    }
}

fn glyph(letter: char) -> [u8; LETTER] {
    let fonts = [BASIC_FONTS.get(letter), LATIN_FONTS.get(letter), GREEK_FONTS.get(letter)];
    let known = fonts.into_iter().flatten().next().filter(|_| !letter.is_control());
    known.or_else(|| BASIC_FONTS.get('?')).unwrap_or_default()
}

impl Picture {
    /// Writes `text` in one brightness with its corner at (`left`, `top`); what lies outside the picture is cut off.
    pub fn write(&mut self, text: &str, left: usize, top: usize, scale: usize, brightness: u8) {
        draw(text, scale, |x, y| self.set(left + x, top + y, brightness));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str) -> Vec<(usize, usize)> {
        let mut dots = Vec::new();
        draw(text, 1, |x, y| dots.push((x, y)));
        dots
    }

    #[test]
    fn letters_are_drawn() {
        let dots = drawn("I");
        assert!(dots.iter().all(|&(x, y)| x < LETTER && y < LETTER) && dots.len() > 10, "{dots:?}");
        assert_ne!(drawn("é"), drawn("e"));
        assert_eq!(drawn("猫"), drawn("?"));
        assert_eq!(drawn("\n"), drawn("?"));
        let mut count = 0;
        draw("I", 3, |_, _| count += 1);
        assert_eq!(count, 9 * dots.len());
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shorten("Ankle boot", 10), "Ankle boot");
        assert_eq!(shorten("Ankle boots", 10), "Ankle bo..");
        assert_eq!((shorten("abc", 1).as_str(), shorten("abc", 0).as_str()), (".", ""));
    }

    #[test]
    fn what_lies_outside_is_cut_off() {
        let mut picture = Picture::new(10, 4, 1, vec![0; 40]).unwrap();
        picture.write("MM", 3, 1, 1, 200);
        assert!(picture.bytes().contains(&200));
    }
}
