//! A setting given as text: an environment variable, a flag, `--set train.batch=64`.

use toml::{Table, Value};

use super::error::SettingsError;
use super::layers::{SettingsLayer, dotted_keys, get, type_name};
use super::origin::Origin;
use super::suggest::closest;
use super::units::parse_images;

/// The one setting that takes a word in place of a number, and the word: the program finds the number.
pub const MICRO_BATCH_AUTO: (&str, &str) = ("train.micro_batch", "auto");

/// The layer that sets the one value at the dotted `key`.
///
/// `text` is read as the type that the key has in `defaults`: strings as they are, integers also as `250k` or `8Mi`, booleans as
/// `true`, `false`, `1` or `0`, anything else as TOML.
///
/// # Errors
/// [`SettingsError::UnknownKey`] and [`SettingsError::WrongType`].
pub fn assign(defaults: &Table, key: &str, text: &str, origin: Origin) -> Result<SettingsLayer, SettingsError> {
    let Some(example) = get(defaults, key) else {
        let suggestion = closest(key, dotted_keys(defaults).iter().map(String::as_str));
        return Err(SettingsError::UnknownKey { key: key.to_owned(), origin, suggestion });
    };
    let text = text.trim();
    let word = ((key, text) == MICRO_BATCH_AUTO).then(|| Value::from(text));
    let Some(value) = word.or_else(|| parse(example, text)) else {
        return Err(SettingsError::WrongType { key: key.to_owned(), origin, expected: type_name(example), found: format!("`{text}`") });
    };
    Ok(SettingsLayer { origin, table: nest(key, value) })
}

/// `text` as the type of `example`.
fn parse(example: &Value, text: &str) -> Option<Value> {
    match example {
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Integer(_) => text
            .parse()
            .ok()
            .or_else(|| i64::try_from(parse_images(text).ok()?).ok())
            .map(Value::Integer),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        Value::Boolean(_) => match text {
            "true" | "1" => Some(Value::Boolean(true)),
            "false" | "0" => Some(Value::Boolean(false)),
            _ => None,
        },
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            let mut parsed: Table = format!("value = {text}").parse().ok()?;
            let value = parsed.remove("value").filter(|value| value.same_type(example));
            // A line break in the text could have brought more than the one value.
            value.filter(|_| parsed.is_empty())
        }
    }
}

/// `a.b` and 1 as `{ a = { b = 1 } }`.
fn nest(dotted: &str, value: Value) -> Table {
    let (section, rest) = match dotted.split_once('.') {
        Some((section, rest)) => (section, Value::Table(nest(rest, value))),
        None => (dotted, value),
    };
    Table::from_iter([(section.to_owned(), rest)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(key: &str, text: &str) -> Result<Table, SettingsError> {
        let defaults: Table = "seed = 0\n[train]\nbatch = 32\nema = [0.99]\nflip = true".parse().unwrap();
        assign(&defaults, key, text, Origin::Flag("--set".to_owned())).map(|layer| layer.table)
    }

    #[test]
    fn reads_the_type_of_the_default() {
        assert_eq!(assigned("seed", "-3").unwrap().to_string(), "seed = -3\n");
        assert_eq!(assigned("train.batch", " 8Ki ").unwrap().to_string(), "[train]\nbatch = 8192\n");
        assert_eq!(assigned("train.ema", "[0.9, 0.5]").unwrap().to_string(), "[train]\nema = [0.9, 0.5]\n");
    }

    #[test]
    fn unknown_keys_and_other_types_are_errors() {
        let error = assigned("train.bacth", "1").unwrap_err();
        assert_eq!(error.to_string(), "unknown setting `train.bacth` from flag --set");
        assert_eq!(error.hint().as_deref(), Some("did you mean `train.batch`?"));
        for (key, text) in [
            ("train", "3"),
            ("train.flip", "yes"),
            ("train.ema", "[1]\nx = 2"),
            ("train.batch", ""),
        ] {
            let error = assigned(key, text).unwrap_err();
            assert!(matches!(error, SettingsError::WrongType { .. }), "{error}");
        }
        for key in ["", ".", "train.", "train.batch.x"] {
            assert!(matches!(assigned(key, "1"), Err(SettingsError::UnknownKey { .. })), "{key}");
        }
    }
}
