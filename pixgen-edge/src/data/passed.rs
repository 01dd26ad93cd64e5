//! What lies in a data set and was not used: counted, so that nobody has to guess.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::data::labels::LABEL_FILE;
use crate::data::names::shown;
use crate::terminal::printable;
use crate::units::counted;

/// Files that no picture or label was taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Files in all.
    pub files: usize,
    /// How many by extension, for example `.txt`; the empty one stands for names without.
    pub extensions: BTreeMap<String, usize>,
    /// Hidden files and folders, and those of operating systems; what lies in such a folder is not counted.
    pub hidden: usize,
    /// Folders beside the files of a set that is known by its files.
    pub folders: usize,
    /// How many of the files are a `dataset.json` with labels.
    pub unused_labels: usize,
    /// How many of the files would be a `dataset.json` in small letters.
    pub capitals: usize,
}

impl PassedOver {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.files == 0 && self.hidden == 0 && self.folders == 0
    }

    /// Counts a file.
    pub(crate) fn count(&mut self, path: &Path) {
        let extension = path
            .extension()
            .map_or_else(String::new, |extension| format!(".{}", shown(extension).to_lowercase()));
        *self.extensions.entry(extension).or_default() += 1;
        self.files += 1;
        let name = path.file_name().unwrap_or_default();
        self.capitals += usize::from(name != LABEL_FILE && name.eq_ignore_ascii_case(LABEL_FILE));
    }
}

/// `9 files (5 .svg, 3 .txt, 1 without extension), 2 hidden or of the system`.
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.files > 0 {
            let mut by_number: Vec<(&String, usize)> = self.extensions.iter().map(|(extension, &files)| (extension, files)).collect();
            by_number.sort_by_key(|&(_, files)| std::cmp::Reverse(files));
            let kinds = by_number.iter().map(|(extension, files)| match extension.as_str() {
                "" => format!("{files} without extension"),
                extension => format!("{files} {}", printable(extension)),
            });
            parts.push(format!("{} ({})", counted(self.files, "file", "files"), kinds.collect::<Vec<_>>().join(", ")));
        }
        if self.folders > 0 {
            parts.push(counted(self.folders, "folder", "folders"));
        }
        if self.hidden > 0 {
            parts.push(format!("{} hidden or of the system", self.hidden));
        }
        if parts.is_empty() {
            parts.push("nothing".into());
        }
        f.write_str(&parts.join(", "))?;
        if self.unused_labels > 0 {
            write!(f, "; the labels in {} of them ({LABEL_FILE}) were not used", self.unused_labels)?;
        }
        if self.capitals > 0 {
            write!(f, "; {LABEL_FILE} is read only if its name is in small letters")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_come_first() {
        let mut passed = PassedOver::default();
        assert_eq!((passed.to_string().as_str(), passed.is_empty()), ("nothing", true));
        for name in ["a.txt", "b.SVG", "c.svg", "LICENSE"] {
            passed.count(Path::new(name));
        }
        assert_eq!(passed.to_string(), "4 files (2 .svg, 1 without extension, 1 .txt)");
        passed.hidden = 2;
        assert!(passed.to_string().ends_with("1 .txt), 2 hidden or of the system"), "{passed}");
        passed.folders = 1;
        passed.count(Path::new("a/Dataset.JSON"));
        passed.count(Path::new("a/x.\u{1b}[1m"));
        passed.unused_labels = 1;
        let text = passed.to_string();
        assert!(
            text.contains(", 1 .\\u{1b}[1m, 1 .json, 1 .txt), 1 folder, 2 hidden or of the system; the labels in 1 of them (dataset.json)"),
            "{text}"
        );
        assert!(text.ends_with("; dataset.json is read only if its name is in small letters"), "{text}");
    }
}
