//! The page, from top to bottom.

use super::chart::{self, Series, Vertical};
use super::html::Html;
use super::log::Log;
use super::numbers::{self, MeasurementRow, MeasurementTable};
use super::source::RunSource;
use crate::quality::nearest_pairs::NearestPairs;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use pixgen_edge::picture::{Picture, png};
use pixgen_edge::units::{format_duration, format_images, format_rate};
use std::collections::BTreeSet;
use std::time::Duration;

const STYLE: &str = include_str!("style.css");

/// Fields of the log that lie in objects and lists, and have figures of their own.
const QUALITY: &str = "quality/";
const BY_NOISE: &str = "loss_by_noise/";
/// Fields of the log that are no terms of the loss.
const NO_TERMS: [&str; 6] = ["gradient_norm", "images_per_second", "loss", "rate", "seconds", "skipped"];

/// A run with what was drawn for the page.
#[derive(Debug)]
pub struct RunSection {
    /// The run.
    pub source: RunSource,
    /// Generated pictures with their nearest, or why there are none.
    pub pairs: Result<Option<NearestPairs>, String>,
}

/// Lays out the page. The result is one whole HTML document.
pub fn page(title: &str, parts: &[RunSection], measured: &[MeasurementRow]) -> String {
    let mut html = Html::default();
    html.raw("<!DOCTYPE html>\n");
    html.node("html", &[("lang", "en")], |html| {
        html.node("head", &[], |html| head(html, title));
        html.node("body", &[], |html| {
            html.element("h1", &[], title);
            overview(html, parts);
            curves(html, parts);
            if !measured.is_empty() {
                measurements(html, measured);
            }
            for part in parts {
                run(html, part);
            }
            settings(html, parts);
            let version = concat!("Made by pixgen-train ", env!("CARGO_PKG_VERSION"), " report.");
            html.element("p", &[("class", "soft")], version);
        });
    });
    html.into_string()
}

