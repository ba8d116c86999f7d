//! The Debian mirror that this host uses, for reading suites which the host itself does not.
//!
//! In: the host's apt configuration. Out: an [`Apt`] that knows one suite alone. No mirror is named
//! in here: which one may be used, the host knows.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Apt;
use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Base addresses of the archives.
pub struct Mirror {
    main: String,
    security: Option<String>,
    /// This host's own suite.
    codename: String,
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

    /// The address of the main archive.
    pub fn main(&self) -> &str {
        &self.main
    }

    /// The lines of a list of sources for a suite with its security suite.
    pub fn sources(&self, suite: &str) -> String {
        self.source(suite) + &self.security(suite)
    }

    /// The same for a suite of the main archive alone.
    pub fn source(&self, suite: &str) -> String {
        format!("deb [signed-by={KEYRING}] {} {suite} main\n", self.main)
    }

    fn security(&self, suite: &str) -> String {
        let line =
            |security| format!("deb [signed-by={KEYRING}] {security} {suite}-security main\n");
        self.security.as_ref().map(line).unwrap_or_default()
    }

    /// An apt that knows this host's own suite, apart from the host's state.
    pub fn open_here(&self, folder: &Path) -> Result<Apt> {
        self.open(folder, &self.codename, self.security.is_some())
    }

    /// An apt that knows `suite` alone, with fresh lists, which keeps its files in `folder`.
    pub fn open(&self, folder: &Path, suite: &str, has_security: bool) -> Result<Apt> {
        let mut sources = self.source(suite);
        if has_security {
            sources += &self.security(suite);
        }
        let apt = Apt::of_one_suite(folder, &sources)
            .with_context(|| format!("cannot prepare {}", folder.display()))?;
        eprintln!("xtask: reading the package lists of {suite}");
        process::run(apt.command("apt-get").args(["--quiet", "update"]))?;
        Ok(apt)
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
