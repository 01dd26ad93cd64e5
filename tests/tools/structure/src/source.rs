//! Reads the files of one crate into a tree of modules, with the names each defines and the paths each mentions.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A path in the source, as it is written: `crate::a::B` is `["crate", "a", "B"]`.
pub type Segments = Vec<String>;

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// A private `use`.
    Use,
    /// A `use` with a visibility.
    ReExport,
    /// A path in code, in an attribute or in the tokens of a macro.
    Inline,
}

/// One mention of a path.
pub struct Mention {
    pub path: Segments,
    pub kind: Kind,
    pub glob: bool,
    pub line: usize,
}

pub struct Module {
    pub file: usize,
    pub parent: Option<usize>,
    pub children: HashMap<String, usize>,
    pub items: HashSet<String>,
    /// Name -> the paths that a `use` gives it (one in each namespace, or for each `cfg`).
    pub uses: HashMap<String, Vec<Segments>>,
    pub globs: Vec<Segments>,
    pub mentions: Vec<Mention>,
}

pub struct File {
    pub path: PathBuf,
    pub text: Vec<String>,
    /// Lines that only tests compile.
    pub test_lines: usize,
}

/// A named thing and where it stands.
pub struct Place {
    pub name: String,
    pub file: usize,
    pub line: usize,
    pub lines: usize,
}

/// One crate, without what `#[cfg(test)]` guards.
#[derive(Default)]
pub struct Source {
    pub files: Vec<File>,
    pub modules: Vec<Module>,
    /// `#[macro_export]` puts a macro into the root, wherever it stands.
    pub exported_macros: HashMap<String, usize>,
    pub public_types: Vec<Place>,
    pub functions: Vec<Place>,
}

impl Source {
    /// Reads the crate whose root is the file `root`.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, by name.
    pub fn read(root: &Path) -> Result<Self, String> {
        let mut source = Self::default();
        source.read_file(root, None)?;
        Ok(source)
    }

    fn read_file(&mut self, path: &Path, parent: Option<usize>) -> Result<usize, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let syntax = syn::parse_file(&text).map_err(|e| format!("{}:{}: {e}", path.display(), e.span().start().line))?;
        let file = self.files.len();
        self.files
            .push(File { path: path.to_owned(), text: text.lines().map(str::to_owned).collect(), test_lines: 0 });
        self.read_module(&syntax.items, file, parent, &folder_of_children(path))
    }

    fn read_module(&mut self, items: &[syn::Item], file: usize, parent: Option<usize>, folder: &Path) -> Result<usize, String> {
        let module = self.modules.len();
        self.modules.push(Module {
            file,
            parent,
            children: HashMap::new(),
            items: HashSet::new(),
            uses: HashMap::new(),
            globs: Vec::new(),
            mentions: Vec::new(),
        });
        for item in items {
            if tests_only(attributes(item)) {
                self.files[file].test_lines += lines(item.span());
                continue;
            }
            let mut reader = Reader { source: self, module, owner: String::new() };
            reader.define(item);
            let syn::Item::Mod(declared) = item else {
                reader.visit_item(item);
                continue;
            };
            for attribute in &declared.attrs {
                reader.visit_attribute(attribute);
            }
            let name = declared.ident.to_string();
            let child = match &declared.content {
                Some((_, items)) => self.read_module(items, file, Some(module), &folder.join(&name))?,
                None => self.read_file(&file_of(declared, folder, &self.files[file].path)?, Some(module))?,
            };
            self.modules[module].children.insert(name, child);
        }
        Ok(module)
    }
}

fn folder_of_children(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    match file.file_stem().and_then(|s| s.to_str()) {
        Some("mod" | "lib" | "main") | None => folder,
        Some(stem) => folder.join(stem),
    }
}

