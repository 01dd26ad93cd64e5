//! Measurements from `eval --json`: as tables with every key that any of them has.
//!
//! An object inside a measurement becomes columns with dotted names, a list of objects (the classes) becomes a table of its own, and a
//! value that all measurements share stands once, below the tables. Keys that `eval` of this version writes have names for people and lie
//! in groups; those of others, such as version 0.1, follow under their own names.

use super::error::{JsonProblem, ReportError};
use pixgen_edge::data::labels::text;
use pixgen_edge::eval::report::SCHEMA;
use serde_json::{Map, Value};
use std::path::Path;

/// A group of columns: its title, what its keys begin with, and the rest of each key with its name.
struct Group {
    title: &'static str,
    prefix: &'static str,
    columns: &'static [(&'static str, &'static str)],
}

const GROUPS: [Group; 4] = [
    Group {
        title: "What was measured",
        prefix: "",
        columns: &[
            ("source", "model or folder"),
            ("ema", "average"),
            ("guidance", "guidance"),
            ("evaluations", "evaluations a picture"),
            ("images_seen", "images seen"),
            ("arithmetic", "arithmetic"),
            ("seed", "seed"),
        ],
    },
    Group { title: "Generated pictures", prefix: "generated.", columns: METRICS },
    Group { title: "Real pictures, measured in the same way", prefix: "real.", columns: METRICS },
    Group {
        title: "How it was measured",
        prefix: "",
        columns: &[
            ("network", "network"),
            ("layer", "layer"),
            ("input", "input side"),
            ("resize", "resize"),
            ("frechet_name", "name of the Fréchet distance"),
            ("kernel_name", "name of the kernel distance"),
            ("reference", "reference"),
            ("reference_pictures", "its pictures"),
            ("manifold_pictures", "pictures for precision"),
            ("neighbours", "neighbours"),
            ("class_judge", "class seen by"),
        ],
    },
];

