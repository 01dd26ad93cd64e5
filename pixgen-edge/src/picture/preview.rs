//! A picture in the terminal, drawn with characters.

use super::raster::Picture;

/// Columns assumed when the terminal does not say.
const DEFAULT_COLUMNS: usize = 80;
/// From dark to bright, for a dark terminal.
const RAMP: &[u8; 10] = b" .:-=+*#%@";

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Widest line in characters; wider pictures are shrunk by a whole factor.
    pub columns: usize,
    /// 24-bit colours, or plain ASCII.
    pub colour: bool,
}

impl Preview {
    /// From the environment, read through `variable` (usually `|name| std::env::var(name).ok()`): `COLUMNS`, and no colour if
    /// `NO_COLOR` is set and not empty.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            columns: variable("COLUMNS")
                .and_then(|columns| columns.parse().ok())
                .filter(|&columns| columns > 0)
                .unwrap_or(DEFAULT_COLUMNS),
            colour: variable("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// The picture as lines of text. One character is one pixel wide and two high, which is about square.
    pub fn render(&self, picture: &Picture) -> String {
        let factor = picture.width().div_ceil(self.columns.max(1));
        let small = Shrunk { picture, factor };
        let width = picture.width().div_ceil(factor);
        let height = picture.height().div_ceil(factor);
        let mut text = String::new();
        for top in (0..height).step_by(2) {
            for x in 0..width {
                let upper = small.rgb(x, top);
                let lower = (top + 1 < height).then(|| small.rgb(x, top + 1));
                if self.colour {
                    text += &half_block(upper, lower);
                } else {
                    text.push(shade(upper, lower.unwrap_or(upper)));
                }
            }
            if self.colour {
                text += "\x1b[0m";
            }
            text.push('\n');
        }
        text
    }
}

/// Upper half in the foreground's colour, lower half in the background's.
fn half_block([r, g, b]: [u8; 3], lower: Option<[u8; 3]>) -> String {
    let lower = lower.map_or_else(|| "\x1b[49m".to_owned(), |[r, g, b]| format!("\x1b[48;2;{r};{g};{b}m"));
    format!("\x1b[38;2;{r};{g};{b}m{lower}▀")
}

/// The character as bright as both pixels together.
fn shade(upper: [u8; 3], lower: [u8; 3]) -> char {
    // Rec. 601 luma, in thousandths.
    let luma = |[r, g, b]: [u8; 3]| usize::from(r) * 299 + usize::from(g) * 587 + usize::from(b) * 114;
    let brightness = luma(upper) + luma(lower);
    char::from(RAMP[brightness * RAMP.len() / (2 * 255_000 + 1)])
}

/// A picture seen as if every `factor` x `factor` pixels were one.
struct Shrunk<'a> {
    picture: &'a Picture,
    factor: usize,
}

impl Shrunk<'_> {
    /// The mean colour of one block; blocks at the edges may be smaller.
    fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        let across = x * self.factor..((x + 1) * self.factor).min(self.picture.width());
        let down = y * self.factor..((y + 1) * self.factor).min(self.picture.height());
        let count = across.len() * down.len();
        let mut sum = [0usize; 3];
        for y in down {
            for x in across.clone() {
                for (sum, value) in sum.iter_mut().zip(self.picture.rgb(x, y)) {
                    *sum += usize::from(value);
                }
            }
        }
        sum.map(|sum| u8::try_from((sum + count / 2) / count.max(1)).unwrap_or(u8::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Preview = Preview { columns: 80, colour: false };
    const COLOUR: Preview = Preview { columns: 80, colour: true };

    #[test]
    fn draws_ascii() {
        let picture = Picture::new(3, 3, 1, vec![0, 255, 128, 0, 255, 128, 255, 0, 128]).unwrap();
        assert_eq!(PLAIN.render(&picture), " @+\n@ +\n");
    }

    #[test]
    fn draws_half_blocks() {
        let picture = Picture::new(1, 3, 3, vec![1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
        assert_eq!(COLOUR.render(&picture), "\x1b[38;2;1;2;3m\x1b[48;2;4;5;6m▀\x1b[0m\n\x1b[38;2;7;8;9m\x1b[49m▀\x1b[0m\n");
    }

    #[test]
    fn shrinks_to_the_width() {
        let mut bytes = vec![0; 100 * 40];
        bytes[..200].fill(255);
        let picture = Picture::new(100, 40, 1, bytes).unwrap();
        let narrow = Preview { columns: 30, ..PLAIN };
        let text = narrow.render(&picture);
        // A factor of 4: 25 x 10 pixels, 5 lines; the first holds 2 bright rows of 8.
        assert_eq!(text.lines().count(), 5);
        assert!(text.lines().all(|line| line.len() == 25));
        assert!(text.starts_with(':') && text.ends_with(" \n"), "{text}");
        for columns in [0, 1] {
            let text = Preview { columns, ..PLAIN }.render(&picture);
            assert!(text.lines().all(|line| line.len() == 1));
        }
    }

    #[test]
    fn obeys_the_environment() {
        let from = |set: &'static [(&str, &str)]| {
            Preview::from_environment(|name| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(from(&[]), COLOUR);
        assert_eq!(from(&[("NO_COLOR", "1")]), PLAIN);
        assert_eq!(from(&[("NO_COLOR", "")]), COLOUR);
        assert_eq!(from(&[("COLUMNS", "120")]).columns, 120);
        assert_eq!(from(&[("COLUMNS", "0")]).columns, 80);
        assert_eq!(from(&[("COLUMNS", "wide")]).columns, 80);
    }
}
