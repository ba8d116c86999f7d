//! The modules of a crate as the compiler finds them, and what each names of the others.
//!
//! In: the root file of a target. Out: [`Modules`]: a file for each, what it defines and
//! re-exports, and every path in its code. Code for tests (`#[cfg(test)]`) may use anything and
//! is left out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, UseTree, Visibility};

/// A path as it was written, from the crate's root where it says so.
type Segments = Vec<String>;

/// How often a name may lead to another before it is taken for a circle.
const MOST_STEPS: usize = 32;

/// A module, in a file of its own or inside one.
#[derive(Debug, Default)]
pub struct Module {
    /// The file.
    pub file: PathBuf,
    /// The types that it defines, and on which line.
    pub types: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    children: BTreeSet<String>,
    /// What a name stands for here.
    uses: HashMap<String, Segments>,
    globs: Vec<Segments>,
    /// Every path in the code, and its line.
    paths: Vec<(Segments, usize)>,
    /// Names that are passed on (`pub use`), and on which line.
    exports: Vec<(String, usize)>,
    idents: BTreeSet<String>,
}

/// The modules of one target by their paths; the root has the empty one.
#[derive(Debug, Default)]
pub struct Modules(pub BTreeMap<Segments, Module>);

/// One module takes something of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The module that takes it.
    pub from: Segments,
    /// The module that defines it.
    pub to: Segments,
    /// Its name.
    pub name: String,
    /// The line of the first place.
    pub line: usize,
}

impl Modules {
    /// Reads a target from its root file on.
    pub fn read(root: &Path) -> Result<Self> {
        let mut modules = Self::default();
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        modules.read_file(&[], root, &folder)?;
        Ok(modules)
    }

    /// `folder` is where the files of child modules are.
    fn read_file(&mut self, path: &[String], file: &Path, folder: &Path) -> Result<()> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let parsed = syn::parse_file(&text)
            .with_context(|| format!("cannot understand {}", file.display()))?;
        self.read_items(path, file, folder, &parsed.items)
    }

    fn read_items(
        &mut self,
        path: &[String],
        file: &Path,
        folder: &Path,
        items: &[Item],
    ) -> Result<()> {
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        for item in items.iter().filter(|item| !is_for_tests(attributes(item))) {
            if let Item::Mod(child) = item {
                let name = child.ident.to_string();
                let child_path = [path, std::slice::from_ref(&name)].concat();
                let below = folder.join(&name);
                match &child.content {
                    Some((_, items)) => self.read_items(&child_path, file, &below, items)?,
                    None => {
                        let (file, below) = find(&child.attrs, file, folder, &name)?;
                        self.read_file(&child_path, &file, &below)?;
                    }
                }
                module.children.insert(name);
            } else {
                module.read_item(item);
            }
        }
        self.0.insert(path.to_owned(), module);
        Ok(())
    }

    /// Everything that one module takes of another, each name once.
    pub fn imports(&self) -> Vec<Import> {
        let mut imports: BTreeMap<(&Segments, Segments, String), usize> = BTreeMap::new();
        for (path, module) in &self.0 {
            let exports = module.exports.iter();
            // A name that is only passed on is nothing that the module itself needs.
            let used = exports.filter(|(name, _)| module.idents.contains(name));
            let used = used.map(|(name, line)| (vec![name.clone()], *line));
            for (segments, line) in module.paths.iter().cloned().chain(used) {
                if let Some((to, name)) = self.definition(path, &segments, 0)
                    && to != *path
                {
                    let first = imports.entry((path, to, name)).or_insert(line);
                    *first = (*first).min(line);
                }
            }
        }
        let import = |((from, to, name), line): ((&Segments, _, _), _)| Import {
            from: from.clone(),
            to,
            name,
            line,
        };
        imports.into_iter().map(import).collect()
    }

    /// The module that defines what a path means, and the name there.
    fn definition(
        &self,
        module: &[String],
        segments: &[String],
        steps: usize,
    ) -> Option<(Segments, String)> {
        if steps > MOST_STEPS {
            return None;
        }
        let here = self.0.get(module)?;
        let (first, rest) = segments.split_first()?;
        match first.as_str() {
            "crate" => return self.descend(Vec::new(), rest, steps),
            "self" => return self.descend(module.to_owned(), rest, steps),
            "super" => {
                let mut above = module.to_owned();
                above.pop()?;
                if rest.first().is_some_and(|next| next == "super") {
                    return self.definition(&above, rest, steps + 1);
                }
                return self.descend(above, rest, steps);
            }
            _ => {}
        }
        if here.items.contains(first) || here.children.contains(first) {
            return self.descend(module.to_owned(), segments, steps);
        }
        let meaning = here.uses.get(first)?;
        if meaning.first() == Some(first) {
            return None;
        }
        self.definition(module, &[meaning, rest].concat(), steps + 1)
    }

    fn descend(
        &self,
        mut module: Segments,
        segments: &[String],
        steps: usize,
    ) -> Option<(Segments, String)> {
        let mut rest = segments;
        while let Some((first, further)) = rest.split_first()
            && self.0.get(&module)?.children.contains(first)
        {
            module.push(first.clone());
            rest = further;
        }
        // A module by itself is no item: what is taken of it is named where it is used.
        let name = rest.first()?;
        let here = self.0.get(&module)?;
        if here.items.contains(name) {
            return Some((module, name.clone()));
        }
        if let Some(meaning) = here.uses.get(name)
            && meaning.first() != Some(name)
        {
            return self.definition(&module, &[meaning, &rest[1..]].concat(), steps + 1);
        }
        here.globs
            .iter()
            .find_map(|glob| self.definition(&module, &[glob, rest].concat(), steps + 1))
    }
}

