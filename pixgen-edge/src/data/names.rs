//! Names of files as the bytes that they are: which belong to an operating system, those of archives as paths below their root, and how
//! names are shown.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// What operating systems, storage boxes and notebooks leave in folders and archives; in small letters. Names that begin with a dot are
/// ignored too.
const SYSTEM: [&str; 16] = [
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "@eadir",
    "@recently-snapshot",
    "@recycle",
    "__macosx",
    "__pycache__",
    "desktop.ini",
    "ehthumbs.db",
    "icon\r",
    "lost+found",
    "network trash folder",
    "recycler",
    "system volume information",
    "thumbs.db",
];

/// The bytes from 128 on in code page 437, in which zip archives without a flag for UTF-8 write names.
const CODE_PAGE_437: &str =
    "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// A name in an archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// A path below the root.
    Path(PathBuf),
    /// It lies in a hidden folder or one of the system, or is such a file; the outermost part that is.
    Ignored(PathBuf),
    /// The root itself.
    Root,
}

/// A name in an archive as a path below its root: `\` is taken for `/`, and `.` left out.
///
/// # Errors
/// Names that lead out of the archive.
pub(crate) fn inside(name: &[u8]) -> Result<Inside, &'static str> {
    if name.contains(&0) {
        return Err("a name must not hold a zero byte");
    }
    let is_separator = |byte: &u8| matches!(byte, b'/' | b'\\');
    if name.first().is_some_and(is_separator) {
        return Err("a name must not lead out of the archive");
    }
    let (mut path, mut ignored) = (PathBuf::new(), None);
    for part in name.split(is_separator) {
        match part {
            b"" | b"." => continue,
            b".." => return Err("a name must not lead out of the archive"),
            part => path.push(os_name(part)),
        }
        if ignored.is_none() && path.file_name().is_some_and(is_ignored) {
            ignored = Some(path.clone());
        }
    }
    Ok(match ignored {
        Some(ignored) => Inside::Ignored(ignored),
        None if path.as_os_str().is_empty() => Inside::Root,
        None => Inside::Path(path),
    })
}

/// Whether a file or folder is hidden or belongs to a system, so that no reader looks at it.
pub(crate) fn is_ignored(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.starts_with(b".") || SYSTEM.iter().any(|system| bytes.eq_ignore_ascii_case(system.as_bytes()))
}

/// The bytes of a name in a zip archive as UTF-8, where that is known; `field` is the name in the archive's extra field for UTF-8.
pub(crate) fn of_zip<'a>(raw: &'a [u8], says_utf8: bool, field: Option<&'a [u8]>) -> Cow<'a, [u8]> {
    // Version, check sum of the name that it stands for, and the name.
    if let Some([1, a, b, c, d, name @ ..]) = field
        && u32::from_le_bytes([*a, *b, *c, *d]) == crc32fast::hash(raw)
        && std::str::from_utf8(name).is_ok()
    {
        return Cow::Borrowed(name);
    }
    // Some programs write UTF-8 and do not say so. Other names are hardly ever valid UTF-8 by chance.
    if says_utf8 || std::str::from_utf8(raw).is_ok() {
        return Cow::Borrowed(raw);
    }
    let upper: Vec<char> = CODE_PAGE_437.chars().collect();
    let decode = |&byte: &u8| match byte {
        0..=127 => char::from(byte),
        _ => upper[usize::from(byte - 128)],
    };
    Cow::Owned(raw.iter().map(decode).collect::<String>().into_bytes())
}

#[cfg(unix)]
fn os_name(part: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(part).to_owned()
}

/// Elsewhere names are text, so that the bytes are shown at once.
#[cfg(not(unix))]
fn os_name(part: &[u8]) -> OsString {
    shown_bytes(part).into()
}

/// A name for people. Bytes that are no UTF-8 are shown as Latin-1, and as `\x9C` where that has no letter.
pub(crate) fn shown(name: &OsStr) -> String {
    shown_bytes(name.as_encoded_bytes())
}

fn shown_bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| latin1(byte)).collect(),
    }
}

