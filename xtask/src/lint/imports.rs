//! Imports point one way: no circle among the files of a crate, and in a library no import against
//! the order that ARCHITECTURE.md shows.
//!
//! In: the targets of the workspace, and the block ```` ```imports ```` of ARCHITECTURE.md. Out: an
//! error that lists every import of a circle or against the order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context, Result, bail};

use super::{
    cycles::cycles,
    modules::{Import, Modules},
};
use crate::{process, workspace};

/// Circles that are known: each named by its files, and all of them there. A list that only shrinks.
const KNOWN: [&[&str]; 0] = [];

/// A target of the workspace: its crate, whether it is the library, and its root file.
pub struct Target {
    /// Name of the package.
    pub package: String,
    /// It is the library of the package.
    pub is_library: bool,
    /// Where its modules begin.
    pub root: PathBuf,
}

/// Checks every target.
pub fn check() -> Result<()> {
    let root = workspace::root();
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let mut orders = orders(&page)?;
    let mut known: BTreeSet<Vec<PathBuf>> = KNOWN
        .iter()
        .map(|files| files.iter().map(PathBuf::from).collect())
        .collect();
    let mut broken = Vec::new();
    for target in targets()? {
        let modules = Modules::read(&target.root)?;
        let imports = modules.imports();
        let file = |path: &Vec<String>| {
            let file = &modules.0[path].file;
            file.strip_prefix(&root).unwrap_or(file).to_owned()
        };
        for circle in circles(&imports, file) {
            if !known.remove(&circle) {
                broken.push(told(&circle, &imports, file));
            }
        }
        if let Some(order) = orders.remove(&target.package).filter(|_| target.is_library) {
            let tops: BTreeSet<_> = modules.0.keys().filter_map(|path| path.first()).collect();
            broken.extend(unlisted(&order, &tops, &target.package));
            broken.extend(imports.iter().filter_map(|import| {
                let against = against(&order, import)?;
                let from = file(&import.from);
                Some(format!("{}:{}: {against}", from.display(), import.line))
            }));
        }
    }
    broken.extend(orders.keys().map(|package| {
        format!("ARCHITECTURE.md has an order for {package}, which has no library")
    }));
    broken.extend(
        known
            .iter()
            .map(|files| format!("no circle any more, take it off the list: {files:?}")),
    );
    if !broken.is_empty() {
        bail!("\n  {}", broken.join("\n  "));
    }
    Ok(())
}

/// The targets of the workspace's packages.
pub fn targets() -> Result<Vec<Target>> {
    let mut metadata = process::cargo();
    metadata.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let text = process::output(&mut metadata)?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let mut targets = Vec::new();
    for package in list(&metadata["packages"]) {
        let name = package["name"].as_str().context("a package has no name")?;
        for target in list(&package["targets"]) {
            let root = target["src_path"].as_str().context("a target is nowhere")?;
            targets.push(Target {
                package: name.to_owned(),
                is_library: list(&target["kind"]).iter().any(|kind| kind == "lib"),
                root: root.into(),
            });
        }
    }
    Ok(targets)
}

/// The circles among the files.
fn circles(imports: &[Import], file: impl Fn(&Vec<String>) -> PathBuf) -> Vec<Vec<PathBuf>> {
    let edges = imports
        .iter()
        .map(|import| (file(&import.from), file(&import.to)))
        .filter(|(from, to)| from != to);
    cycles(&edges.collect())
}

/// A circle, with what ties it.
fn told(circle: &[PathBuf], imports: &[Import], file: impl Fn(&Vec<String>) -> PathBuf) -> String {
    let mut text = format!("a circle of {} files:", circle.len());
    for import in imports {
        let (from, to) = (file(&import.from), file(&import.to));
        if from != to && circle.contains(&from) && circle.contains(&to) {
            text += &format!(
                "\n    {}:{} takes {} of {}",
                from.display(),
                import.line,
                import.name,
                to.display()
            );
        }
    }
    text
}

/// In which line of its crate's order a module stands, 0 for the first.
type Order = BTreeMap<String, usize>;

