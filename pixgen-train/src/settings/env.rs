//! Settings from environment variables: `PIXGEN_TRAIN_BATCH=64` is `train.batch = 64`.

use std::ffi::OsString;

use toml::Table;

use super::assign::assign;
use super::error::SettingsError;
use super::layers::{SettingsLayer, dotted_keys};
use super::origin::Origin;
use super::suggest::closest;

/// What the names of all our variables begin with.
pub const PREFIX: &str = "PIXGEN_";

/// The variable of a dotted key: upper case, with dots as underscores.
///
/// Two keys of the defaults must not share a name (`a.b_c` and `a.b.c` would).
pub fn variable_name(dotted: &str) -> String {
    format!("{PREFIX}{}", dotted.replace('.', "_").to_uppercase())
}

/// One layer for each `PIXGEN_*` variable among `variables` (usually [`std::env::vars_os`]), in order of names.
///
/// The text is read as the type that the key has in `defaults`; integers may be written as `250k` or `8Mi`, arrays in TOML.
/// `reserved` names variables that start alike but are no settings.
///
/// # Errors
/// [`SettingsError::UnknownVariable`] and [`SettingsError::WrongType`].
pub fn layers(
    defaults: &Table,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    reserved: &[&str],
) -> Result<Vec<SettingsLayer>, SettingsError> {
    let known: Vec<(String, String)> = dotted_keys(defaults).into_iter().map(|key| (variable_name(&key), key)).collect();
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| name.starts_with(PREFIX) && !reserved.contains(&name.as_str()))
        .collect();
    ours.sort();
    ours.into_iter()
        .map(|(variable, value)| layer(defaults, &known, variable, &value.to_string_lossy()))
        .collect()
}

fn layer(defaults: &Table, known: &[(String, String)], variable: String, text: &str) -> Result<SettingsLayer, SettingsError> {
    let Some((_, key)) = known.iter().find(|(name, _)| *name == variable) else {
        return Err(SettingsError::UnknownVariable {
            suggestion: closest(&variable, known.iter().map(|(name, _)| name.as_str())),
            variable,
        });
    };
    assign(defaults, key, text, Origin::Env(variable))
}

#[cfg(test)]
mod tests {
    use super::super::layers::{get, resolve};
    use super::*;

    fn defaults() -> Table {
        "seed = 0\n[train]\nbatch = 32\nlearning_rate = 1e-3\nname = \"a\"\nflip = true\nema = [0.99]"
            .parse()
            .unwrap()
    }

    fn from(variables: &[(&str, &str)]) -> Result<Vec<SettingsLayer>, SettingsError> {
        let variables = variables.iter().map(|(a, b)| (a.into(), b.into()));
        layers(&defaults(), variables, &["PIXGEN_LOG"])
    }

    #[test]
    fn reads_each_type() {
        let layers = from(&[
            ("HOME", "/root"),
            ("PIXGEN_LOG", "debug"),
            ("PIXGEN_SEED", "8Mi"),
            ("PIXGEN_TRAIN_BATCH", "64"),
            ("PIXGEN_TRAIN_LEARNING_RATE", "3e-4"),
            ("PIXGEN_TRAIN_NAME", "true"),
            ("PIXGEN_TRAIN_FLIP", "0"),
            ("PIXGEN_TRAIN_EMA", "[0.9, 1]"),
        ])
        .unwrap();
        let resolved = resolve(&defaults(), &layers).unwrap();
        let value = |key| get(&resolved.table, key).unwrap().to_string();
        assert_eq!(value("seed"), "8388608");
        assert_eq!(value("train.batch"), "64");
        assert_eq!(value("train.learning_rate"), "0.0003");
        assert_eq!(value("train.name"), "\"true\"");
        assert_eq!(value("train.flip"), "false");
        assert_eq!(value("train.ema"), "[0.9, 1.0]");
        assert_eq!(resolved.origins["train.batch"], Origin::Env("PIXGEN_TRAIN_BATCH".to_owned()));
    }

    #[test]
    fn unknown_variables_are_errors() {
        let error = from(&[("PIXGEN_TRAIN_BACH", "1")]).unwrap_err();
        assert_eq!(error.to_string(), "unknown environment variable `PIXGEN_TRAIN_BACH`");
        assert_eq!(error.hint().as_deref(), Some("did you mean `PIXGEN_TRAIN_BATCH`?"));
    }

    #[test]
    fn wrong_texts_name_the_variable() {
        for (name, text, expected) in [
            ("PIXGEN_SEED", "many", "an integer"),
            ("PIXGEN_SEED", "99999999999999999999", "an integer"),
            ("PIXGEN_TRAIN_LEARNING_RATE", "", "a number"),
            ("PIXGEN_TRAIN_FLIP", "yes", "true or false"),
            ("PIXGEN_TRAIN_EMA", "0.9", "an array"),
            ("PIXGEN_TRAIN_EMA", "[0.9", "an array"),
        ] {
            let message = from(&[(name, text)]).unwrap_err().to_string();
            assert!(message.contains(&format!("environment {name} must be {expected}")), "{message}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_text_is_no_panic() {
        use std::os::unix::ffi::OsStringExt as _;
        let broken = OsString::from_vec(vec![0xff, 0xfe]);
        let error = layers(&defaults(), [("PIXGEN_SEED".into(), broken)], &[]).unwrap_err();
        assert!(matches!(error, SettingsError::WrongType { .. }));
    }
}