fn latin1(byte: u8) -> String {
    match byte {
        0x80..=0x9F => escaped(byte),
        byte => char::from(byte).into(),
    }
}

fn escaped(byte: u8) -> String {
    format!("\\x{byte:02X}")
}

/// Names of classes for people, all of them different: names that only their bytes tell apart show these.
pub(crate) fn shown_apart<'a>(names: impl Iterator<Item = &'a OsStr> + Clone) -> Vec<String> {
    let mut taken = std::collections::HashSet::new();
    let text = names.clone().filter_map(OsStr::to_str);
    taken.extend(text.map(str::to_owned));
    let show = |name: &OsStr| {
        if let Some(text) = name.to_str() {
            return text.to_owned();
        }
        let plain = shown(name);
        if taken.insert(plain.clone()) {
            return plain;
        }
        let every = |&byte: &u8| if byte.is_ascii() { char::from(byte).into() } else { escaped(byte) };
        name.as_encoded_bytes().iter().map(every).collect()
    };
    names.map(show).collect()
}

/// The last part of a path. `.` and `..` have none, so those are resolved.
pub(crate) fn name_of(path: &Path) -> String {
    let named = |path: &Path| path.file_name().map(shown);
    named(path)
        .or_else(|| named(&fs::canonicalize(path).ok()?))
        .unwrap_or_else(|| "images".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<Inside, &'static str> {
        Ok(Inside::Path(text.into()))
    }

    #[test]
    fn names_stay_inside() {
        assert_eq!(inside(b"a\\./b//c.png"), path("a/b/c.png"));
        assert_eq!(inside(b"./"), Ok(Inside::Root));
        for name in [&b"../x"[..], b"a/..", b"/x", b"\\x", b"a\0b"] {
            assert!(inside(name).is_err(), "{name:?}");
        }
        // Out of the archive is an error below a hidden folder too.
        assert!(inside(b".git/../../x").is_err());
    }

    #[test]
    fn names_of_systems_are_ignored_at_any_depth() {
        for (name, part) in [
            ("__MACOSX/a/._x.png", "__MACOSX"),
            ("a/@eaDir/x.png/SYNOPHOTO_THUMB_M.jpg", "a/@eaDir"),
            ("a/.ipynb_checkpoints/x.png", "a/.ipynb_checkpoints"),
            ("$RECYCLE.BIN/x.png", "$RECYCLE.BIN"),
            ("a/Thumbs.db", "a/Thumbs.db"),
            ("LOST+FOUND/x.png", "LOST+FOUND"),
        ] {
            assert_eq!(inside(name.as_bytes()), Ok(Inside::Ignored(part.into())), "{name}");
        }
        assert_eq!(inside(b"lost and found/thumbs.png"), path("lost and found/thumbs.png"));
    }

    #[test]
    fn names_of_zip_archives_become_text() {
        let show = |raw: &[u8], says_utf8, field: Option<&[u8]>| shown_bytes(&of_zip(raw, says_utf8, field));
        assert_eq!(show(b"caf\x82", false, None), "café");
        assert_eq!(show("café".as_bytes(), false, None), "café");
        assert_eq!(show(b"\x80\xFF", false, None), "Ç\u{a0}");
        // Twice the same in the code page, but not in the field.
        let mut field = vec![1];
        field.extend(crc32fast::hash(b"??").to_le_bytes());
        field.extend("猫".as_bytes());
        assert_eq!(show(b"??", false, Some(&field)), "猫");
        assert_eq!(show(b"?!", false, Some(&field)), "?!", "the field stands for another name");
        assert_eq!(CODE_PAGE_437.chars().collect::<std::collections::HashSet<_>>().len(), 128);
    }

    #[cfg(unix)]
    #[test]
    fn names_that_differ_are_shown_apart() {
        let names = [&b"caf\xE9"[..], "café".as_bytes(), b"caf\x9C", b"b"].map(os_name);
        let shown = shown_apart(names.iter().map(OsString::as_os_str));
        assert_eq!(shown, ["caf\\xE9", "café", "caf\\x9C", "b"]);
    }
}
