//! Which file takes something from which, and the circles among them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::source::{Kind, Mention, Source};

/// What a path leads to.
#[derive(Clone, Copy)]
enum Target {
    Module(usize),
    /// A type, function, constant or macro, and the module that defines it.
    Item(usize),
}

/// From file and to file -> the lines of the first that take something from the second.
pub type Imports = BTreeMap<(usize, usize), BTreeSet<usize>>;

/// Every import between files of the crate.
///
/// A path counts for the file in which the thing at its end is defined, through however many re-exports it goes, and for the file of another
/// room whose face it names, where a reader looks first. A module named as such is no import, only what is taken from it; nor is
/// `mod child;`, nor a parent's re-export of what its children define.
pub fn imports(source: &Source) -> Imports {
    let mut imports = Imports::new();
    for (from, module) in source.modules.iter().enumerate() {
        for mention in &module.mentions {
            let mut names = Names { source, open: HashSet::new(), faces: Vec::new() };
            let Some(to) = names.imported(from, mention) else { continue };
            for to in std::iter::once(to).chain(names.faces) {
                let (from, to) = (module.file, source.modules[to].file);
                if from != to {
                    imports.entry((from, to)).or_default().insert(mention.line);
                }
            }
        }
    }
    imports
}

/// The file and line of each re-export of what neither the module nor one below it defines. It shows a thing where it does not live.
pub fn detours(source: &Source) -> BTreeSet<(usize, usize)> {
    let mut detours = BTreeSet::new();
    for (from, module) in source.modules.iter().enumerate() {
        for mention in module.mentions.iter().filter(|mention| mention.kind == Kind::ReExport) {
            let mut names = Names { source, open: HashSet::new(), faces: Vec::new() };
            let stranger = match names.resolve(from, &mention.path) {
                Some(Target::Module(home) | Target::Item(home)) => home != from && !names.is_inside(home, from),
                None => mention.path[0].starts_with("pixgen_"),
            };
            if stranger {
                detours.insert((module.file, mention.line));
            }
        }
    }
    detours
}

struct Names<'a> {
    source: &'a Source,
    /// Names that are being looked up: `use a::a` must not look for itself.
    open: HashSet<(usize, String)>,
    /// Modules of other branches of the tree that a path names last: `a` in `crate::a::B`.
    faces: Vec<usize>,
}

impl Names<'_> {
    fn imported(&mut self, from: usize, mention: &Mention) -> Option<usize> {
        let to = match self.resolve(from, &mention.path)? {
            Target::Module(to) if mention.glob => to,
            Target::Module(_) => return None,
            Target::Item(to) => to,
        };
        let face = mention.kind == Kind::ReExport && self.is_inside(to, from);
        (!face).then_some(to)
    }

    fn is_inside(&self, mut module: usize, ancestor: usize) -> bool {
        while let Some(parent) = self.source.modules[module].parent {
            if parent == ancestor {
                return true;
            }
            module = parent;
        }
        false
    }

    fn resolve(&mut self, from: usize, path: &[String]) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let mut target = match first.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(from),
            "super" => Target::Module(self.source.modules[from].parent?),
            name => self.look_up(from, name, rest.is_empty())?,
        };
        for (i, name) in rest.iter().enumerate() {
            let Target::Module(module) = target else { break };
            if i + 1 == rest.len() && module != from && !self.is_inside(from, module) && !self.is_inside(module, from) {
                self.faces.push(module);
            }
            target = if name == "super" {
                Target::Module(self.source.modules[module].parent?)
            } else {
                // What is not found there, a macro has made there.
                self.look_up(module, name, i + 1 == rest.len()).unwrap_or(Target::Item(module))
            };
        }
        Some(target)
    }

    fn look_up(&mut self, module: usize, name: &str, last: bool) -> Option<Target> {
        let here = &self.source.modules[module];
        let item = here.items.contains(name).then_some(Target::Item(module));
        let child = here.children.get(name).map(|&child| Target::Module(child));
        let found = if last { item.or(child) } else { child.or(item) };
        if found.is_some() {
            return found;
        }
        if module == 0
            && let Some(&home) = self.source.exported_macros.get(name)
        {
            return Some(Target::Item(home));
        }
        if !self.open.insert((module, name.to_owned())) {
            return None;
        }
        let mut found = here.uses.get(name).into_iter().flatten().find_map(|path| self.resolve(module, path));
        for path in &here.globs {
            if found.is_none()
                && let Some(Target::Module(other)) = self.resolve(module, path)
            {
                found = self.look_up(other, name, last);
            }
        }
        self.open.remove(&(module, name.to_owned()));
        found
    }
}

