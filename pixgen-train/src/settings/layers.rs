//! Merging layers of settings over the defaults, and remembering which layer won.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::error::SettingsError;
use super::origin::Origin;
use super::suggest::closest;

/// Some settings from one place.
#[derive(Clone, Debug)]
pub struct SettingsLayer {
    /// The place.
    pub origin: Origin,
    /// The values, nested like the defaults.
    pub table: Table,
}

/// Every setting with its final value.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The values, with exactly the keys of the defaults.
    pub table: Table,
    /// Dotted key to the layer that won.
    pub origins: BTreeMap<String, Origin>,
}

/// Lays `layers` over `defaults`; later layers win, nested tables merge key by key.
///
/// `defaults` is also the schema: its keys are the known ones and its values give the types. An integer is accepted where the
/// default is a float. Arrays are replaced as a whole and their elements have the type of the default's first element.
///
/// # Errors
/// [`SettingsError::UnknownKey`] and [`SettingsError::WrongType`], for the first bad key of the first bad layer.
pub fn resolve(defaults: &Table, layers: &[SettingsLayer]) -> Result<Resolved, SettingsError> {
    let known = dotted_keys(defaults);
    let mut resolved = Resolved {
        table: defaults.clone(),
        origins: known.iter().map(|key| (key.clone(), Origin::Default)).collect(),
    };
    for layer in layers {
        let mut merge = Merge { layer, known: &known, origins: &mut resolved.origins };
        merge.table(&mut resolved.table, &layer.table, "")?;
    }
    Ok(resolved)
}

/// The dotted paths of all values of `table` that are not tables themselves, in order.
pub fn dotted_keys(table: &Table) -> Vec<String> {
    fn visit(table: &Table, path: &str, keys: &mut Vec<String>) {
        for (key, value) in table {
            let dotted = join(path, key);
            match value {
                Value::Table(inner) => visit(inner, &dotted, keys),
                _ => keys.push(dotted),
            }
        }
    }
    let mut keys = Vec::new();
    visit(table, "", &mut keys);
    keys
}

/// The value at a dotted path.
pub fn get<'a>(table: &'a Table, dotted: &str) -> Option<&'a Value> {
    match dotted.split_once('.') {
        Some((section, rest)) => get(table.get(section)?.as_table()?, rest),
        None => table.get(dotted),
    }
}

impl Resolved {
    /// Reads the values into a typed configuration.
    ///
    /// # Errors
    /// [`SettingsError::Unfit`] with what the configuration's own checks say.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        self.table
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| SettingsError::Unfit { message: error.to_string().trim_end().to_owned() })
    }

    /// One line per setting, `key = value  # origin`, which is itself TOML.
    pub fn explain(&self) -> String {
        let lines: Vec<(String, &Origin)> = self
            .origins
            .iter()
            .filter_map(|(key, origin)| get(&self.table, key).map(|value| (format!("{key} = {value}"), origin)))
            .collect();
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
        lines.iter().map(|(line, origin)| format!("{line:<width$}  # {origin}\n")).collect()
    }
}

/// One layer on its way into the result.
struct Merge<'a> {
    layer: &'a SettingsLayer,
    known: &'a [String],
    origins: &'a mut BTreeMap<String, Origin>,
}

impl Merge<'_> {
    fn table(&mut self, into: &mut Table, from: &Table, path: &str) -> Result<(), SettingsError> {
        for (key, value) in from {
            let dotted = join(path, key);
            let Some(slot) = into.get_mut(key) else {
                return Err(SettingsError::UnknownKey {
                    suggestion: closest(&dotted, self.known.iter().map(String::as_str)),
                    key: dotted,
                    origin: self.layer.origin.clone(),
                });
            };
            match (slot, value) {
                (Value::Table(inner), Value::Table(from)) => self.table(inner, from, &dotted)?,
                (slot, value) => {
                    *slot = convert(slot, value).map_err(|mismatch| SettingsError::WrongType {
                        key: dotted.clone(),
                        origin: self.layer.origin.clone(),
                        expected: mismatch.expected,
                        found: mismatch.found,
                    })?;
                    self.origins.insert(dotted, self.layer.origin.clone());
                }
            }
        }
        Ok(())
    }
}

struct Mismatch {
    expected: &'static str,
    found: String,
}

/// `value` as the type that `example` has.
fn convert(example: &Value, value: &Value) -> Result<Value, Mismatch> {
    match (example, value) {
        (Value::Float(_), Value::Integer(whole)) => Ok(Value::Float(*whole as f64)),
        (Value::Array(examples), Value::Array(values)) => {
            let Some(example) = examples.first() else {
                return Ok(value.clone());
            };
            values
                .iter()
                .enumerate()
                .map(|(index, value)| {
                    convert(example, value).map_err(|mismatch| Mismatch {
                        expected: "an array like its default",
                        found: format!("{} at index {index}", mismatch.found),
                    })
                })
                .collect::<Result<_, _>>()
                .map(Value::Array)
        }
        _ if example.same_type(value) => Ok(value.clone()),
        _ => Err(Mismatch { expected: type_name(example), found: described(value) }),
    }
}

