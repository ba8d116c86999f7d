//! What runs a guest's instructions: the CPU itself, or QEMU's emulation of one.
//!
//! In: this machine. Out: which of the two works here, found by booting a kernel that says so and
//! switches off. /dev/kvm may open and yet not run a guest (nested virtualisation): the first boot then
//! hangs or dies, so it has a limit of its own.

use std::fs::OpenOptions;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::kernels::Kernel;
use crate::{process, programs};

/// What the kernel of a trial prints at its end.
const MARKER: &str = "pidwatch-guest: it runs";

/// Ten times what it takes where it works.
const LIMIT: Duration = Duration::from_secs(20);

/// What runs a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    Kvm,
    Emulation,
}

impl Accelerator {
    /// The faster one that works here.
    pub fn of_this_host(kernel: &Kernel, folder: &Path) -> Self {
        let device = OpenOptions::new().read(true).write(true).open("/dev/kvm");
        if device.is_err() {
            return Self::Emulation;
        }
        match Self::Kvm.boots(kernel, folder) {
            Ok(true) => Self::Kvm,
            Ok(false) => {
                eprintln!("xtask: /dev/kvm is there, but no guest boots in it: emulating");
                Self::Emulation
            }
            Err(error) => {
                eprintln!("xtask: emulating guests, since KVM cannot be tried: {error:#}");
                Self::Emulation
            }
        }
    }

    fn boots(self, kernel: &Kernel, folder: &Path) -> Result<bool> {
        let initramfs = folder.join("initramfs-trial.cpio");
        std::fs::write(&initramfs, trial()?)
            .with_context(|| format!("cannot write {}", initramfs.display()))?;
        let mut qemu = self.qemu()?;
        qemu.args(["-smp", "2", "-m", "256", "-serial", "stdio"])
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(&initramfs)
            .args(["-append", "console=ttyS0 quiet panic=-1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        process::end_with_parent(&mut qemu);
        let mut child = qemu.spawn().context("cannot start QEMU")?;
        let mut stdout = child.stdout.take().context("no standard output")?;
        let console = thread::spawn(move || {
            let mut console = Vec::new();
            let _ = stdout.read_to_end(&mut console);
            console
        });
        let began = Instant::now();
        while child.try_wait()?.is_none() {
            if began.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let console = console.join().unwrap_or_default();
        Ok(String::from_utf8_lossy(&console).contains(MARKER))
    }

    /// QEMU with what all guests share.
    pub fn qemu(self) -> Result<Command> {
        // One that was unpacked finds its firmware beside itself.
        let mut qemu = programs::find("qemu-system-x86_64")?.command();
        qemu.args(match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // One thread for all CPUs: with one each, a CPU may run the breakpoint by which the
            // kernel patches its code after the patch is done, and the kernel dies of it (seen:
            // "Oops: int3" at a tracepoint that was being switched on).
            Self::Emulation => ["-accel", "tcg,thread=single", "-cpu", "max"],
        });
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-nographic"]);
        Ok(qemu)
    }
}

/// What the kernel of a trial boots into.
fn trial() -> Result<Vec<u8>> {
    let busybox = programs::find("busybox")?.path;
    let mut archive = Archive::default();
    for folder in ["/bin", "/dev"] {
        archive.directory(folder);
    }
    archive.device("/dev/console", (5, 1));
    archive.file(
        "/bin/busybox",
        &std::fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?,
    );
    let init = format!("#!/bin/busybox sh\necho {MARKER}\nexec /bin/busybox poweroff -f\n");
    archive.file("/init", init.as_bytes());
    Ok(archive.finish())
}
