//! The page.

use super::{ENGINE, LICENCES, SCALAR, SIMD};
use crate::file_kind::quoted;
use crate::model_facts::ModelFacts;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use base64::write::EncoderWriter;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const WORKER: &str = include_str!("worker.js");

/// What the script shows of the model besides what is in the file.
#[derive(Serialize)]
struct Shown<'a> {
    title: &'a str,
    /// Name of the file, as a shell takes it.
    file: &'a str,
    rows: &'a [(&'static str, String)],
}

/// A web page that draws from a model. It needs nothing else, not even a network.
#[derive(Debug)]
pub struct Page<'a> {
    file: &'a [u8],
    script: String,
    /// What the script shows, as JSON.
    facts: String,
}

impl<'a> Page<'a> {
    /// The page of the model in `file`, the bytes of a `.pxg` file. Its heading is `title`, or the name of the file at `path`.
    pub fn new(file: &'a [u8], path: &Path, title: Option<&str>, facts: &ModelFacts) -> Self {
        let stem = || path.file_stem().map_or("".into(), OsStr::to_string_lossy);
        let title = Some(title.map_or_else(stem, Cow::Borrowed)).filter(|title| !title.trim().is_empty());
        let title = title.unwrap_or("Pixgen".into());
        let file_name = quoted(Path::new(path.file_name().unwrap_or_default()));
        let worker = json(&[ENGINE, WORKER].concat());
        let script = format!("'use strict';\nconst WORKER = {worker};\n{ENGINE}\n{SCRIPT}");
        let shown = Shown { title: &title, file: &file_name, rows: &facts.0 };
        Self { file, script, facts: json(&shown) }
    }

    /// Writes it: the model is encoded on the way, so that the page is never in memory.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut pieces = TEMPLATE.split("{{");
        out.write_all(pieces.next().unwrap_or_default().as_bytes())?;
        for piece in pieces {
            // What stands for a `{{place}}` is not looked into.
            let (place, rest) = piece.split_once("}}").unwrap_or((piece, ""));
            match place {
                "version" => out.write_all(env!("CARGO_PKG_VERSION").as_bytes()),
                "style" => out.write_all(STYLE.as_bytes()),
                "licences" => out.write_all(escaped(LICENCES).as_bytes()),
                "style-hash" => out.write_all(policy_hash(STYLE).as_bytes()),
                "script-hash" => out.write_all(policy_hash(&self.script).as_bytes()),
                "facts" => out.write_all(self.facts.as_bytes()),
                "simd" => write_base64(SIMD, out),
                "scalar" => write_base64(SCALAR, out),
                "model" => write_base64(self.file, out),
                _ => out.write_all(self.script.as_bytes()),
            }?;
            out.write_all(rest.as_bytes())?;
        }
        Ok(())
    }
}

fn write_base64(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let mut encoder = EncoderWriter::new(out, &BASE64_STANDARD);
    encoder.write_all(bytes)?;
    encoder.finish().map(|_| ())
}

/// Text that can stand in an element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// JSON that can stand inside a script element: nothing in it begins a tag.
fn json<T: Serialize + ?Sized>(value: &T) -> String {
    // Texts and lists of texts always are JSON.
    serde_json::to_string(value).unwrap_or_default().replace('<', "\\u003c")
}

/// How a policy names the text of an element.
fn policy_hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, title: Option<&str>, rows: Vec<(&'static str, String)>) -> String {
        let mut page = Vec::new();
        let facts = ModelFacts(rows);
        Page::new(b"file", Path::new(path), title, &facts)
            .write(&mut page)
            .expect("memory takes it");
        String::from_utf8(page).expect("text")
    }

    fn example(name: &str) -> String {
        page("model.pxg", Some(name), vec![("classes", name.to_owned())])
    }

    /// The script of a page runs only if its text has the hash that the page itself names.
    #[test]
    fn the_policy_names_what_the_page_holds() {
        let page = example("x");
        let inside = |start: &str, end: &str| {
            let (_, rest) = page.rsplit_once(start).expect(start);
            rest.split_once(end).expect(end).0
        };
        for (text, kind) in [
            (inside("<script>", "</script>"), "script-src"),
            (inside("<style>", "</style>"), "style-src"),
        ] {
            assert!(text.len() > 1000 && page.contains(&format!("{kind} '{}'", policy_hash(text))), "{kind}");
        }
        assert!(!page.contains("{{") && !page.contains(" 'unsafe-"));
        assert!(page.contains(&escaped(LICENCES)));
    }

    /// Nothing that a file says becomes a part of the page.
    #[test]
    fn names_cannot_leave_their_place() {
        let count = |page: &str, what: &str| page.matches(what).count();
        let plain = example("x");
        for name in [
            "</script><script>alert(1)</script>",
            "<!--<script>",
            "{{script}}",
            "\"};alert(1)//",
            "\u{2028}\u{202e}<img src=x onerror=alert(1)>",
        ] {
            let page = example(name);
            for what in ["<", "<script", "</script", "const WORKER"] {
                assert_eq!(count(&page, what), count(&plain, what), "{name}: {what}");
            }
            let (_, facts) = page.split_once("id=\"data-facts\">").expect("facts");
            let facts = facts.split_once("</script>").expect("end").0;
            let facts: serde_json::Value = serde_json::from_str(facts).expect("JSON");
            assert_eq!((&facts["rows"][0][1], &facts["title"]), (&name.into(), &name.into()));
        }
    }

    #[test]
    fn a_file_without_a_title_gives_its_name() {
        let cats = page("out/my cats.pxg", None, Vec::new());
        assert!(cats.contains(r#""title":"my cats","#));
        let blank = page(" .pxg", None, Vec::new());
        assert!(blank.contains(r#""title":"Pixgen","#));
    }

    /// Room for the page beside the model, which takes four thirds of its bytes.
    #[test]
    fn the_page_is_small() {
        let (page, model) = (example("x").len(), BASE64_STANDARD.encode(b"file").len());
        assert!(page - model < 350_000, "{page} bytes");
    }
}
