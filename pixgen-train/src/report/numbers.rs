//! Measurements from `eval --json`: as one table with every key that any of them has.
//!
//! The code knows no particular number. An object inside a measurement becomes columns with dotted names, a list of objects (the classes)
//! becomes a table of its own, and a value that all measurements share stands once, below the table.

use super::error::{JsonProblem, ReportError};
use serde_json::{Map, Value};
use std::path::Path;

/// What people vary; these keys come first.
const VARIED: [&str; 4] = ["guidance", "ema", "evaluations", "images_seen"];
/// How the results of real pictures begin; they come last.
const REAL: &str = "real.";

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasurementRow {
    /// The file, and the number in it if there are several.
    pub source: String,
    /// Dotted keys and values.
    pub cells: Vec<(String, Value)>,
    /// Lists of objects, by key.
    pub lists: Vec<(String, Vec<Map<String, Value>>)>,
}

impl MeasurementRow {
    fn get(&self, key: &str) -> Option<&Value> {
        self.cells.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

/// Reads a file with a measurement, a list of them (alone or as `rows`), or one on each line.
///
/// # Errors
/// [`ReportError::Json`], [`ReportError::File`].
pub fn read(path: &Path) -> Result<Vec<MeasurementRow>, ReportError> {
    let bytes = std::fs::read(path).map_err(pixgen_edge::atomic::FileError::read(path))?;
    let wrong = |kind| ReportError::Json { path: path.to_owned(), kind };
    let mut objects = Vec::new();
    for value in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
        let value = match value.map_err(|error| wrong(error.into()))? {
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
                        return Err(wrong(JsonProblem::ListOfOthers));
                    };
                    objects.push(object);
                }
            }
            _ => return Err(wrong(JsonProblem::NotAnObject)),
        }
    }
    if objects.is_empty() {
        return Err(wrong(JsonProblem::Empty));
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

fn row(source: String, object: Map<String, Value>) -> MeasurementRow {
    let mut row = MeasurementRow { source, cells: Vec::new(), lists: Vec::new() };
    flatten("", object, &mut row);
    row
}

fn flatten(prefix: &str, object: Map<String, Value>, row: &mut MeasurementRow) {
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
fn keys(rows: &[MeasurementRow]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for (key, _) in rows.iter().flat_map(|row| &row.cells) {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    let is_number = |key: &String| rows.iter().any(|row| row.get(key).is_some_and(Value::is_number));
    keys.sort_by_key(|key| (!VARIED.contains(&key.as_str()), is_number(key), key.starts_with(REAL)));
    keys
}

/// What is the same in all of several measurements: said once, and left out of the table.
pub fn common(rows: &[MeasurementRow]) -> Vec<(String, String)> {
    let [first, others @ ..] = rows else { return Vec::new() };
    if others.is_empty() {
        return Vec::new();
    }
    let same = |(key, value): &&(String, Value)| others.iter().all(|row| row.get(key) == Some(value));
    first.cells.iter().filter(same).map(|(key, value)| (key.clone(), cell(value))).collect()
}

/// Head and rows of the table, without the keys of `common`.
pub fn table(rows: &[MeasurementRow], common: &[(String, String)]) -> (Vec<String>, Vec<Vec<String>>) {
    let keys: Vec<String> = keys(rows).into_iter().filter(|key| common.iter().all(|(name, _)| name != key)).collect();
    let cells = |row: &MeasurementRow| keys.iter().map(|key| row.get(key).map_or_else(String::new, cell)).collect::<Vec<_>>();
    let lines = rows.iter().map(|row| [vec![row.source.clone()], cells(row)].concat()).collect();
    ([vec!["file".to_owned()], keys.clone()].concat(), lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn rows(text: &str) -> Result<Vec<MeasurementRow>, ReportError> {
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
