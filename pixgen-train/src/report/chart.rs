//! Curves over images seen as SVG inside the page: lines, axes with round numbers, a legend. Colours come from the page's style, dark and light.

use super::html::Html;
use pixgen_edge::units::format_images;

/// Colours of the style, `c0` to `c7`; further lines begin again, with dashes.
const COLOURS: usize = 8;
const DASHES: [&str; 4] = ["none", "6 3", "2 3", "8 3 2 3"];
/// Of the drawing, in its own units: the page scales it.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 34.0;
/// More points than this become ranges, so that a page of a long run stays small.
const MOST_POINTS: usize = 600;
/// Values that span more than this factor are drawn on a logarithmic axis, where one is allowed.
const LOG_FROM: f64 = 30.0;

/// A line with its name. Points with a value that is not finite interrupt it.
#[derive(Clone, Debug)]
pub struct Series {
    /// For the legend.
    pub name: String,
    /// (x, y).
    pub points: Vec<(f64, f64)>,
}

/// Whether a vertical axis may be logarithmic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vertical {
    /// Never: people know the curve by its shape, or it ends at zero.
    Linear,
    /// If the values span some orders of magnitude.
    Free,
}

/// Adds a figure; nothing if no line has a finite point.
pub fn draw(html: &mut Html, title: &str, vertical: Vertical, series: &[Series]) {
    let finite = |points: &[(f64, f64)]| points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect::<Vec<_>>();
    let all: Vec<(f64, f64)> = series.iter().flat_map(|series| finite(&series.points)).collect();
    if all.is_empty() {
        return;
    }
    let x = AxisScale::around(all.iter().map(|point| point.0), false);
    let y = AxisScale::around(all.iter().map(|point| point.1), vertical == Vertical::Free);
    let place = |(px, py): (f64, f64)| {
        let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        (LEFT + width * x.share(px), TOP + height * (1.0 - y.share(py)))
    };
    html.node("figure", &[("class", "chart")], |html| {
        let scale = if y.log { " (logarithmic)" } else { "" };
        html.element("figcaption", &[], &format!("{title}{scale}"));
        let view = format!("0 0 {WIDTH} {HEIGHT}");
        html.node("svg", &[("viewBox", &view), ("role", "img"), ("aria-label", title)], |html| {
            for tick in y.ticks() {
                let at = place((x.low, tick)).1;
                line(html, "grid", (LEFT, at), (WIDTH - RIGHT, at));
                label(html, "y", (LEFT - 6.0, at + 4.0), &short(tick));
            }
            for tick in x.ticks() {
                let at = place((tick, y.low)).0;
                label(html, "x", (at, HEIGHT - BOTTOM + 16.0), &format_images(tick.max(0.0) as u64));
            }
            label(html, "x", ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 3.0), "images seen");
            for (number, series) in series.iter().enumerate() {
                curve(html, number, series, &place);
            }
        });
        if series.len() > 1 {
            html.node("p", &[("class", "legend")], |html| {
                for (number, series) in series.iter().enumerate() {
                    html.node("span", &[], |html| {
                        html.node("svg", &[("viewBox", "0 0 24 8"), ("class", "key"), ("aria-hidden", "true")], |html| {
                            let (class, dashes) = look(number);
                            let points = [("class", class.as_str()), ("stroke-dasharray", dashes), ("points", "0,4 24,4")];
                            html.void("polyline", &points);
                        });
                        html.text(&series.name);
                    });
                }
            });
        }
    });
}

/// Class and dashes of a line.
fn look(number: usize) -> (String, &'static str) {
    (format!("line c{}", number % COLOURS), DASHES[number / COLOURS % DASHES.len()])
}

/// The pieces of a line between points that are not finite; lone points as short strokes.
fn curve(html: &mut Html, number: usize, series: &Series, place: &impl Fn((f64, f64)) -> (f64, f64)) {
    let (class, dashes) = look(number);
    let points = thinned(&series.points);
    for piece in points.split(|(x, y)| !x.is_finite() || !y.is_finite()).filter(|piece| !piece.is_empty()) {
        let mut places: Vec<(f64, f64)> = piece.iter().map(|&point| place(point)).collect();
        if let [(x, y)] = places[..] {
            places = vec![(x - 3.0, y), (x + 3.0, y)];
        }
        let places: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let attributes = [
            ("class", class.as_str()),
            ("stroke-dasharray", dashes),
            ("points", &places.join(" ")),
        ];
        html.void("polyline", &attributes);
    }
}

/// Of many points the lowest and the highest of each of equal groups, so that peaks stay.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(MOST_POINTS);
    for group in points.chunks((2 * points.len()).div_ceil(MOST_POINTS)) {
        if let Some(&gap) = group.iter().find(|(x, y)| !x.is_finite() || !y.is_finite()) {
            kept.push(gap);
            continue;
        }
        let by_value = |a: &(usize, &(f64, f64)), b: &(usize, &(f64, f64))| a.1.1.total_cmp(&b.1.1);
        let ends = (group.iter().enumerate().min_by(by_value), group.iter().enumerate().max_by(by_value));
        if let (Some((low, _)), Some((high, _))) = ends {
            kept.push(group[low.min(high)]);
            if low != high {
                kept.push(group[low.max(high)]);
            }
        }
    }
    kept
}

