//! Measurements from `eval --json`: as one table with every key that any of them has, and as curves over what was varied.
//!
//! Nothing here knows which numbers there are. An object inside a measurement becomes columns with dotted names, a list of objects (the
//! classes) a table of its own, and what has one value everywhere is said once.

use super::chart::{Axis, Series};
use super::error::ReportError;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// What people vary; a figure has one of these along its axis.
const VARIED: [&str; 5] = ["guidance", "ema", "evaluations", "steps", "images_seen"];
/// Numbers that say how something was measured. With [`VARIED`] and all texts they keep what cannot be compared on different lines.
const COUNTS: [&str; 9] = [
    "seed",
    "images",
    "count",
    "input",
    "n",
    "generated.n",
    "reference_pictures",
    "ball_pictures",
    "neighbours",
];
/// Results of real pictures, with the results of generated ones that they belong to.
const REAL: [(&str, &str); 2] = [("real.", "generated."), ("floors.real_", "")];

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The file, and the number in it if there are several.
    pub source: String,
    /// Dotted keys and values.
    pub cells: Vec<(String, Value)>,
    /// Lists of objects, by key.
    pub lists: Vec<(String, Vec<Map<String, Value>>)>,
}

impl Row {
    fn get(&self, key: &str) -> Option<&Value> {
        self.cells.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }
}

/// Reads a file with a measurement, a list of them (alone or as `rows`), or one on each line.
///
/// # Errors
/// [`ReportError::Json`], [`ReportError::File`].
pub fn read(path: &Path) -> Result<Vec<Row>, ReportError> {
    let bytes = std::fs::read(path).map_err(pixgen_edge::atomic::FileError::read(path))?;
    let wrong = |what: String| ReportError::Json { path: path.to_owned(), what };
    let mut objects = Vec::new();
    for value in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
        let value = match value.map_err(|error| wrong(error.to_string()))? {
            // What `eval --json` prints: a version, and the measurements.
            Value::Object(mut object) => match object.remove("rows") {
                Some(Value::Array(rows)) => Value::Array(rows),
                _ => Value::Object(object),
            },
            other => other,
        };
        match value {
            Value::Object(object) => objects.push(object),
            Value::Array(values) => {
                for value in values {
                    let Value::Object(object) = value else {
                        return Err(wrong("a list holds something that is no object".to_owned()));
                    };
                    objects.push(object);
                }
            }
            _ => return Err(wrong("it holds something that is no object".to_owned())),
        }
    }
    if objects.is_empty() {
        return Err(wrong("it holds no measurement".to_owned()));
    }
    let many = objects.len() > 1;
    let name = |number: usize| {
        if many {
            format!("{}:{}", path.display(), number + 1)
        } else {
            path.display().to_string()
        }
    };
    Ok(objects
        .into_iter()
        .enumerate()
        .map(|(number, object)| row(name(number), object))
        .collect())
}

fn row(source: String, object: Map<String, Value>) -> Row {
    let mut row = Row { source, cells: Vec::new(), lists: Vec::new() };
    flatten("", object, &mut row);
    row
}

fn flatten(prefix: &str, object: Map<String, Value>, row: &mut Row) {
    for (key, value) in object {
        let key = format!("{prefix}{key}");
        match value {
            Value::Object(inner) => flatten(&format!("{key}."), inner, row),
            Value::Array(values) if !values.is_empty() && values.iter().all(Value::is_object) => {
                let objects = values.into_iter().filter_map(|value| match value {
                    Value::Object(object) => Some(object),
                    _ => None,
                });
                row.lists.push((key, objects.collect()));
            }
            value => row.cells.push((key, value)),
        }
    }
}

/// A value as a cell: numbers in five significant digits, texts as they are.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() => five_digits(value),
            _ => number.to_string(),
        },
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn five_digits(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        return format!("{value:.4e}");
    }
    let before = if size < 1.0 { 0 } else { size.log10() as usize + 1 };
    let text = format!("{value:.*}", 5usize.saturating_sub(before));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The union of all keys: first what says how something was measured, then the numbers.