/// The type of a value, with its article.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}

fn described(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Table(_) => type_name(value).to_owned(),
        Value::Boolean(_) => format!("`{value}`"),
        _ => format!("{} `{value}`", type_name(value)),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().expect("the test's own TOML")
    }

    fn defaults() -> Table {
        table(
            "seed = 0\n[model]\nwidth = 64\n[train]\nbatch = 32\nrate = 1e-3\nname = \"a\"\nema = [0.99]\nflip = true\n\
             [train.adam]\nbeta = 0.9",
        )
    }

    fn layer(origin: Origin, text: &str) -> SettingsLayer {
        SettingsLayer { origin, table: table(text) }
    }

    fn flag(text: &str) -> SettingsLayer {
        layer(Origin::Flag("--x".to_owned()), text)
    }

    #[test]
    fn later_layers_win_and_tables_merge() {
        let preset = layer(Origin::Preset("small".to_owned()), "[model]\nwidth = 128\n[train]\nbatch = 64\nrate = 2");
        let file = layer(Origin::File("my.toml".into()), "[train]\nbatch = 16\nadam.beta = 0.5");
        let resolved = resolve(&defaults(), &[preset, file, flag("train.batch = 8")]).unwrap();
        let value = |key| get(&resolved.table, key).unwrap().to_string();
        assert_eq!(value("seed"), "0");
        assert_eq!(value("model.width"), "128");
        assert_eq!(value("train.batch"), "8");
        assert_eq!(value("train.adam.beta"), "0.5");
        assert_eq!(get(&resolved.table, "train.rate"), Some(&Value::Float(2.0)), "an integer becomes the float it stands for");
        assert_eq!(resolved.origins["seed"], Origin::Default);
        assert_eq!(resolved.origins["model.width"], Origin::Preset("small".to_owned()));
        assert_eq!(resolved.origins["train.batch"], Origin::Flag("--x".to_owned()));
        assert_eq!(resolved.origins["train.adam.beta"], Origin::File("my.toml".into()));
    }

    #[test]
    fn explains_in_toml() {
        let file = layer(Origin::File("my.toml".into()), "[train]\nbatch = 16");
        let resolved = resolve(&defaults(), &[file]).unwrap();
        let text = resolved.explain();
        let line = text.lines().find(|line| line.starts_with("train.batch")).unwrap();
        assert!(line.starts_with("train.batch = 16 "), "{line}");
        assert!(line.ends_with("# file my.toml"), "{line}");
        assert_eq!(table(&text), resolved.table);
    }

    #[test]
    fn unknown_keys_name_path_origin_and_neighbour() {
        let error = resolve(&defaults(), &[flag("[train.adam]\nbetta = 1.0")]).unwrap_err();
        assert_eq!(error.to_string(), "unknown setting `train.adam.betta` from flag --x");
        assert_eq!(error.hint().as_deref(), Some("did you mean `train.adam.beta`?"));
        let error = resolve(&defaults(), &[flag("batch = 1")]).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean `train.batch`?"));
        let error = resolve(&defaults(), &[flag("zzz = 1")]).unwrap_err();
        assert!(error.hint().unwrap().contains("config show"));
    }

    #[test]
    fn wrong_types_name_both_types() {
        for (text, message) in [
            ("train.batch = \"8\"", "`train.batch` from flag --x must be an integer, found a string `\"8\"`"),
            ("train.batch = 8.5", "`train.batch` from flag --x must be an integer, found a number `8.5`"),
            ("train.rate = true", "`train.rate` from flag --x must be a number, found `true`"),
            ("train.flip = 1", "`train.flip` from flag --x must be true or false, found an integer `1`"),
            ("train = 3", "`train` from flag --x must be a table, found an integer `3`"),
            ("[train.batch]\nx = 1", "`train.batch` from flag --x must be an integer, found a table"),
            (
                "train.ema = [0.9, \"b\"]",
                "`train.ema` from flag --x must be an array like its default, found a string `\"b\"` at index 1",
            ),
        ] {
            let error = resolve(&defaults(), &[flag(text)]).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn arrays_convert_their_elements() {
        let resolved = resolve(&defaults(), &[flag("train.ema = [1, 0.5]")]).unwrap();
        assert_eq!(get(&resolved.table, "train.ema"), Some(&Value::Array(vec![Value::Float(1.0), Value::Float(0.5)])));
    }

    #[test]
    fn reads_into_a_typed_configuration() {
        #[derive(serde::Deserialize)]
        struct Typed {
            seed: u32,
        }
        let read = |text| resolve(&defaults(), &[flag(text)]).unwrap().read::<Typed>().map(|typed| typed.seed);
        assert_eq!(read("seed = 7").unwrap(), 7);
        let error = read("seed = -1").unwrap_err();
        assert!(matches!(error, SettingsError::Unfit { .. }) && error.to_string().contains("-1"), "{error}");
    }
}