impl Module {
    fn read_item(&mut self, item: &Item) {
        let mut define = |ident: &Ident| self.items.insert(ident.to_string());
        let ty = match item {
            Item::Struct(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Union(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::Const(item) => {
                define(&item.ident);
                None
            }
            Item::Static(item) => {
                define(&item.ident);
                None
            }
            Item::Fn(item) => {
                define(&item.sig.ident);
                None
            }
            Item::Macro(item) => {
                item.ident.as_ref().map(&mut define);
                None
            }
            Item::Use(item) => {
                let is_passed_on = !matches!(item.vis, Visibility::Inherited);
                self.read_use(&item.tree, is_passed_on);
                return;
            }
            _ => None,
        };
        if let Some(ident) = ty {
            define(ident);
            let line = ident.span().start().line;
            self.types.insert(ident.to_string(), line);
        }
        self.scan(item.to_token_stream());
    }

    fn read_use(&mut self, tree: &UseTree, is_passed_on: bool) {
        let mut names = Vec::new();
        flatten(tree, &mut Vec::new(), &mut names);
        for Use { path, name, line } in names {
            match name {
                Some(name) => {
                    if is_passed_on {
                        self.exports.push((name.clone(), line));
                    } else {
                        self.paths.push((path.clone(), line));
                    }
                    self.uses.insert(name, path);
                }
                None => self.globs.push(path),
            }
        }
    }

    /// Finds paths in code, inside macros as well.
    fn scan(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        let mut is_after_colons = false;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(ident) if ident == "use" => {
                    let rest: TokenStream = tokens
                        .by_ref()
                        .take_while(|token| !is_punct(Some(token), ';'))
                        .collect();
                    // In a function; what is no `use` after all (`impl Trait + use<'a>`) has no tree.
                    if let Ok(tree) = syn::parse2::<UseTree>(rest) {
                        let mut names = Vec::new();
                        flatten(&tree, &mut Vec::new(), &mut names);
                        for Use { path, name, line } in names {
                            self.paths.push((path.clone(), line));
                            if let Some(name) = name {
                                self.uses.entry(name).or_insert(path);
                            }
                        }
                    }
                }
                TokenTree::Ident(ident) => {
                    let line = ident.span().start().line;
                    let mut segments = vec![ident.to_string()];
                    loop {
                        let mut ahead = tokens.clone();
                        let colons = is_punct(ahead.next().as_ref(), ':')
                            && is_punct(ahead.next().as_ref(), ':');
                        match ahead.next() {
                            Some(TokenTree::Ident(next)) if colons => {
                                segments.push(next.to_string());
                                tokens = ahead;
                            }
                            _ => break,
                        }
                    }
                    self.idents.extend(segments.first().cloned());
                    if segments.len() > 1 && !is_after_colons {
                        self.paths.push((segments, line));
                    }
                    is_after_colons = false;
                    continue;
                }
                TokenTree::Punct(punct) => {
                    is_after_colons =
                        punct.as_char() == ':' && is_after_colons_or_first(&punct, is_after_colons);
                    continue;
                }
                TokenTree::Literal(_) => {}
            }
            is_after_colons = false;
        }
    }
}

fn is_after_colons_or_first(punct: &proc_macro2::Punct, was: bool) -> bool {
    // The first of two colons is joined to the second; that of `a: b` is alone.
    was || punct.spacing() == proc_macro2::Spacing::Joint
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// One name that a `use` brings; a glob brings none.
struct Use {
    path: Segments,
    name: Option<String>,
    line: usize,
}

fn flatten(tree: &UseTree, above: &mut Segments, names: &mut Vec<Use>) {
    let mut push = |ident: &Ident, name: Option<String>, above: &[String]| {
        let mut path = above.to_owned();
        if ident != "self" || above.is_empty() {
            path.push(ident.to_string());
        }
        let name = name.or_else(|| path.last().cloned());
        let line = ident.span().start().line;
        names.push(Use { path, name, line });
    };
    match tree {
        UseTree::Path(tree) => {
            above.push(tree.ident.to_string());
            flatten(&tree.tree, above, names);
            above.pop();
        }
        UseTree::Name(tree) => push(&tree.ident, None, above),
        UseTree::Rename(tree) => push(&tree.ident, Some(tree.rename.to_string()), above),
        UseTree::Glob(tree) => names.push(Use {
            path: above.clone(),
            name: None,
            line: tree.star_token.spans[0].start().line,
        }),
        UseTree::Group(tree) => {
            for tree in &tree.items {
                flatten(tree, above, names);
            }
        }
    }
}

/// The file of a child module, and the folder of that one's children.
fn find(
    attributes: &[Attribute],
    parent: &Path,
    folder: &Path,
    name: &str,
) -> Result<(PathBuf, PathBuf)> {
    for attribute in attributes.iter().filter(|it| it.path().is_ident("path")) {
        if let syn::Meta::NameValue(meta) = &attribute.meta
            && let syn::Expr::Lit(value) = &meta.value
            && let syn::Lit::Str(text) = &value.lit
        {
            let file = parent.with_file_name("").join(text.value());
            let below = file.with_file_name("");
            return Ok((file, below));
        }
    }
    let below = folder.join(name);
    let beside = folder.join(format!("{name}.rs"));
    let file = if beside.is_file() {
        beside
    } else {
        below.join("mod.rs")
    };
    Ok((file, below))
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && matches!(&attribute.meta, syn::Meta::List(list)
                    if list.tokens.to_string() == "test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
