//! Labels as people and programs write them: `dataset.json` of a whole set, `KEY.cls` and `KEY.json` beside a picture.
//!
//! Text may come from Windows: a byte order mark, UTF-16, line ends of two characters.

use std::borrow::Cow;

use serde::Deserialize;

/// Name of the file with the labels or the names of the classes.
pub const LABEL_FILE: &str = "dataset.json";
/// The byte order mark.
const MARK: char = '\u{feff}';
/// Most bytes of a file beside a picture that a label is looked for in.
pub(crate) const MAX_SIDECAR_BYTES: u64 = 1 << 24;

/// `dataset.json`, as the tools of StyleGAN and EDM write it; `classes` is our own and names the classes.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct LabelFile {
    /// Name and class of every image. `Some(None)` is `null`: data without classes.
    #[serde(default, deserialize_with = "present")]
    pub labels: Option<Option<Vec<(String, u32)>>>,
    /// Names of the classes.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
}

/// Tells `null` from nothing.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// What a file beside a picture says of its class.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sidecar {
    /// The class.
    Label(u32),
    /// What stands where the number should be, shortened.
    Other(String),
    /// It is about something else.
    None,
}

/// Reads `dataset.json`. None if it is about something else: then no word of it has to be right.
///
/// # Errors
/// Labels that cannot be read, in words.
pub(crate) fn label_file(bytes: &[u8]) -> Result<Option<LabelFile>, String> {
    let text = text(bytes);
    match serde_json::from_str(&text) {
        Ok(labels) => Ok(Some(labels)),
        Err(_) if top_level(&text, "labels").is_none() => Ok(None),
        Err(error) => Err(format!("not a list of labels: {error}")),
    }
}

/// Whether the text of a `dataset.json` has labels, right or not; `null` is one for every picture.
pub(crate) fn has_labels(bytes: &[u8]) -> bool {
    top_level(&text(bytes), "labels").is_some()
}

/// Reads what lies beside a picture under this extension, `cls` or `json`.
pub(crate) fn sidecar(extension: &str, bytes: &[u8]) -> Sidecar {
    let text = text(bytes);
    if extension == "cls" {
        return number(&text).map_or_else(|| Sidecar::Other(shortened(&text)), Sidecar::Label);
    }
    match top_level(&text, "label") {
        None | Some("null") => Sidecar::None,
        Some(value) => {
            let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            number(bare).map_or_else(|| Sidecar::Other(shortened(bare)), Sidecar::Label)
        }
    }
}

/// A whole number from 0 on, which some programs write as `3.0`.
fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = text.split_once('.').filter(|(_, zeros)| zeros.bytes().all(|byte| byte == b'0'));
    digits.map_or(text, |(digits, _)| digits).parse().ok()
}

fn shortened(text: &str) -> String {
    text.trim().chars().take(20).collect()
}

/// The text of a file: UTF-8 or, after a byte order mark, UTF-16.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    let wide = |word: fn([u8; 2]) -> u16| {
        let words: Vec<u16> = bytes.chunks_exact(2).map(|pair| word([pair[0], pair[1]])).collect();
        Cow::Owned(String::from_utf16_lossy(&words))
    };
    let text = match bytes {
        [0xFF, 0xFE, ..] => wide(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes),
    };
    // Two programs in a row write two marks.
    match text.trim_start_matches(MARK) {
        whole if whole.len() == text.len() => text,
        rest => Cow::Owned(rest.to_owned()),
    }
}

/// The value of `key` in the outermost object of a JSON text, as it is written. The rest is not parsed, so that NaN, an end that is
/// missing, or a fault elsewhere does no harm. Of several such keys the last counts, as in JSON libraries. A value that is no number, word or string comes back as its first character.
fn top_level<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let bytes = json.as_bytes();
    let first = json.find(|c: char| !c.is_whitespace())?;
    let (mut at, mut depth) = (first, 0usize);
    if bytes[first] != b'{' {
        return None;
    }
    let mut found = None;
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => break,
            b'}' | b']' => depth -= 1,
            b'"' => {
                let Some(end) = string_end(bytes, at) else { break };
                let after = json[end..].trim_start();
                if depth == 1
                    && &json[at + 1..end - 1] == key
                    && let Some(value) = after.strip_prefix(':')
                {
                    found = Some(scalar(value.trim_start()));
                }
                at = end;
                continue;
            }
            _ => (),
        }
        at += 1;
    }
    found
}

