//! Names of classes, which people read and type: none is empty, no two look alike, and none steers a terminal.

use std::collections::HashMap;
use std::path::Path;

use crate::data::DataError;

/// The names as they are shown: control characters as escapes, and where two names are the same letters in different Unicode forms, the
/// accents that stand apart from their letters too.
///
/// # Errors
/// An empty name, and two equal ones, whatever blanks are around them.
pub(crate) fn settle(place: &Path, names: Vec<String>) -> Result<Vec<String>, DataError> {
    let mut by_letters: HashMap<String, Vec<usize>> = HashMap::with_capacity(names.len());
    for (class, name) in names.iter().enumerate() {
        by_letters.entry(letters(name)).or_default().push(class);
    }
    let alone = |name: &String| by_letters[&letters(name)].len() == 1;
    let show = |name: &String| {
        let alone = alone(name);
        // Marks of direction are escaped where a name is printed: in it they stay, as in the runs that were trained with them.
        let escape = |c: char| {
            if c.is_control() || is_mark(c) && !alone {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        };
        name.chars().map(escape).collect()
    };
    let shown: Vec<String> = names.iter().map(show).collect();
    match unusable(&names).or_else(|| unusable(&shown)) {
        Some((class, twin)) => Err(DataError::ClassName { path: place.to_path_buf(), class, name: shown[class].clone(), twin }),
        None => Ok(shown),
    }
}

/// The first class whose name is empty, or that of an earlier class, which comes with it; blanks around names do not count.
pub fn unusable(names: &[String]) -> Option<(usize, Option<usize>)> {
    let mut known = HashMap::with_capacity(names.len());
    let mut numbered = names.iter().map(|name| name.trim()).enumerate();
    numbered.find_map(|(class, name)| {
        let twin = known.insert(name, class);
        (twin.is_some() || name.is_empty()).then_some((class, twin))
    })
}

/// Whether two different names may be the same letters, in one with accents that stand apart (NFD), in the other without (NFC).
pub(crate) fn same_letters(a: &str, b: &str) -> bool {
    a != b && a.contains(is_mark) != b.contains(is_mark) && letters(a) == letters(b)
}

/// A name without what Unicode writes in more than one form: every letter with its marks, and every other letter beyond ASCII, is one and
/// the same sign. Which letter it is would take Unicode's tables; names that only this tells apart are rare, and are only shown longer.
fn letters(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if is_mark(c) {
            out.pop();
        }
        out.push(if c.is_ascii() { c } else { char::REPLACEMENT_CHARACTER });
    }
    out
}

/// Whether a character belongs to the one before it, with which Unicode has it in one too: accents, and what Arabic, Indic, Japanese and
/// Korean letters are composed of.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        '\u{300}'..='\u{36F}' | '\u{653}'..='\u{655}' | '\u{93C}' | '\u{9BC}' | '\u{A3C}' | '\u{B3C}' | '\u{1160}'..='\u{11FF}' | '\u{3099}'..='\u{309A}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(names: &[&str]) -> Result<Vec<String>, String> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        settle(Path::new("set"), names).map_err(|error| {
            assert!(error.hint().is_some());
            error.to_string()
        })
    }

    #[test]
    fn names_are_there_and_differ() {
        for (names, error) in [
            (&["x", "y", "x"][..], "set: the classes 0 and 2 are both called `x`"),
            (&["x", "x "], "set: the classes 0 and 1 are both called `x `"),
            (&["x", ""], "set: class 1 has no name"),
            (&[" \t"], "set: class 0 has no name"),
            (&["a\n", "a\\n"], "set: the classes 0 and 1 are both called `a\\n`"),
            (&["e\u{301}", "b", "e\u{301}"], "set: the classes 0 and 2 are both called `e\\u{301}`"),
        ] {
            assert_eq!(settled(names).unwrap_err(), error);
        }
        assert_eq!(settled(&["Cat", "cat", "0", "\u{1b}]0;x\u{7}"]).unwrap(), ["Cat", "cat", "0", "\\u{1b}]0;x\\u{7}"]);
    }

    #[test]
    fn unicode_forms_are_shown_apart() {
        let nfd = ["cafe\u{301}", "\u{1112}\u{1161}\u{11ab}", "\u{304b}\u{3099}", "o\u{302}\u{301}"];
        for (nfd, nfc) in nfd.into_iter().zip(["café", "한", "が", "ố"]) {
            // Alone, a name stays as it is.
            assert_eq!(settled(&[nfd, "b"]).unwrap(), [nfd, "b"]);
            let both = settled(&[nfd, nfc]).unwrap();
            assert!(both[0].contains("\\u{") && both[1] == nfc, "{both:?}");
            assert!(same_letters(nfd, nfc) && !same_letters(nfc, nfc));
        }
        assert!(!same_letters("cafe", "café") && !same_letters("猫", "犬"));
        assert_eq!(settled(&["猫", "犬", "é", "è"]).unwrap(), ["猫", "犬", "é", "è"]);
    }
}
