//! The Debian mirror that this host uses, for reading suites which the host itself does not.
//!
//! In: the host's apt configuration. Out: apt commands that know one other suite and keep what they
//! fetch in a folder given. No mirror is named in here: which one may be used, the host knows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Base addresses of the archives.
pub struct Mirror {
    main: String,
    security: Option<String>,
    /// This host's own suite.
    codename: String,
}

/// An apt with a state and sources of its own.
pub struct Apt {
    folder: PathBuf,
}

impl Mirror {
    /// The archives that this host installs from.
    pub fn of_this_host() -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let value = |key: &str| {
            let line = release
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        if value("ID") != "debian" {
            bail!(
                "what is fetched for other kernels and CPUs are Debian's packages, found through a \
                 Debian host's mirror, and this host is no Debian (a kernel can be put into its \
                 folder by hand: a vmlinuz and a file version)"
            );
        }
        let mut targets = Command::new("apt-get");
        targets.args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE)",
            "Created-By: Packages",
        ]);
        Self::from_targets(&process::output(&mut targets)?, &value("VERSION_CODENAME"))
    }

    fn from_targets(targets: &str, codename: &str) -> Result<Self> {
        let uri_of = |wanted: &dyn Fn(&str) -> bool| {
            let mut lines = targets.lines().filter_map(|line| line.split_once(' '));
            lines
                .find(|(_, release)| wanted(release))
                .map(|(uri, _)| uri.to_owned())
        };
        let aliases = [
            codename,
            "stable",
            "oldstable",
            "testing",
            "unstable",
            "sid",
        ];
        Ok(Self {
            main: uri_of(&|release| aliases.contains(&release)).with_context(|| {
                format!("this host's apt sources name no mirror of Debian {codename}")
            })?,
            codename: codename.to_owned(),
            security: uri_of(&|release| {
                release
                    .strip_suffix("-security")
                    .is_some_and(|suite| aliases.contains(&suite))
            }),
        })
    }

    /// An apt that knows this host's own suite, apart from the host's state.
    pub fn open_here(&self, folder: &Path) -> Result<Apt> {
        self.open(folder, &self.codename, self.security.is_some())
    }

    /// An apt that knows `suite` alone, with fresh lists, which keeps its files in `folder`.
    pub fn open(&self, folder: &Path, suite: &str, has_security: bool) -> Result<Apt> {
        let mut sources = format!("deb [signed-by={KEYRING}] {} {suite} main\n", self.main);
        if let Some(security) = self.security.as_ref().filter(|_| has_security) {
            sources += &format!("deb [signed-by={KEYRING}] {security} {suite}-security main\n");
        }
        let apt = Apt {
            folder: folder.to_path_buf(),
        };
        let prepare = || {
            fs::create_dir_all(folder.join("lists/partial"))?;
            fs::create_dir_all(folder.join("cache/archives/partial"))?;
            fs::write(folder.join("status"), "")?;
            fs::write(folder.join("sources.list"), sources)
        };
        prepare().with_context(|| format!("cannot prepare {}", folder.display()))?;
        eprintln!("xtask: reading the package lists of {suite}");
        process::run(apt.command("apt-get").args(["--quiet", "update"]))?;
        Ok(apt)
    }
}

/// Unpacks the packages that lie in a folder; nothing is installed and no script of theirs runs.
pub fn extract(debs: &Path, into: &Path) -> Result<()> {
    let entries = fs::read_dir(debs).with_context(|| format!("cannot list {}", debs.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut extract = Command::new("dpkg-deb");
            process::run(extract.arg("--extract").arg(path).arg(into))?;
        }
    }
    Ok(())
}

impl Apt {
    /// Fetches a package with all that it depends on, and unpacks them.
    pub fn extract_with_dependencies(&self, package: &str, into: &Path) -> Result<()> {
        let mut fetch = self.command("apt-get");
        fetch.args([
            "--quiet",
            "--yes",
            "--no-install-recommends",
            "--download-only",
            "install",
            package,
        ]);
        process::run(&mut fetch)?;
        extract(&self.folder.join("cache/archives"), into)
    }

    /// `apt-get` or `apt-cache` on this apt's state.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let settings = [
            ("Dir::Etc::SourceList", self.folder.join("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".into()),
            ("Dir::State::Lists", self.folder.join("lists")),
            // Nothing is installed here: only the suite's own packages are to be seen.
            ("Dir::State::Status", self.folder.join("status")),
            ("Dir::Cache", self.folder.join("cache")),
            ("Acquire::Languages", "none".into()),
            (
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false".into(),
            ),
            // What root starts would fetch as a user that cannot write into root's cache.
            ("APT::Sandbox::User", "root".into()),
            ("APT::Architecture", "amd64".into()),
        ];
        for (key, value) in settings {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_hosts_own_suites() {
        let targets = "https://tools.example/apt nodistro\n\
                       http://mirror.example/debian/ bookworm\n\
                       http://mirror.example/debian/ bookworm-updates\n\
                       http://mirror.example/security/ bookworm-security\n";
        let mirror = Mirror::from_targets(targets, "bookworm").expect("a mirror");
        assert_eq!(mirror.main, "http://mirror.example/debian/");
        assert_eq!(
            mirror.security.as_deref(),
            Some("http://mirror.example/security/")
        );
        assert!(Mirror::from_targets(targets, "trixie").is_err());
    }
}