/// Behind the quotation mark that ends the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// The number, word or string that a text begins with.
fn scalar(text: &str) -> &str {
    if text.starts_with('"') {
        return string_end(text.as_bytes(), 0).map_or(text, |end| &text[..end]);
    }
    let end = text
        .find(|c: char| c.is_whitespace() || matches!(c, ',' | '}' | ']'))
        .unwrap_or(text.len());
    let open = text.starts_with(['{', '[']);
    &text[..if open { 1 } else { end }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_beside_pictures() {
        for (extension, text, expected) in [
            ("cls", "7\r\n", Sidecar::Label(7)),
            ("cls", "\u{feff}\u{feff}7", Sidecar::Label(7)),
            ("cls", "", Sidecar::Other("".into())),
            ("cls", "-1", Sidecar::Other("-1".into())),
            ("cls", "4294967296", Sidecar::Other("4294967296".into())),
            ("json", r#"{"label": 7}"#, Sidecar::Label(7)),
            ("json", "\u{feff}{\r\n\"a\": [{\"label\": 1}], \"label\" : 7.0}", Sidecar::Label(7)),
            ("json", r#"{"label": "7"}"#, Sidecar::Label(7)),
            ("json", r#"{"similarity": NaN, "label": 3, "x": }"#, Sidecar::Label(3)),
            ("json", r#"{"caption": "\"label\": 9", "label": 3"#, Sidecar::Label(3)),
            ("json", r#"{"label": 0, "label": 1}"#, Sidecar::Label(1)),
            ("json", r#"{"label": 1, "label": null}"#, Sidecar::None),
            ("json", r#"{"label": 1, "x": {"label": 2}}, "label": 3"#, Sidecar::Label(1)),
            ("json", "{\"label\": 1}\n{\"label\": 2}", Sidecar::Label(1)),
            ("json", r#"{"label": 1, "caption": "cut"#, Sidecar::Label(1)),
            ("json", r#"{"label": "cat"}"#, Sidecar::Other("cat".into())),
            ("json", r#"{"label": [1]}"#, Sidecar::Other("[".into())),
            ("json", r#"{"label": NaN}"#, Sidecar::Other("NaN".into())),
            ("json", r#"{"label": null}"#, Sidecar::None),
            ("json", r#"{"shapes": [{"label": 3}], "caption": "label"}"#, Sidecar::None),
            ("json", r#"[{"label": 3}]"#, Sidecar::None),
            ("json", "", Sidecar::None),
            ("json", "{", Sidecar::None),
            ("json", "{\"label\"", Sidecar::None),
            ("json", "{\"label\": \"\\", Sidecar::Other("\"\\".into())),
        ] {
            assert_eq!(sidecar(extension, text.as_bytes()), expected, "{text}");
        }
        let wide = |text: &str, order: fn(u16) -> [u8; 2]| -> Vec<u8> { text.encode_utf16().flat_map(order).collect() };
        assert_eq!(sidecar("cls", &wide("\u{feff}12\r\n", u16::to_le_bytes)), Sidecar::Label(12));
        assert_eq!(sidecar("json", &wide("\u{feff}{\"label\": 12}", u16::to_be_bytes)), Sidecar::Label(12));
    }

    #[test]
    fn label_files_are_parsed_where_they_are_some() {
        let read = |json: &str| label_file(json.as_bytes());
        let labels = |list: &[(&str, u32)]| Some(Some(list.iter().map(|&(name, label)| (name.to_owned(), label)).collect()));
        assert_eq!(read("\u{feff}{\"labels\": [[\"a\", 1]]}\r\n").unwrap().unwrap().labels, labels(&[("a", 1)]));
        assert_eq!(read(r#"{"labels": null}"#).unwrap().unwrap().labels, Some(None));
        assert_eq!(read(r#"{"images": [], "classes": ["x"]}"#).unwrap().unwrap().labels, None);
        for other in ["[1, 2]", "", r#"{"similarity": NaN}"#, r#"{"classes": {"cat": 0}}"#] {
            assert_eq!(read(other), Ok(None), "{other}");
        }
        for wrong in [r#"{"labels": ["cat"]}"#, r#"{"labels": [["a", -1]]}"#, r#"{"labels": [["a", 1],]}"#] {
            assert!(read(wrong).unwrap_err().contains("line 1"), "{wrong}");
        }
    }
}