const METRICS: &[(&str, &str)] = &[
    ("n", "pictures"),
    ("frechet", "Fréchet distance"),
    ("kernel", "kernel distance"),
    ("kernel_subsets.mean", "kernel distance of subsets"),
    ("kernel_subsets.std", "its std"),
    ("kernel_subsets.count", "subsets"),
    ("kernel_subsets.size", "pictures of a subset"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("density", "density"),
    ("coverage", "coverage"),
    ("accuracy", "class seen"),
    ("nearest_median", "nearest training picture, median"),
    ("nearest_p05", "one in 20 is nearer than"),
];

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
    let bytes = std::fs::read(path).map_err(pixgen_edge::file_error::FileError::read(path))?;
    let wrong = |kind| ReportError::Json { path: path.to_owned(), kind };
    let mut objects = Vec::new();
    for value in serde_json::Deserializer::from_str(&text(&bytes)).into_iter::<Value>() {
        let value = match value.map_err(|error| wrong(error.into()))? {
            // What `eval --json` prints: a version, and the measurements.
            Value::Object(mut object) => {
                let found = object.remove("schema").and_then(|schema| schema.as_u64()).unwrap_or(0);
                if found > u64::from(SCHEMA) {
                    return Err(wrong(JsonProblem::Newer { found }));
                }
                match object.remove("rows") {
                    Some(Value::Array(rows)) => Value::Array(rows),
                    _ => Value::Object(object),
                }
            }
            other => other,
        };
        match value {
            Value::Object(object) if object.is_empty() => {}
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

/// Whether a value says that nothing was measured.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
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

/// What is the same in all of several measurements: said once, and left out of the table.
pub fn common(rows: &[MeasurementRow]) -> Vec<(String, String)> {
    let [first, others @ ..] = rows else { return Vec::new() };
    if others.is_empty() {
        return Vec::new();
    }
    let same = |(key, value): &&(String, Value)| !is_nothing(value) && others.iter().all(|row| row.get(key) == Some(value));
    first.cells.iter().filter(same).map(|(key, value)| (key.clone(), cell(value))).collect()
}

/// The same in words, a sentence for each group.
pub fn common_in_words(common: &[(String, String)]) -> Vec<String> {
    let mut left: Vec<&(String, String)> = common.iter().collect();
    let mut sentences = Vec::new();
    for group in &GROUPS {
        let named = group.columns.iter().filter_map(|(column, name)| {
            let at = left.iter().position(|(key, _)| key.strip_prefix(group.prefix) == Some(column))?;
            Some(format!("{name} {}", left.remove(at).1))
        });
        let named: Vec<String> = named.collect();
        if !named.is_empty() {
            sentences.push(format!("{}: {}.", group.title, named.join(", ")));
        }
    }
    if !left.is_empty() {
        let others: Vec<String> = left.iter().map(|(key, value)| format!("{key} {value}")).collect();
        sentences.push(format!("{OTHERS}: {}.", others.join(", ")));
    }
    sentences
}

/// Title of what belongs to no group.
const OTHERS: &str = "Other keys";

/// A table of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasurementTable {
    /// What its columns have in common.
    pub title: &'static str,
    /// Names of the columns, the file first.
    pub head: Vec<String>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

/// A table for each group of keys, without the keys of `common` and those that were not measured in any row; then one of all other keys.
pub fn tables(rows: &[MeasurementRow], common: &[(String, String)]) -> Vec<MeasurementTable> {
    let mut left: Vec<&String> = Vec::new();
    for (key, _) in rows.iter().flat_map(|row| &row.cells) {
        let measured = rows.iter().any(|row| row.get(key).is_some_and(|value| !is_nothing(value)));
        if measured && !left.contains(&key) && common.iter().all(|(name, _)| name != key) {
            left.push(key);
        }
    }
    let table = |title, keys: Vec<(String, String)>| {
        let head = std::iter::once("file".to_owned())
            .chain(keys.iter().map(|(_, name)| name.clone()))
            .collect();
        let cells = |row: &MeasurementRow| {
            let cells = keys.iter().map(|(key, _)| row.get(key).map_or_else(String::new, cell));
            std::iter::once(row.source.clone()).chain(cells).collect()
        };
        (!keys.is_empty()).then(|| MeasurementTable { title, head, rows: rows.iter().map(cells).collect() })
    };
    let mut found = Vec::new();
    for group in &GROUPS {
        let keys = group
            .columns
            .iter()
            .map(|(column, name)| (format!("{}{column}", group.prefix), (*name).to_owned()));
        let keys: Vec<(String, String)> = keys.filter(|(key, _)| left.contains(&key)).collect();
        left.retain(|key| keys.iter().all(|(known, _)| known != *key));
        found.extend(table(group.title, keys));
    }
    found.extend(table(OTHERS, left.iter().map(|key| ((*key).clone(), (*key).clone())).collect()));
    found
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
        let tables = tables(&rows, &common);
        assert_eq!(tables.iter().map(|table| table.title).collect::<Vec<_>>(), ["What was measured", "Other keys"]);
        assert_eq!(tables[0].head, ["file", "average"]);
        assert_eq!(tables[1].head, ["file", "fd", "kid"]);
        assert_eq!(tables[1].rows[0][1..], ["20.123", ""]);
        assert_eq!(tables[1].rows[1][1..], ["", "1.0000e-9"]);
        assert_eq!(rows[0].lists[0].0, "per_class");
    }

    #[test]
    fn keys_of_eval_lie_in_groups() {
        let metrics = r#"{"n": 100, "frechet": 5.5, "kernel": null, "precision": 0.5}"#;
        let row = |ema: &str, seed: u32| {
            format!(
                r#"{{"source": "q", "ema": "{ema}", "seed": {seed}, "guidance": null, "generated": {metrics}, "real": {metrics}, "classes": []}}"#
            )
        };
        let new = rows(&format!(r#"{{"schema": 2, "rows": [{}, {}]}}"#, row("a", 1), row("b", 2))).unwrap();
        let old = rows(r#"{"fid_like": 3.5, "ema": "c"}"#).unwrap();
        let all = [new, old].concat();
        let found = tables(&all, &common(&all));
        let titles: Vec<&str> = found.iter().map(|table| table.title).collect();
        assert_eq!(
            titles,
            [
                "What was measured",
                "Generated pictures",
                "Real pictures, measured in the same way",
                "Other keys"
            ]
        );
        assert_eq!(found[0].head, ["file", "model or folder", "average", "seed"], "what nobody measured has no column");
        assert_eq!(found[1].head, ["file", "pictures", "Fréchet distance", "precision"]);
        assert_eq!(found[1].rows[2][1..], ["", "", ""]);
        assert_eq!(found[3].head, ["file", "fid_like"]);
        let same = rows(&format!("[{0}, {0}]", row("a", 1))).unwrap();
        let words = common_in_words(&common(&same));
        assert_eq!(words.len(), 3, "{words:?}");
        assert_eq!(words[0], "What was measured: model or folder q, average a, seed 1.");
        assert!(
            words[2].starts_with("Real pictures, measured in the same way: pictures 100, Fréchet distance 5.5"),
            "{words:?}"
        );
    }

    /// As PowerShell writes `eval --json > numbers.json`.
    #[test]
    fn text_of_windows_is_read() {
        let json = "{\r\n  \"fd\": 2.5\r\n}\r\n";
        let wide: Vec<u8> = "\u{feff}".encode_utf16().chain(json.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        for bytes in [format!("\u{feff}{json}").into_bytes(), wide] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("numbers.json");
            fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path).unwrap()[0].cells, [("fd".to_owned(), Value::from(2.5))]);
        }
    }

    #[test]
    fn files_of_a_later_version_are_told_apart() {
        for text in [r#"{"schema": 3}"#, r#"{"schema": 3, "rows": [{"fd": 1}]}"#] {
            let error = rows(text).unwrap_err();
            assert!(error.to_string().contains("schema 3"), "{error}");
            assert!(error.hint().unwrap().contains("newer"), "{error}");
        }
        let error = rows(r#"{"schema": 2}"#).unwrap_err();
        assert!(error.to_string().contains("no measurement"), "{error}");
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
