//! CPU architectures.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What pidwatch is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Arch {
    #[value(name = "x86-64")]
    X86_64,
    Arm64,
}

impl Arch {
    /// This machine's.
    pub fn of_host() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Arm64),
            other => bail!("pidwatch is not made for {other}"),
        }
    }

    /// Name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    /// Name in images, Go's.
    pub fn oci(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Name of the compiler's target.
    pub fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The C compiler, which links.
    pub fn cc(self) -> Result<&'static str> {
        Ok(match self {
            _ if self == Self::of_host()? => "cc",
            Self::X86_64 => "x86_64-linux-gnu-gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        })
    }

    /// Version of the C library that is linked in.
    pub fn glibc(self) -> Result<String> {
        let cc = self.cc()?;
        let mut child = Command::new(cc)
            .args(["-E", "-P", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {cc}"))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(b"#include <features.h>\n__GLIBC__.__GLIBC_MINOR__\n")?;
        drop(stdin);
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if !output.status.success() || version.contains('_') {
            bail!("{cc} does not tell the version of its C library");
        }
        Ok(version)
    }
}
