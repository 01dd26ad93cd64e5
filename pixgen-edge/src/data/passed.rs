//! What lies in a data set and was not used: counted, so that nobody has to guess.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::data::names::shown;
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
}

impl PassedOver {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.files == 0 && self.hidden == 0
    }

    /// Counts a file.
    pub(crate) fn count(&mut self, path: &Path) {
        let extension = path
            .extension()
            .map_or_else(String::new, |extension| format!(".{}", shown(extension).to_lowercase()));
        *self.extensions.entry(extension).or_default() += 1;
        self.files += 1;
    }
}

/// `9 files (5 .svg, 3 .txt, 1 without extension), 2 hidden or of the system`.
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.files > 0 {
            let mut by_number: Vec<(&String, usize)> = self.extensions.iter().map(|(extension, &files)| (extension, files)).collect();
            by_number.sort_by_key(|&(_, files)| std::cmp::Reverse(files));
            let parts = by_number.iter().map(|(extension, files)| match extension.as_str() {
                "" => format!("{files} without extension"),
                extension => format!("{files} {extension}"),
            });
            write!(f, "{} ({})", counted(self.files, "file", "files"), parts.collect::<Vec<_>>().join(", "))?;
        }
        match (self.files, self.hidden) {
            (0, 0) => f.write_str("nothing"),
            (_, 0) => Ok(()),
            (0, hidden) => write!(f, "{hidden} hidden or of the system"),
            (_, hidden) => write!(f, ", {hidden} hidden or of the system"),
        }
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
    }
}
