//! The package: an ES module with types, both engines and the model.

use super::{ENGINE, LICENCES, SCALAR, SIMD};
use crate::model_facts::ModelFacts;
use std::borrow::Cow;
use std::path::Path;

const MODULE: &str = include_str!("npm.js");
const NODE: &str = include_str!("node.js");
const TYPES: &str = include_str!("index.d.ts");
const README: &str = include_str!("npm.md");
const MANIFEST: &str = include_str!("npm.json");
/// The name of a package whose folder's name is none.
const NAME: &str = "pixgen-model";
/// The most letters of a name.
const LONGEST: usize = 214;

/// A file of a package.
#[derive(Clone, Debug)]
pub struct PackageFile<'a> {
    /// Its name in the folder.
    pub name: &'static str,
    /// Its content.
    pub bytes: Cow<'a, [u8]>,
}

/// A package.
#[derive(Clone, Debug)]
pub struct Package<'a> {
    /// Its name.
    pub name: String,
    /// Its files.
    pub files: Vec<PackageFile<'a>>,
}

impl<'a> Package<'a> {
    /// The package of the model in `file`, the bytes of a `.pxg` file. The name of `folder` becomes its name, as far as it can.
    pub fn new(file: &'a [u8], folder: &Path, facts: &ModelFacts) -> Self {
        let name = package_name(folder);
        let text = |text: String| Cow::Owned(text.into_bytes());
        let manifest = MANIFEST.replace("{{name}}", &name);
        let readme = README.replace("{{name}}", &name).replace("{{facts}}", &facts.text());
        let files = [
            ("package.json", text(manifest)),
            ("README.md", text(readme)),
            ("index.js", text([ENGINE, MODULE].concat())),
            ("node.js", NODE.as_bytes().into()),
            ("index.d.ts", TYPES.as_bytes().into()),
            ("simd.wasm", SIMD.into()),
            ("scalar.wasm", SCALAR.into()),
            ("model.pxg", file.into()),
            ("LICENSES.txt", LICENCES.as_bytes().into()),
        ];
        let files = files.into_iter().map(|(name, bytes)| PackageFile { name, bytes }).collect();
        Self { name, files }
    }
}

/// Small letters, digits, `-`, `_` and `.`, and at the beginning a letter or a digit.
fn package_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let letter = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = name.chars().map(letter).take(LONGEST).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    // Names that registries and Node.js keep for themselves.
    if name.is_empty() || ["node_modules", "favicon.ico"].contains(&name) {
        NAME.to_owned()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_packages() {
        for (folder, name) in [
            ("cats", "cats"),
            ("out/Cats v1.5/", "cats-v1.5"),
            (".hidden", "hidden"),
            ("\u{732b}", NAME),
            ("node_modules", NAME),
            ("/", NAME),
        ] {
            assert_eq!(package_name(Path::new(folder)), name, "{folder}");
        }
        assert_eq!(package_name(Path::new(&"x".repeat(300))).len(), LONGEST);
    }

    /// What the module exports is what the types declare.
    #[test]
    fn types_and_module_agree() {
        for name in ["load", "hasSimd", "toRgba"] {
            assert!(TYPES.contains(&format!("export function {name}(")), "{name}");
        }
        assert_eq!(TYPES.matches("export function").count(), 3);
        assert!(TYPES.contains("export class Model {") && MODULE.contains("Model.open("));
        for module in [MODULE, NODE] {
            assert!(module.contains("export async function load(") && module.contains("export { Model, hasSimd, toRgba };"));
        }
        assert!(!MODULE.contains("node:") && !ENGINE.contains("node:"));
    }
}