fn head(html: &mut Html, title: &str) {
    html.void("meta", &[("charset", "utf-8")]);
    // The browser loads nothing and runs no script.
    let policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
    html.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", policy)]);
    html.void("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
    html.element("title", &[], title);
    html.node("style", &[], |html| html.raw(STYLE));
}

/// A line for each run.
fn overview(html: &mut Html, parts: &[RunSection]) {
    let head = [
        "run",
        "stage",
        "preset",
        "parameters",
        "images",
        "loss",
        "speed",
        "training",
        "average",
        "data",
    ]
    .map(str::to_owned);
    let row = |part: &RunSection| {
        let RunSource { name, config, log, model, .. } = &part.source;
        let header = model.as_ref().map(|model| &model.header);
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let seconds = log.sum("seconds");
        let wanted = config.as_ref().map(|config| config.train.images);
        let images = match wanted {
            Some(wanted) if log.images < wanted => format!("{} of {}", format_images(log.images), format_images(wanted)),
            _ => format_images(log.images),
        };
        // Also of a run of another version, whose settings as a whole are not understood.
        let stage = match part.source.setting("stage") {
            Some("pretrain") => Some("1, encoder"),
            Some("diffusion") => Some("2a, diffusion"),
            Some("consistency") => Some("2b, one step"),
            Some("drift") => Some("3, matched"),
            other => other,
        };
        let setting = |name: &str| or_none(part.source.setting(name).map(str::to_owned));
        vec![
            name.clone(),
            or_none(stage.map(str::to_owned)),
            setting("preset"),
            or_none(model.as_ref().map(|model| format!("{:.2} M", model.params.len() as f64 / 1e6))),
            images,
            or_none(log.last("loss").map(|loss| format!("{loss:.4}"))),
            or_none((seconds > 0.0).then(|| format_rate(log.images as f64 / seconds))),
            or_none(
                Duration::try_from_secs_f64(seconds)
                    .ok()
                    .filter(|time| !time.is_zero())
                    .map(format_duration),
            ),
            or_none(header.map(|header| header.ema.clone())),
            setting("data.path"),
        ]
    };
    html.table(&head, &parts.iter().map(row).collect::<Vec<_>>());
}

/// Losses, gradient norm and learning rate; several runs share a figure.
fn curves(html: &mut Html, parts: &[RunSection]) {
    let present: BTreeSet<&String> = parts.iter().flat_map(|part| part.source.log.fields.keys()).collect();
    let has = |field: &str| present.iter().any(|name| *name == field);
    if present.is_empty() {
        return;
    }
    html.element("h2", &[], "Curves");
    html.node("div", &[("class", "charts")], |html| {
        let terms = || present.iter().filter(|name| !NO_TERMS.contains(&name.as_str()) && !name.contains('/'));
        match parts {
            // The terms of one run belong into one figure; with a single term it is the loss itself.
            [part] => {
                let fields = std::iter::once("loss").filter(|field| has(field));
                let fields: Vec<&str> = fields.chain(terms().map(|name| name.as_str())).collect();
                let log = &part.source.log.fields;
                let same_as_loss = |field: &str| field != "loss" && log.get("loss").is_some_and(|loss| same(loss, &log[field]));
                let lines = fields.into_iter().filter(|field| !same_as_loss(field));
                let lines: Vec<Series> = lines.map(|field| Series { name: field.to_owned(), points: log[field].clone() }).collect();
                chart::draw(html, "loss", Vertical::Free, &lines);
            }
            _ => {
                let lines = |field: &str| series(parts, field);
                if has("loss") {
                    chart::draw(html, "loss", Vertical::Free, &lines("loss"));
                }
                terms().for_each(|term| chart::draw(html, term, Vertical::Free, &lines(term)));
            }
        }
        for (field, title, vertical) in [
            ("gradient_norm", "gradient norm", Vertical::Free),
            ("rate", "learning rate", Vertical::Linear),
        ] {
            chart::draw(html, title, vertical, &series(parts, field));
        }
        for (field, title) in [
            ("fd", "Fréchet distance during training"),
            ("kd", "kernel distance during training"),
        ] {
            chart::draw(html, title, Vertical::Free, &series(parts, &format!("{QUALITY}{field}")));
        }
        for part in parts {
            let title = match parts {
                [_] => "loss by noise level".to_owned(),
                _ => format!("loss by noise level: {}", part.source.name),
            };
            chart::draw(html, &title, Vertical::Free, &by_noise(&part.source.log));
        }
    });
}

/// A line for each range of noise levels, the lowest first.
fn by_noise(log: &Log) -> Vec<Series> {
    let found = log
        .fields
        .iter()
        .filter_map(|(name, points)| Some((name.strip_prefix(BY_NOISE)?, points)));
    let mut lines: Vec<Series> = found
        .map(|(levels, points)| Series { name: format!("t = {levels}"), points: points.clone() })
        .collect();
    let lowest = |line: &Series| {
        line.name
            .split(' ')
            .nth(2)
            .and_then(|level| level.parse::<f64>().ok())
            .unwrap_or(f64::NAN)
    };
    lines.sort_by(|a, b| lowest(a).total_cmp(&lowest(b)));
    lines
}

fn same(a: &[(f64, f64)], b: &[(f64, f64)]) -> bool {
    let bits = |points: &[(f64, f64)]| points.iter().map(|point| point.1.to_bits()).collect::<Vec<_>>();
    bits(a) == bits(b)
}

/// A field of all runs that have it.
fn series(parts: &[RunSection], field: &str) -> Vec<Series> {
    let lines = parts.iter().filter_map(|part| Some((part, part.source.log.fields.get(field)?)));
    lines
        .map(|(part, points)| Series { name: part.source.name.clone(), points: points.clone() })
        .collect()
}

fn measurements(html: &mut Html, rows: &[MeasurementRow]) {
    html.element("h2", &[], "Measurements");
    let common = numbers::common(rows);
    for MeasurementTable { title, head, rows } in numbers::tables(rows, &common) {
        html.element("h3", &[], title);
        html.table(&head, &rows);
    }
    if !common.is_empty() {
        html.element("h3", &[], "The same in all");
        for sentence in numbers::common_in_words(&common) {
            html.element("p", &[("class", "soft")], &sentence);
        }
    }
    for row in rows {
        for (key, list) in &row.lists {
            html.node("details", &[], |html| {
                html.element("summary", &[], &format!("{key} of {}", row.source));
                let keys: BTreeSet<&String> = list.iter().flat_map(|object| object.keys()).collect();
                let cells = |object: &serde_json::Map<_, _>| {
                    keys.iter().map(|key| object.get(*key).map_or_else(String::new, numbers::cell)).collect()
                };
                let head: Vec<String> = keys.iter().map(ToString::to_string).collect();
                html.table(&head, &list.iter().map(cells).collect::<Vec<_>>());
            });
        }
    }
}

fn run(html: &mut Html, part: &RunSection) {
    let source = &part.source;
    html.element("h2", &[], &source.name);
    for remark in source.remarks.iter().chain(part.pairs.as_ref().err()) {
        html.element("p", &[("class", "soft remark")], remark);
    }
    if let Some(model) = &source.model {
        let header = &model.header;
        let text = format!(
            "{0}x{0}x{1}, patches of {2}, {3} classes; weights: average {4} after {5}, seed {6}, data {7}.",
            header.model.size,
            header.model.channels,
            header.model.patch,
            header.model.classes,
            header.ema,
            format_images(header.images),
            header.seed,
            header.data,
        );
        html.element("p", &[], &text);
    }
    if !source.grids.is_empty() {
        html.element("h3", &[], "Samples");
        html.node("div", &[("class", "pictures")], |html| {
            for (what, bytes) in &source.grids {
                html.node("figure", &[], |html| {
                    html.element("figcaption", &[], what);
                    html.void("img", &[("src", &data_uri(bytes)), ("alt", what)]);
                });
            }
        });
    }
    if let Ok(Some(pairs)) = &part.pairs {
        memory(html, pairs);
    }
}

fn memory(html: &mut Html, pairs: &NearestPairs) {
    html.element("h3", &[], "Generated pictures, and below each the nearest training picture");
    let mut text = "The number is their distance: the root mean square of the pixels' differences, black to white being 1.".to_owned();
    if let Some(median) = pairs.median {
        text += &format!(" Median {median:.3}");
        text += &pairs.real.map_or(".".to_owned(), |(real, count)| {
            format!("; of {count} real pictures that were kept out of training {real:.3}. Far smaller distances than those are copies.")
        });
    }
    html.element("p", &[], &format!("{text} ({}.)", pairs.how));
    html.node("div", &[("class", "pairs")], |html| {
        for pair in &pairs.pairs {
            html.node("figure", &[], |html| {
                image(html, &pair.picture, &format!("generated: {}", pair.class));
                image(html, &pair.nearest, "nearest training picture");
                html.element("figcaption", &[], &format!("{} {:.3}", pair.class, pair.distance));
            });
        }
    });
}

fn image(html: &mut Html, picture: &Picture, alt: &str) {
    // A picture that exists can be encoded; an empty place is better than no page.
    let bytes = png::encode(picture, None).unwrap_or_default();
    html.void("img", &[("src", &data_uri(&bytes)), ("alt", alt)]);
}

/// All settings, those first that differ between the runs.
fn settings(html: &mut Html, parts: &[RunSection]) {
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in parts.iter().flat_map(|part| &part.source.settings) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return;
    }
    let value = |part: &RunSection, name: &String| {
        let settings = &part.source.settings;
        settings
            .iter()
            .find(|(key, _)| key == name)
            .map_or_else(String::new, |(_, value)| value.clone())
    };
    let differs = |name: &String| parts.iter().any(|part| value(part, name) != value(&parts[0], name));
    let head: Vec<String> = std::iter::once("setting".to_owned())
        .chain(parts.iter().map(|part| part.source.name.clone()))
        .collect();
    let rows = |wanted: bool| -> Vec<Vec<String>> {
        let names = names.iter().filter(|name| differs(name) == wanted);
        names
            .map(|name| {
                std::iter::once((*name).clone())
                    .chain(parts.iter().map(|part| value(part, name)))
                    .collect()
            })
            .collect()
    };
    html.element("h2", &[], "Settings");
    let different = rows(true);
    if !different.is_empty() {
        html.element("h3", &[], "Settings that differ");
        html.table(&head, &different);
    }
    html.node("details", &[], |html| {
        html.element(
            "summary",
            &[],
            if parts.len() > 1 {
                "Settings that are the same"
            } else {
                "All settings"
            },
        );
        html.table(&head, &rows(false));
    });
}

fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png))
}

#[cfg(test)]
mod tests {
    use super::super::html::reading;
    use super::*;
    use crate::quality::nearest_pairs::NearestPair;

    const HOSTILE: &str = "</script><script>alert(1)</script> \"'&\u{1b}";

    fn source(name: &str) -> RunSource {
        let log = "{\"images\":10,\"loss\":2.5,\"<i>\":1,\"rate\":1}\n{\"images\":20,\"loss\":1.5,\"<i>\":null,\"rate\":1}\n";
        RunSource {
            name: name.to_owned(),
            settings: vec![
                ("train.seed".to_owned(), name.to_owned()),
                ("data.path".to_owned(), HOSTILE.to_owned()),
            ],
            config: None,
            log: Log::read(log.as_bytes()),
            grids: vec![(HOSTILE.to_owned(), b"png".to_vec())],
            model: None,
            remarks: vec![HOSTILE.to_owned()],
        }
    }

    fn pairs() -> NearestPairs {
        let picture = Picture::new(2, 2, 1, vec![0, 80, 160, 255]).unwrap();
        let pair = NearestPair { picture: picture.clone(), class: HOSTILE.to_owned(), nearest: picture, distance: 0.25 };
        NearestPairs {
            pairs: vec![pair; 3],
            how: "somehow".to_owned(),
            median: Some(0.25),
            real: Some((0.125, 7)),
        }
    }

