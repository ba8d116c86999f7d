//! Other programs: run them, read them, run them as root.
//!
//! Chatter of the programs goes to standard error, so that the standard output of `cargo xtask
//! run` is pidwatch's alone.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A cargo command in the workspace, of the version that runs xtask.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::workspace::root());
    command
}

/// Runs to the end; what the program prints is shown on standard error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(to_stderr()?)
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status}), see above", shown(command));
    }
    Ok(())
}

/// Runs to the end; what the program prints on standard output is the answer. Its standard error
/// is part of the error, and else dropped.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed ({}): {}",
            shown(command),
            output.status,
            stderr.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// This process's standard error, to be another's standard output.
pub fn to_stderr() -> Result<Stdio> {
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    Ok(Stdio::from(
        stderr.context("cannot duplicate standard error")?,
    ))
}

/// The command line as a person would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Where a program is, by PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // A user's PATH often leaves out the folders of the administrator's programs.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether this process may do everything that root may.
pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether [`as_root`] has a way: with sudo, only when it asks for no password or can be answered.
pub fn can_be_root() -> bool {
    let sudo_lets_in =
        || io::stdin().is_terminal() || output(Command::new("sudo").args(["-n", "true"])).is_ok();
    is_root() || (find("sudo").is_some() && sudo_lets_in())
}

/// A command that runs as root, by sudo where that is needed. The variables named in `keep` are
/// passed on, which sudo by itself would not do.
pub fn as_root(program: impl AsRef<OsStr>, keep: &[(String, String)]) -> Result<Command> {
    let mut command;
    if is_root() {
        command = Command::new(program);
        command.envs(keep.iter().map(|(name, value)| (name, value)));
    } else if can_be_root() {
        command = Command::new("sudo");
        command.arg("--").arg("env");
        command.args(keep.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(program);
    } else {
        bail!(
            "{} needs root, and sudo is not there or wants a password; run this as root",
            Path::new(program.as_ref()).display()
        );
    }
    Ok(command)
}

/// Ties a program to this process, so that a killed run leaves none behind.
pub fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
}