fn keys(rows: &[Row]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for (key, _) in rows.iter().flat_map(|row| &row.cells) {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    let is_number = |key: &String| rows.iter().any(|row| row.get(key).is_some_and(Value::is_number));
    keys.sort_by_key(|key| (!VARIED.contains(&key.as_str()), is_number(key), REAL.iter().any(|(real, _)| key.starts_with(real))));
    keys
}

/// What is the same in all of several measurements: said once, and left out of the table.
pub fn common(rows: &[Row]) -> Vec<(String, String)> {
    let [first, others @ ..] = rows else { return Vec::new() };
    if others.is_empty() {
        return Vec::new();
    }
    let same = |(key, value): &&(String, Value)| others.iter().all(|row| row.get(key) == Some(value));
    first.cells.iter().filter(same).map(|(key, value)| (key.clone(), cell(value))).collect()
}

/// Head and rows of the table, without the keys of `common`.
pub fn table(rows: &[Row], common: &[(String, String)]) -> (Vec<String>, Vec<Vec<String>>) {
    let keys: Vec<String> = keys(rows).into_iter().filter(|key| common.iter().all(|(name, _)| name != key)).collect();
    let cells = |row: &Row| keys.iter().map(|key| row.get(key).map_or_else(String::new, cell)).collect::<Vec<_>>();
    let lines = rows.iter().map(|row| [vec![row.source.clone()], cells(row)].concat()).collect();
    ([vec!["file".to_owned()], keys.clone()].concat(), lines)
}

/// A figure: its title, its axis, its lines.
pub type Figure = (String, Axis, Vec<Series>);

/// A curve of every result over every key of `VARIED` that has more than one value; a line for each choice of the others, and one for
/// real pictures where they were measured.
pub fn curves(rows: &[Row]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for key in VARIED {
        let shown: Vec<(&Row, String)> = rows.iter().filter_map(|row| Some((row, cell(row.get(key)?)))).collect();
        let mut names: Vec<String> = shown.iter().map(|(_, name)| name.clone()).collect();
        names.sort_by(|a, b| order(a).total_cmp(&order(b)).then(a.cmp(b)));
        names.dedup();
        if names.len() < 2 {
            continue;
        }
        let numbers: Option<Vec<f64>> = shown.iter().map(|(row, _)| row.number(key)).collect();
        let axis = match numbers {
            Some(_) if key == "images_seen" => Axis::Images,
            Some(_) => Axis::Number(key.to_owned()),
            None => Axis::Names(names.clone()),
        };
        let x = |row: &Row, name: &String| match axis {
            Axis::Names(_) => names.iter().position(|other| other == name).map(|at| at as f64),
            _ => row.number(key),
        };
        for result in results(rows) {
            let mut lines: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (row, name) in &shown {
                let Some(x) = x(row, name) else { continue };
                if let Some(y) = row.number(&result) {
                    lines.entry(others(rows, row, |tag| tag != key)).or_default().push((x, y));
                }
                let real = REAL
                    .iter()
                    .find_map(|(real, generated)| row.number(&format!("{real}{}", result.strip_prefix(generated)?)));
                if let Some(y) = real {
                    // Real pictures do not depend on how others are drawn.
                    let others = others(rows, row, |tag| !VARIED.contains(&tag) && tag != "source" && tag != "seed");
                    let name = format!("real pictures{}{others}", if others.is_empty() { "" } else { ", " });
                    let line = lines.entry(name).or_default();
                    if !line.contains(&(x, y)) {
                        line.push((x, y));
                    }
                }
            }
            lines.retain(|_, points| points.len() > 1);
            let series = lines.into_iter().map(|(name, mut points)| {
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
                let name = if name.is_empty() { "generated".to_owned() } else { name };
                Series { name, points }
            });
            let series: Vec<Series> = series.collect();
            if !series.is_empty() {
                figures.push((format!("{} over {key}", result.trim_start_matches("generated.")), axis.clone(), series));
            }
        }
    }
    figures
}

/// Numbers that are results of generated pictures and vary.
fn results(rows: &[Row]) -> Vec<String> {
    let is_result = |key: &String| {
        let numbers: Vec<f64> = rows.iter().filter_map(|row| row.number(key)).collect();
        let of_real = REAL.iter().any(|(real, _)| key.starts_with(real));
        !is_tag(rows, key) && !of_real && numbers.windows(2).any(|pair| pair[0] != pair[1])
    };
    keys(rows).into_iter().filter(is_result).collect()
}

/// Whether a key says how something was measured.
fn is_tag(rows: &[Row], key: &str) -> bool {
    let is_number = rows.iter().any(|row| row.get(key).is_some_and(Value::is_number));
    VARIED.contains(&key) || COUNTS.contains(&key) || !is_number
}

/// What else was varied, as the name of a line.
fn others(rows: &[Row], row: &Row, wanted: impl Fn(&str) -> bool) -> String {
    let varies = |other: &String| rows.windows(2).any(|pair| pair[0].get(other) != pair[1].get(other));
    let tags = keys(rows)
        .into_iter()
        .filter(|other| wanted(other) && is_tag(rows, other) && varies(other));
    let parts: Vec<String> = tags.filter_map(|tag| Some(format!("{tag} {}", cell(row.get(&tag)?)))).collect();
    parts.join(", ")
}

/// The number that a name is or ends in: `share-0.05` sorts before `share-0.1`.
fn order(name: &str) -> f64 {
    let digits = name.rfind(|c: char| !c.is_ascii_digit() && c != '.').map_or(name, |at| &name[at..]);
    digits.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn rows(text: &str) -> Result<Vec<Row>, ReportError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval.json");
        fs::write(&path, text).unwrap();
        let mut rows = read(&path)?;
        for row in &mut rows {
            row.source = row.source.rsplit('/').next().unwrap_or_default().to_owned();
        }
        Ok(rows)
    }

    #[test]
    fn an_object_a_list_and_lines() {
        assert_eq!(rows(r#"{"fd": 2.5}"#).unwrap()[0].source, "eval.json");
        for text in [
            r#"[{"fd": 1}, {"fd": 2}]"#,
            "{\"fd\": 1}\n{\"fd\": 2}\n",
            r#"{"schema": 1, "rows": [{"fd": 1}, {"fd": 2}]}"#,
        ] {
            let rows = rows(text).unwrap();
            assert_eq!(rows.iter().map(|row| row.source.as_str()).collect::<Vec<_>>(), ["eval.json:1", "eval.json:2"]);
        }
        for text in ["", "[]", "3", "[3]", "{\"fd\": 1}{", "{\"fd\": NaN}"] {
            let error = rows(text).unwrap_err();
            assert!(matches!(error, ReportError::Json { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn tables_have_every_key_and_say_once_what_is_common() {
        let rows = rows(
            r#"[{"ema": "a", "images": 50, "fd": 20.123456, "floors": {"fd": 1.5}, "per_class": [{"name": "x", "asked": 1}]},
                {"ema": "b", "images": 50, "kid": 1e-9, "floors": {"fd": 1.5}}]"#,
        )
        .unwrap();
        let common = common(&rows);
        assert_eq!(common, [("floors.fd".to_owned(), "1.5".to_owned()), ("images".to_owned(), "50".to_owned())]);
        let (head, lines) = table(&rows, &common);
        let mut sorted = head.clone();
        sorted.sort();
        assert_eq!(sorted, ["ema", "fd", "file", "kid"]);
        let column = |name: &str| head.iter().position(|key| key == name).unwrap();
        assert_eq!((lines[0][column("fd")].as_str(), lines[0][column("kid")].as_str()), ("20.123", ""));
        assert_eq!((lines[1][column("fd")].as_str(), lines[1][column("kid")].as_str()), ("", "1.0000e-9"));
        assert_eq!(rows[0].lists[0].0, "per_class");
    }

    #[test]
    fn what_was_varied_becomes_curves() {
        let mut text = String::new();
        for ema in ["share-0.05", "share-0.1"] {
            for guidance in [3.0, 1.0, 2.0] {
                text += &format!(r#"{{"ema": "{ema}", "guidance": {guidance}, "images": 9, "fd": {}}}"#, guidance * 2.0);
            }
        }
        let figures = curves(&rows(&text).unwrap());
        assert_eq!(figures.iter().map(|figure| figure.0.as_str()).collect::<Vec<_>>(), ["fd over guidance", "fd over ema"]);
        let (_, Axis::Number(_), lines) = &figures[0] else {
            panic!("{figures:?}")
        };
        assert_eq!((lines.len(), lines[0].name.as_str()), (2, "ema share-0.05"));
        assert_eq!(lines[0].points, [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]);
        let (_, Axis::Names(names), lines) = &figures[1] else {
            panic!("{figures:?}")
        };
        assert_eq!(names, &["share-0.05", "share-0.1"]);
        assert_eq!(lines[2].points, [(0.0, 6.0), (1.0, 6.0)]);
        assert!(curves(&rows(r#"{"ema": "a", "fd": 1}"#).unwrap()).is_empty());
    }

    #[test]
    fn real_pictures_have_a_line_and_other_counts_another() {
        let row = |guidance: u32, n: u32, fd: u32| {
            format!(r#"{{"guidance": {guidance}, "generated": {{"n": {n}, "fd": {fd}}}, "real": {{"n": {n}, "fd": 1}}}}"#)
        };
        let same = [row(1, 50, 9), row(2, 50, 8)].join("\n");
        let figures = curves(&rows(&same).unwrap());
        let [(title, _, lines)] = &figures[..] else { panic!("{figures:?}") };
        assert_eq!(title, "fd over guidance");
        assert_eq!(lines.iter().map(|line| line.name.as_str()).collect::<Vec<_>>(), ["generated", "real pictures"]);
        assert_eq!(lines[1].points, [(1.0, 1.0), (2.0, 1.0)]);
        let mixed = [row(1, 50, 9), row(2, 50, 8), row(2, 99, 3), row(3, 99, 2)].join("\n");
        let figures = curves(&rows(&mixed).unwrap());
        assert_eq!(figures[0].2.len(), 4, "{figures:?}");
        assert!(figures[0].2.iter().any(|line| line.name == "generated.n 99"), "{figures:?}");
    }

    #[test]
    fn cells_are_short() {
        for (json, text) in [
            ("1", "1"),
            ("0.5", "0.5"),
            ("20.0", "20"),
            ("100.0", "100"),
            ("123456.7", "123457"),
            ("0.00001234", "1.2340e-5"),
            ("null", "-"),
            ("true", "true"),
            ("\"a\"", "a"),
            ("[1, 2.5]", "1, 2.5"),
            ("0.0", "0"),
        ] {
            assert_eq!(cell(&serde_json::from_str(json).unwrap()), text);
        }
    }
}
