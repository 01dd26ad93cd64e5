//! Settings from a TOML file.

use std::fs;
use std::path::Path;

use toml::Table;

use super::error::SettingsError;
use super::layers::SettingsLayer;
use super::origin::Origin;

/// The layer of the file at `path`.
///
/// # Errors
/// [`SettingsError::Read`], and [`SettingsError::Parse`] with line and column.
pub fn layer(path: &Path) -> Result<SettingsLayer, SettingsError> {
    let text = fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let (line, column) = position(&text, start);
        SettingsError::Parse { path: path.to_owned(), line, column, message: error.message().to_owned() }
    })?;
    Ok(SettingsLayer { origin: Origin::File(path.to_owned()), table })
}

/// Line and column, both from 1, of the byte at `offset`; the column counts characters.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pixgen.toml");
        fs::write(&path, "[train]\nbatch = 8").unwrap();
        let layer = layer(&path).unwrap();
        assert_eq!(layer.origin, Origin::File(path));
        assert_eq!(layer.table["train"]["batch"].as_integer(), Some(8));
    }

    #[test]
    fn says_where_the_text_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pixgen.toml");
        fs::write(&path, "# é\n[train]\nname = \"é\" batch = 8").unwrap();
        let error = layer(&path).unwrap_err();
        let SettingsError::Parse { line, column, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!((*line, *column), (3, 12), "{error}");
        assert!(error.to_string().starts_with(&format!("{}:3:12: ", path.display())));
    }

    #[test]
    fn a_missing_or_binary_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = layer(&folder.path().join("none.toml")).unwrap_err();
        assert!(missing.to_string().contains("none.toml"));
        assert!(missing.hint().is_some());
        let binary = folder.path().join("binary.toml");
        fs::write(&binary, [0xff, 0xfe]).unwrap();
        assert!(matches!(layer(&binary), Err(SettingsError::Read { .. })));
    }
}