/// Sets of files each of which reaches all others of its set: the strongly connected components with more than one file.
pub fn circles(files: usize, imports: &Imports) -> Vec<BTreeSet<usize>> {
    let reach = |edges: &dyn Fn(&(usize, usize)) -> (usize, usize), start: usize| {
        let (mut seen, mut open) = (BTreeSet::from([start]), vec![start]);
        while let Some(at) = open.pop() {
            open.extend(
                imports
                    .keys()
                    .map(edges)
                    .filter(|&(from, to)| from == at && seen.insert(to))
                    .map(|(_, to)| to),
            );
        }
        seen
    };
    let mut circles: Vec<BTreeSet<usize>> = Vec::new();
    for file in 0..files {
        if !circles.iter().any(|circle| circle.contains(&file)) {
            let (down, up) = (reach(&|&edge| edge, file), reach(&|&(from, to)| (to, from), file));
            circles.push(down.intersection(&up).copied().collect());
        }
    }
    circles.retain(|circle| circle.len() > 1);
    circles
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Reads a crate of these files.
    fn with_crate<T>(name: &str, files: &[(&str, &str)], then: impl FnOnce(&Source, &dyn Fn(usize) -> String) -> T) -> T {
        let folder = std::env::temp_dir().join(format!("pixgen-structure-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let source = Source::read(&folder.join("lib.rs")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        then(&source, &|file| {
            source.files[file]
                .path
                .strip_prefix(&folder)
                .unwrap_or(Path::new(""))
                .display()
                .to_string()
        })
    }

    /// The circles and imports of a crate of these files, by name.
    fn read(name: &str, files: &[(&str, &str)]) -> (Vec<Vec<String>>, Vec<(String, String)>) {
        with_crate(name, files, |source, name| {
            let imports = imports(source);
            let circles = circles(source.files.len(), &imports);
            (
                circles.iter().map(|c| c.iter().map(|&file| name(file)).collect()).collect(),
                imports.keys().map(|&(from, to)| (name(from), name(to))).collect(),
            )
        })
    }

    fn arrow(from: &str, to: &str) -> (String, String) {
        (from.into(), to.into())
    }

    #[test]
    fn a_circle_through_a_re_export_and_a_path_in_code_is_found() {
        let (circles, _) = read(
            "circle",
            &[
                ("lib.rs", "pub mod a; mod b; pub mod c;"),
                ("a/mod.rs", "mod inner; pub use inner::Thing;"),
                ("a/inner.rs", "pub struct Thing; fn f() { assert!(crate::b::g() == 1); }"),
                ("b.rs", "use crate::a::{self, c_name as _}; pub fn g() -> i32 { let _ = a::Thing; 1 }"),
                ("c.rs", "use crate::a::Thing;"),
            ],
        );
        assert_eq!(circles, [["a/inner.rs", "b.rs"]]);
    }

    #[test]
    fn faces_modules_and_tests_are_no_imports_and_items_of_a_parent_are() {
        let (circles, imports) = read(
            "faces",
            &[
                ("lib.rs", "pub mod a; pub mod b;"),
                (
                    "a/mod.rs",
                    "mod child; pub use child::*; pub const LIMIT: u8 = 1; #[cfg(all(test, unix))] mod tests { use crate::b::B; }",
                ),
                ("a/child.rs", "use super::LIMIT; pub struct Child([u8; LIMIT as usize]);"),
                ("b.rs", "use crate::a; pub struct B; #[cfg(any(test, feature = \"testing\"))] fn f() { a::Child; }"),
            ],
        );
        assert!(circles.is_empty(), "{circles:?}");
        assert_eq!(
            imports,
            [
                arrow("a/child.rs", "a/mod.rs"),
                arrow("b.rs", "a/mod.rs"),
                arrow("b.rs", "a/child.rs")
            ]
        );
    }

    #[test]
    fn a_re_export_from_another_room_or_crate_is_a_detour() {
        let files = [
            ("lib.rs", "pub mod a; pub mod b; pub use a::child::Child; pub use pixgen_core::rng;"),
            ("a/mod.rs", "pub mod child; pub use child::*; pub use std::fmt;"),
            ("a/child.rs", "pub struct Child;"),
            ("b.rs", "pub struct B; pub(crate) use crate::a::Child;"),
        ];
        with_crate("detours", &files, |source, name| {
            let detours: Vec<_> = detours(source).into_iter().map(|(file, line)| (name(file), line)).collect();
            assert_eq!(detours, [("lib.rs".to_owned(), 1), ("b.rs".to_owned(), 1)]);
        });
    }

    #[test]
    fn macros_globs_and_attributes_count() {
        let (_, imports) = read(
            "macros",
            &[
                ("lib.rs", "mod m; mod glob; mod user; mod serde_user;"),
                ("m.rs", "#[macro_export] macro_rules! make { () => { $crate::glob::Made } }"),
                ("glob.rs", "pub struct Made; pub fn no() -> bool { false }"),
                ("user.rs", "use crate::glob::*; fn f() { let _ = (crate::make!(), Made); }"),
                ("serde_user.rs", "struct S { #[serde(default = \"crate::glob::no\")] on: bool }"),
            ],
        );
        let wanted = [
            arrow("m.rs", "glob.rs"),
            arrow("user.rs", "m.rs"),
            arrow("user.rs", "glob.rs"),
            arrow("serde_user.rs", "glob.rs"),
        ];
        assert_eq!(imports, wanted);
    }
}