/// The orders by crate: a line `crate:`, and below it its modules from the top down. A module imports
/// only from lines below its own.
fn orders(page: &str) -> Result<BTreeMap<String, Order>> {
    let block = page
        .split_once("```imports\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .context("ARCHITECTURE.md has no block ```imports")?
        .0;
    let mut orders: BTreeMap<String, Order> = BTreeMap::new();
    let mut krate = None;
    for (number, line) in block.lines().enumerate() {
        if let Some(name) = line.strip_suffix(':') {
            krate = Some(name.to_owned());
            continue;
        }
        let name = krate.clone().context("the order begins with no crate")?;
        let order = orders.entry(name).or_default();
        for module in line.split_whitespace() {
            if order.insert(module.to_owned(), number).is_some() {
                bail!("{module} is twice in the order of ARCHITECTURE.md");
            }
        }
    }
    Ok(orders)
}

/// Modules that the order has and the crate has not, or the other way round.
fn unlisted(order: &Order, modules: &BTreeSet<&String>, package: &str) -> Vec<String> {
    let missing = modules
        .iter()
        .filter(|module| !order.contains_key(**module));
    let missing = missing.map(|module| {
        format!("{package}: the module {module} is not in the order of ARCHITECTURE.md")
    });
    let gone = order.keys().filter(|module| !modules.contains(module));
    let gone = gone.map(|module| {
        format!("{package}: the order of ARCHITECTURE.md has {module}, which is no module")
    });
    missing.chain(gone).collect()
}

/// What is wrong with an import, if it is against the order.
fn against(order: &Order, import: &Import) -> Option<String> {
    let (from, to) = (import.from.first()?, import.to.first()?);
    let is_below = order.get(to)? > order.get(from)?;
    (from != to && !is_below).then(|| {
        format!(
            "takes {} of {}, but {to} does not stand below {from} in ARCHITECTURE.md",
            import.name,
            import.to.join("::")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate of these files in a folder, read.
    fn read(files: &[(&str, &str)]) -> (tempfile::TempDir, Modules) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let modules = Modules::read(&folder.path().join("lib.rs")).unwrap();
        (folder, modules)
    }

    fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let (folder, modules) = read(files);
        let file = |path: &Vec<String>| {
            let file = &modules.0[path].file;
            file.strip_prefix(folder.path()).unwrap().to_owned()
        };
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        circles(&modules.imports(), file)
            .into_iter()
            .map(|circle| circle.into_iter().map(text).collect())
            .collect()
    }

    #[test]
    fn this_workspace_points_one_way() {
        check().unwrap();
    }

    #[test]
    fn two_files_that_use_each_other_are_a_circle() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "pub struct B; fn f(_: &crate::a::A) {}"),
        ];
        assert_eq!(circles_of(&files), [["a.rs", "b.rs"]]);
    }

    #[test]
    fn a_way_back_over_a_third_is_found_in_macros_and_functions() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "pub fn a() { use super::b; b::b(); }"),
            (
                "b.rs",
                "use crate::c; pub fn b() { println!(\"{}\", c::C) }",
            ),
            (
                "c.rs",
                "pub const C: u8 = 1; fn f() { assert!(super::a::a() == ()) }",
            ),
        ];
        assert_eq!(circles_of(&files), [["a.rs", "b.rs", "c.rs"]]);
    }

    #[test]
    fn a_parent_that_calls_what_needs_it_is_a_circle() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b; pub struct A; fn f() { b::b(A) }"),
            ("a/b.rs", "use super::A; pub fn b(_: A) {}"),
        ];
        assert_eq!(circles_of(&files), [["a/b.rs", "a/mod.rs"]]);
    }

    #[test]
    fn a_parent_that_only_passes_on_is_in_no_circle() {
        let files = [
            ("lib.rs", "mod a; use a::{B, C}; fn f(_: (B, C)) {}"),
            (
                "a/mod.rs",
                "mod b; mod c; pub struct A; pub use self::{b::B, c::*};",
            ),
            ("a/b.rs", "use super::{A, C}; pub struct B(A, C);"),
            ("a/c.rs", "pub struct C;"),
        ];
        assert!(circles_of(&files).is_empty());
        let (_folder, modules) = read(&files);
        let of_b = |import: &&Import| import.from == ["a", "b"];
        let imports = modules.imports();
        let taken: Vec<_> = imports.iter().filter(of_b).collect();
        // Through the parent, but of who defines it.
        assert_eq!(taken[0].to, ["a"]);
        assert_eq!(taken[1].to, ["a", "c"]);
    }

    #[test]
    fn tests_may_use_anything() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            (
                "b.rs",
                "pub struct B; #[cfg(test)] mod tests { use crate::a::A; } #[cfg(test)] mod far;",
            ),
        ];
        assert!(circles_of(&files).is_empty());
    }

    #[test]
    fn an_import_against_the_order_is_told() {
        let orders = orders("text\n```imports\nlib:\ntop side\nmiddle\nlow\n```\n").unwrap();
        let order = &orders["lib"];
        let import = |from: &str, to: &str| Import {
            from: vec![from.into()],
            to: vec![to.into(), "part".into()],
            name: "X".into(),
            line: 1,
        };
        for (from, to) in [("top", "middle"), ("top", "low"), ("low", "low")] {
            assert_eq!(against(order, &import(from, to)), None, "{from} {to}");
        }
        for (from, to) in [("low", "top"), ("top", "side"), ("middle", "top")] {
            let text = against(order, &import(from, to)).unwrap();
            assert!(text.contains("takes X of"), "{text}");
        }
    }

    #[test]
    fn the_order_has_every_module_and_no_other() {
        let orders = orders("```imports\nlib:\na b\n```").unwrap();
        let modules = ["a".to_owned(), "c".to_owned()];
        let broken = unlisted(&orders["lib"], &modules.iter().collect(), "lib");
        assert!(broken[0].contains("module c") && broken[1].contains("has b"));
        assert!(super::orders("no block").is_err());
        assert!(super::orders("```imports\nlib:\na\na\n```").is_err());
    }
}