    fn rows(json: &str) -> Vec<MeasurementRow> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json).unwrap();
        numbers::read(file.path()).unwrap()
    }

    #[test]
    fn a_page_is_well_formed_whatever_is_in_the_files() {
        let parts = [
            RunSection { source: source(HOSTILE), pairs: Ok(Some(pairs())) },
            RunSection { source: source("second"), pairs: Err(HOSTILE.to_owned()) },
        ];
        let json = serde_json::json!([
            {"ema": HOSTILE, "fd": 1.5, "list": [{HOSTILE: HOSTILE}]},
            {"ema": "b", "fd": 2.5},
        ]);
        let text = page(HOSTILE, &parts, &rows(&json.to_string()));
        let elements = reading::elements(&text);
        let count = |name: &str| elements.iter().filter(|element| *element == name).count();
        assert_eq!((count("script"), count("html"), count("img")), (0, 1, 2 + 2 * 3));
        assert!(!text.contains("alert(1)</script>") && text.contains("&lt;script&gt;alert(1)"));
        for part in [
            "Median 0.250",
            "of 7 real pictures",
            "0.125",
            "Settings that differ",
            "data:image/png;base64,cG5n",
        ] {
            assert!(text.contains(part), "no {part}");
        }
        // Nothing outside the page is named but the SVG-free policy; no address that a browser would follow.
        assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("url("));
    }

    #[test]
    fn one_run_without_anything_makes_a_page_too() {
        let bare = RunSource { log: Log::default(), grids: vec![], settings: vec![], remarks: vec![], ..source("bare") };
        let text = page("t", &[RunSection { source: bare, pairs: Ok(None) }], &[]);
        reading::elements(&text);
        assert!(text.starts_with("<!DOCTYPE html>") && !text.contains("Curves") && !text.contains("Settings"));
    }

    #[test]
    fn levels_and_quality_have_figures() {
        let line = |images: u64| {
            let levels = [(10.0, 80.0), (0.002, 0.5), (0.5, 10.0)];
            let levels = levels.map(|(low, high)| serde_json::json!({ "t_low": low, "t_high": high, "loss": low, "count": 3 }));
            format!(
                "{}\n",
                serde_json::json!({ "images": images, "loss": 1.5, "quality": { "fd": 9.0, "kd": 0.5, "count": 50 }, "loss_by_noise": levels })
            )
        };
        let log = Log::read((line(10) + &line(20)).as_bytes());
        let names: Vec<String> = by_noise(&log).into_iter().map(|line| line.name).collect();
        assert_eq!(names, ["t = 0.002 to 0.5", "t = 0.5 to 10", "t = 10 to 80"]);
        let one = page("t", &[RunSection { source: RunSource { log, ..source("one") }, pairs: Ok(None) }], &[]);
        for title in [
            "Fréchet distance during training",
            "kernel distance during training",
            "loss by noise level",
        ] {
            assert!(one.contains(title), "no {title}");
        }
        assert_eq!(one.matches("class=\"chart\"").count(), 4, "loss and three more");
    }

    #[test]
    fn terms_of_one_run_share_a_figure() {
        let one = page("t", &[RunSection { source: source("one"), pairs: Ok(None) }], &[]);
        assert_eq!(one.matches("class=\"chart\"").count(), 2, "loss with its terms, and the learning rate");
        let parts = ["one", "two"].map(|name| RunSection { source: source(name), pairs: Ok(None) });
        assert_eq!(page("t", &parts, &[]).matches("class=\"chart\"").count(), 3, "loss, its term, the learning rate");
    }
}