fn line(html: &mut Html, class: &str, from: (f64, f64), to: (f64, f64)) {
    let number = |value: f64| format!("{value:.1}");
    let (x1, y1, x2, y2) = (number(from.0), number(from.1), number(to.0), number(to.1));
    html.void("line", &[("class", class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)]);
}

fn label(html: &mut Html, class: &str, (x, y): (f64, f64), text: &str) {
    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
    html.element("text", &[("class", class), ("x", &x), ("y", &y)], text);
}

/// A number in few digits: `0.25`, `120`, `3e-5`.
fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        // The digits of 6.000000000000001e-4 that matter.
        let text = format!("{value:.3e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'));
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Values to the share of an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
struct AxisScale {
    low: f64,
    high: f64,
    log: bool,
}

impl AxisScale {
    /// A scale that shows all of the values, which must be finite; logarithmic if it may be and they ask for it.
    fn around(values: impl Iterator<Item = f64>, may_be_log: bool) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if may_be_log && low > 0.0 && high / low > LOG_FROM {
            return Self { low, high, log: true };
        }
        // A level line lies in the middle. Halves, because the difference of the largest numbers is infinite.
        if high / 2.0 - low / 2.0 <= high.abs().max(low.abs()) * 1e-9 {
            let room = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
            return Self { low: low - room, high: high + room, log: false };
        }
        Self { low, high, log: false }
    }

    fn share(&self, value: f64) -> f64 {
        let (low, high, value) = if self.log {
            (self.low.ln(), self.high.ln(), value.ln())
        } else {
            (self.low / 2.0, self.high / 2.0, value / 2.0)
        };
        (value - low) / (high - low)
    }

    /// Round numbers on the scale, about five.
    fn ticks(&self) -> Vec<f64> {
        let inside = |tick: &f64| (0.0..=1.0).contains(&self.share(*tick));
        if self.log {
            let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
            let factors: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let step = ((last - first) as usize / 6).max(1);
            let decades = (first..=last).step_by(step);
            return decades
                .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)))
                .filter(inside)
                .collect();
        }
        let rough = (self.high / 5.0 - self.low / 5.0).max(f64::MIN_POSITIVE);
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let first = (self.low / step).ceil();
        let ticks = (0..12).map(|i| (first + f64::from(i)) * step);
        // Adding steps would leave 0.30000000000000004.
        ticks.map(|tick| (tick / step).round() * step).filter(inside).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::html::reading;
    use super::*;

    fn drawn(series: &[Series]) -> String {
        let mut html = Html::default();
        draw(&mut html, "loss <of> \"it\"", Vertical::Free, series);
        html.into_string()
    }

    fn series(values: &[f64]) -> Series {
        Series {
            name: "a&b".into(),
            points: values.iter().enumerate().map(|(i, &v)| (i as f64, v)).collect(),
        }
    }

    #[test]
    fn gaps_split_a_line() {
        let text = drawn(&[series(&[1.0, 2.0, f64::NAN, 3.0, f64::INFINITY, 2.0, 2.5])]);
        let elements = reading::elements(&text);
        assert_eq!(elements.iter().filter(|name| *name == "polyline").count(), 3);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        assert!(!text.contains("legend"), "one line needs none");
    }

    #[test]
    fn two_lines_have_a_legend() {
        let text = drawn(&[series(&[1.0, 2.0]), series(&[2.0, 1.0])]);
        reading::elements(&text);
        assert!(text.contains("a&amp;b") && text.contains("c0") && text.contains("c1"), "{text}");
    }

    #[test]
    fn odd_values_draw_or_draw_nothing() {
        assert_eq!(drawn(&[]), "");
        assert_eq!(drawn(&[series(&[]), series(&[f64::NAN])]), "");
        for values in [
            &[0.0][..],
            &[0.0, 0.0],
            &[-5.0, -5.0],
            &[f64::MAX, f64::MIN],
            &[f64::MIN_POSITIVE, 1.0],
            &[1e-300, 1e300],
            &[1e9, 1e9 + 1e-6],
        ] {
            let text = drawn(&[series(values)]);
            reading::elements(&text);
            assert!(text.contains("polyline") && !text.contains("NaN") && !text.contains("inf"), "{values:?}: {text}");
        }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = |values: &[f64]| AxisScale::around(values.iter().copied(), true).ticks();
        let linear = ticks(&[0.07, 0.42]);
        assert_eq!(linear.iter().map(|&tick| short(tick)).collect::<Vec<_>>(), ["0.1", "0.2", "0.3", "0.4"]);
        let small: Vec<String> = ticks(&[1.5e-4, 9e-4]).into_iter().map(short).collect();
        assert_eq!(small, ["2e-4", "4e-4", "6e-4", "8e-4"]);
        assert_eq!([1.25e-5, -3e9, 6.000000000000001e-4].map(short), ["1.25e-5", "-3e9", "6e-4"]);
        assert_eq!(ticks(&[0.02, 3.0]), [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]);
        assert_eq!(ticks(&[0.0, 100.0]), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
    }

    #[test]
    fn many_points_are_thinned_and_peaks_stay() {
        let mut values = vec![1.0; 100_000];
        values[54_321] = 9.0;
        let kept = thinned(&series(&values).points);
        assert!(kept.len() <= MOST_POINTS + 2, "{}", kept.len());
        assert!(kept.contains(&(54_321.0, 9.0)));
        assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
    }
}
