//! `cargo xtask dist`: what is given to others.
//!
//! In: the sources. Out, in `target/dist`, for each CPU architecture a static binary in a tarball with
//! everything that belongs to it; an image of both as an OCI layout, which takes neither a registry nor
//! a container engine to make; the chart; a list of all that is linked in; checksums.
//!
//! Invariant: the same commit and toolchain give the same bytes: times are the commit's, orders fixed.

pub mod arch;
mod archive;
mod cross;
mod image;
mod licences;
mod release;
mod sbom;
pub mod target;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{process, setup, workspace};
use arch::Arch;
use archive::Tar;
use release::{Binary, Release, digest, read};

/// What to make.
#[derive(clap::Args)]
pub struct Options {
    /// CPU architectures
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "x86-64,arm64"
    )]
    arch: Vec<Arch>,
}

/// Makes everything.
pub fn dist(options: &Options) -> Result<ExitCode> {
    make(&options.arch)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes everything for this machine's CPU architecture, to be tested: the folder.
pub fn for_host() -> Result<PathBuf> {
    make(&[Arch::of_host()?])?;
    Ok(folder())
}

/// The image in the folder of what was made.
pub fn image(folder: &Path) -> PathBuf {
    folder.join(format!("pidwatch-{}.oci.tar", env!("CARGO_PKG_VERSION")))
}

fn make(arches: &[Arch]) -> Result<()> {
    setup::setup()?;
    let release = Release {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: commit_time()?,
    };
    let folder = folder();
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;

    let mut arches = arches.to_vec();
    arches.sort_unstable();
    arches.dedup();
    let pages = Pages::of(&target::build(Arch::of_host()?)?)?;
    let mut binaries = Vec::new();
    let mut made = Vec::new();
    for arch in arches {
        let program = target::build(arch)?;
        let packages = sbom::packages(arch)?;
        let list = sbom::list(&release, arch, &packages)?;
        let name = format!("pidwatch-{}-{}.cdx.json", release.version, arch.name());
        made.push(write(&folder, &name, list.as_bytes())?);
        let binary = Binary {
            arch,
            program: fs::read(&program)
                .with_context(|| format!("cannot read {}", program.display()))?,
            licences: licences::texts(&packages)?,
        };
        let tarball = tarball(&release, &binary, &pages, &list)?;
        let name = format!("pidwatch-{}-linux-{}.tar.gz", release.version, arch.name());
        made.push(write(&folder, &name, &tarball)?);
        binaries.push(binary);
    }
    let layout = image::layout(&release, &binaries)?;
    let name = format!("pidwatch-{}.oci.tar", release.version);
    made.push(write(&folder, &name, &layout)?);
    let name = format!("pidwatch-chart-{}.tgz", release.version);
    made.push(write(&folder, &name, &chart(&release)?)?);
    write(&folder, "SHA256SUMS", made.concat().as_bytes())?;
    eprintln!(
        "xtask: made in {}:\n{}",
        folder.display(),
        made.concat().trim_end()
    );
    Ok(())
}

/// Where everything is left.
fn folder() -> PathBuf {
    workspace::target_dir().join("dist")
}

/// Writes a file; its line for SHA256SUMS.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("{}  {name}\n", digest(bytes)))
}

/// By SOURCE_DATE_EPOCH (<https://reproducible-builds.org/specs/source-date-epoch>), else by the commit;
/// sources without git have none.
fn commit_time() -> Result<u64> {
    if let Ok(time) = std::env::var("SOURCE_DATE_EPOCH") {
        return time.parse().context("SOURCE_DATE_EPOCH is no number");
    }
    let mut git = Command::new("git");
    git.current_dir(workspace::root())
        .args(["log", "-1", "--format=%ct"]);
    let time = process::output(&mut git).unwrap_or_else(|_| "0".into());
    time.trim()
        .parse()
        .context("git tells no time of the commit")
}

/// What the program prints about itself.
struct Pages {
    man: Vec<u8>,
    completions: Vec<(&'static str, Vec<u8>)>,
}

impl Pages {
    /// Names of the completions in a tarball, each with its shell.
    const SHELLS: [(&str, &str); 3] = [
        ("completions/pidwatch.bash", "bash"),
        ("completions/_pidwatch", "zsh"),
        ("completions/pidwatch.fish", "fish"),
    ];

    fn of(program: &Path) -> Result<Self> {
        let print = |arguments: &[&str]| {
            let page = process::output(Command::new(program).args(arguments))?;
            anyhow::Ok(page.into_bytes())
        };
        let mut completions = Vec::new();
        for (name, shell) in Self::SHELLS {
            completions.push((name, print(&["completions", shell])?));
        }
        Ok(Self {
            man: print(&["man"])?,
            completions,
        })
    }
}

/// For a plain host: docs/install.md says where each file goes.
fn tarball(release: &Release, binary: &Binary, pages: &Pages, list: &str) -> Result<Vec<u8>> {
    let top = format!("pidwatch-{}", release.version);
    let mut tar = Tar::new(release.time);
    tar.file(&format!("{top}/pidwatch"), 0o755, &binary.program)?;
    tar.file(&format!("{top}/man/pidwatch.1"), 0o644, &pages.man)?;
    for (name, script) in &pages.completions {
        tar.file(&format!("{top}/{name}"), 0o644, script)?;
    }
    for (name, source) in [
        ("pidwatch.service", "deploy/systemd/pidwatch.service"),
        ("brake.conf", "deploy/systemd/brake.conf"),
        ("alerts.yaml", "deploy/chart/files/alerts.yaml"),
        ("dashboard.json", "deploy/chart/files/dashboard.json"),
        ("README.md", "README.md"),
        ("CHANGELOG.md", "CHANGELOG.md"),
        ("LICENSE-MIT", "LICENSE-MIT"),
        ("LICENSE-APACHE", "LICENSE-APACHE"),
    ] {
        let text = read(source)?;
        tar.file(&format!("{top}/{name}"), 0o644, &text)?;
    }
    let third_party = binary.licences.as_bytes();
    tar.file(
        &format!("{top}/LICENSES-THIRD-PARTY.txt"),
        0o644,
        third_party,
    )?;
    tar.file(&format!("{top}/sbom.cdx.json"), 0o644, list.as_bytes())?;
    tar.gzip()
}

/// The chart as `helm package` makes it.
fn chart(release: &Release) -> Result<Vec<u8>> {
    let root = workspace::root().join("deploy/chart");
    let mut tar = Tar::new(release.time);
    // Helm wants this one first.
    let mut names = vec!["Chart.yaml".to_owned()];
    for folder in ["", "files", "templates"] {
        let mut inside = Vec::new();
        for entry in fs::read_dir(root.join(folder)).context("cannot read deploy/chart")? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = entry.file_name().to_string_lossy().into_owned();
                inside.push(Path::new(folder).join(name).display().to_string());
            }
        }
        inside.retain(|name| name != "Chart.yaml");
        inside.sort();
        names.extend(inside);
    }
    for name in names {
        let text = read(&format!("deploy/chart/{name}"))?;
        tar.file(&format!("pidwatch/{name}"), 0o644, &text)?;
    }
    tar.gzip()
}
