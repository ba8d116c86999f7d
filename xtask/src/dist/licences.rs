//! The licence texts of everything that is linked in: most licences want them given along.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::sbom::Package;

/// Beginnings of names of files with licences and notices.
const NAMES: [&str; 5] = ["license", "licence", "copying", "notice", "unlicense"];

/// All texts, each under the name of its package.
pub fn texts(packages: &[Package]) -> Result<String> {
    let mut all = String::from("Licences of what is linked into pidwatch, by package.\n");
    for package in packages {
        let _ = write!(
            all,
            "\n==== {} {} ({})\n",
            package.name, package.version, package.licence
        );
        let Some(folder) = &package.folder else {
            continue;
        };
        let mut files = Vec::new();
        for entry in
            fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.to_lowercase();
            if NAMES.iter().any(|start| name.starts_with(start)) && path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        for path in files {
            let text =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let text = String::from_utf8_lossy(&text);
            let _ = write!(all, "\n-- {name}\n\n{}\n", text.trim_end());
        }
    }
    Ok(all)
}