fn file_of(module: &syn::ItemMod, folder: &Path, from: &Path) -> Result<PathBuf, String> {
    for attribute in &module.attrs {
        if let syn::Meta::NameValue(value) = &attribute.meta
            && value.path.is_ident("path")
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) = &value.value
        {
            return Ok(from.parent().unwrap_or(Path::new("")).join(path.value()));
        }
    }
    let name = module.ident.to_string();
    let choices = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
    choices
        .into_iter()
        .find(|path| path.is_file())
        .ok_or(format!("{}: no file for `mod {name}`", from.display()))
}

fn lines(span: Span) -> usize {
    span.end().line + 1 - span.start().line
}

/// Is this compiled for tests only? True when no choice of features makes it part of a build without tests.
pub fn tests_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("cfg") => list.parse_args().is_ok_and(|meta: syn::Meta| !possible(&meta)),
        _ => false,
    })
}

fn possible(condition: &syn::Meta) -> bool {
    let parts = |list: &syn::MetaList| {
        list.parse_args_with(syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated)
            .unwrap_or_default()
    };
    match condition {
        syn::Meta::Path(path) => !path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("all") => parts(list).iter().all(possible),
        syn::Meta::List(list) if list.path.is_ident("any") => parts(list).iter().any(possible),
        _ => true,
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(i) => &i.attrs,
        syn::Item::Enum(i) => &i.attrs,
        syn::Item::ExternCrate(i) => &i.attrs,
        syn::Item::Fn(i) => &i.attrs,
        syn::Item::ForeignMod(i) => &i.attrs,
        syn::Item::Impl(i) => &i.attrs,
        syn::Item::Macro(i) => &i.attrs,
        syn::Item::Mod(i) => &i.attrs,
        syn::Item::Static(i) => &i.attrs,
        syn::Item::Struct(i) => &i.attrs,
        syn::Item::Trait(i) => &i.attrs,
        syn::Item::TraitAlias(i) => &i.attrs,
        syn::Item::Type(i) => &i.attrs,
        syn::Item::Union(i) => &i.attrs,
        syn::Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

/// Collects what one module mentions.
struct Reader<'a> {
    source: &'a mut Source,
    module: usize,
    /// The type or trait around a method, for its name in a list.
    owner: String,
}

impl Reader<'_> {
    fn here(&mut self) -> &mut Module {
        &mut self.source.modules[self.module]
    }

    fn file(&self) -> usize {
        self.source.modules[self.module].file
    }

    fn define(&mut self, item: &syn::Item) {
        let (name, visibility) = match item {
            syn::Item::Const(i) => (&i.ident, None),
            syn::Item::Enum(i) => (&i.ident, Some(&i.vis)),
            syn::Item::Fn(i) => (&i.sig.ident, None),
            syn::Item::Static(i) => (&i.ident, None),
            syn::Item::Struct(i) => (&i.ident, Some(&i.vis)),
            syn::Item::Trait(i) => (&i.ident, Some(&i.vis)),
            syn::Item::Type(i) => (&i.ident, Some(&i.vis)),
            syn::Item::Union(i) => (&i.ident, Some(&i.vis)),
            syn::Item::Macro(i) => {
                let Some(name) = &i.ident else { return };
                if i.attrs.iter().any(|a| a.path().is_ident("macro_export")) {
                    self.source.exported_macros.insert(name.to_string(), self.module);
                }
                (name, None)
            }
            _ => return,
        };
        if let Some(syn::Visibility::Public(_)) = visibility {
            let place = Place {
                name: name.to_string(),
                file: self.file(),
                line: name.span().start().line,
                lines: lines(item.span()),
            };
            self.source.public_types.push(place);
        }
        self.here().items.insert(name.to_string());
    }

    fn function(&mut self, name: &syn::Ident, from: Span, whole: Span) {
        let name = if self.owner.is_empty() {
            name.to_string()
        } else {
            format!("{}::{name}", self.owner)
        };
        let line = from.start().line;
        let place = Place { name, file: self.file(), line, lines: whole.end().line + 1 - line };
        self.source.functions.push(place);
    }

    fn mention(&mut self, path: Segments, span: Span) {
        self.here()
            .mentions
            .push(Mention { path, kind: Kind::Inline, glob: false, line: span.start().line });
    }

    fn read_use(&mut self, tree: &syn::UseTree, prefix: &Segments, kind: Kind) {
        let mut path = prefix.clone();
        let line = tree.span().start().line;
        let (name, glob) = match tree {
            syn::UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                return self.read_use(&inner.tree, &path, kind);
            }
            syn::UseTree::Group(group) => return group.items.iter().for_each(|tree| self.read_use(tree, prefix, kind)),
            syn::UseTree::Glob(_) => (None, true),
            syn::UseTree::Name(name) if name.ident == "self" => (prefix.last().cloned(), false),
            syn::UseTree::Name(name) => {
                path.push(name.ident.to_string());
                (path.last().cloned(), false)
            }
            syn::UseTree::Rename(rename) => {
                if rename.ident != "self" {
                    path.push(rename.ident.to_string());
                }
                (Some(rename.rename.to_string()), false)
            }
        };
        let module = self.here();
        match name {
            Some(name) => module.uses.entry(name).or_default().push(path.clone()),
            None => module.globs.push(path.clone()),
        }
        module.mentions.push(Mention { path, kind, glob, line });
    }

    /// Paths in tokens that nobody has parsed: `a::b`, and single names that start like a type.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let is_colon = |i: usize| matches!(tokens.get(i), Some(TokenTree::Punct(p)) if p.as_char() == ':');
        let mut i = 0;
        while i < tokens.len() {
            match &tokens[i] {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(first) => {
                    let after_dot = i > 0 && matches!(&tokens[i - 1], TokenTree::Punct(p) if p.as_char() == '.');
                    let mut path = vec![first.to_string()];
                    while is_colon(i + 1)
                        && is_colon(i + 2)
                        && let Some(TokenTree::Ident(next)) = tokens.get(i + 3)
                    {
                        path.push(next.to_string());
                        i += 3;
                    }
                    if !after_dot && (path.len() > 1 || path[0].starts_with(char::is_uppercase)) {
                        self.mention(path, first.span());
                    }
                }
                _ => {}
            }
            i += 1;
        }
    }

    /// Functions that serde names in strings: `#[serde(default = "a::b")]`.
    fn scan_strings(&mut self, tokens: TokenStream) {
        for token in tokens {
            if let TokenTree::Literal(literal) = token
                && let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                && let Ok(path) = text.parse::<syn::Path>()
            {
                self.mention(path.segments.iter().map(|s| s.ident.to_string()).collect(), literal.span());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if tests_only(attributes(item)) {
            let file = self.file();
            self.source.files[file].test_lines += lines(item.span());
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            let kind = if matches!(item.vis, syn::Visibility::Inherited) {
                Kind::Use
            } else {
                Kind::ReExport
            };
            self.read_use(&item.tree, &Vec::new(), kind);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.mention(path.segments.iter().map(|s| s.ident.to_string()).collect(), path.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.scan(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("doc") {
            return;
        }
        if let syn::Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
            if list.path.is_ident("serde") {
                self.scan_strings(list.tokens.clone());
            }
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident, item.sig.span(), item.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outer = self.owner.clone();
        if let syn::Type::Path(path) = &*item.self_ty
            && let Some(last) = path.path.segments.last()
        {
            self.owner = last.ident.to_string();
        }
        visit::visit_item_impl(self, item);
        self.owner = outer;
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let outer = std::mem::replace(&mut self.owner, item.ident.to_string());
        visit::visit_item_trait(self, item);
        self.owner = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if tests_only(&item.attrs) {
            return;
        }
        self.function(&item.sig.ident, item.sig.span(), item.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if item.default.is_some() {
            self.function(&item.sig.ident, item.sig.span(), item.span());
        }
        visit::visit_trait_item_fn(self, item);
    }
}
