//! tracefs without leaving anything mounted: the mounted one if there is any, otherwise a detached
//! mount of our own (`fsopen`, 5.2) that goes with its descriptor.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

/// Where tracefs is mounted, by custom.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Group of the return probes that are made here.
const RETURN_PROBES: &str = "pidwatch";

/// An open root of tracefs.
pub struct Tracefs(OwnedFd);

impl Tracefs {
    /// Opens the mounted tracefs, or mounts one for this process alone.
    ///
    /// # Errors
    /// When it is neither mounted nor may be mounted; the text names both and the fix.
    pub fn open() -> Result<Self, String> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut refused = None;
        for place in PLACES {
            let open = || {
                let root = openat(CWD, place, directory, Mode::empty())?;
                openat(&root, "events", directory, Mode::empty()).map(|_| root)
            };
            match open() {
                Ok(root) => return Ok(Self(root)),
                Err(Errno::ACCESS) => refused = Some(place),
                Err(_) => {}
            }
        }
        Self::mount().map(Self).map_err(|error| match refused {
            Some(place) => format!(
                "tracefs at {place} may not be read by this user; run as root, or with \
                 CAP_DAC_READ_SEARCH"
            ),
            None => format!(
                "tracefs is not mounted at {} and cannot be mounted here: {error}; run `mount -t \
                 tracefs none {}`, or run as root with CAP_SYS_ADMIN",
                PLACES[0], PLACES[0]
            ),
        })
    }

    fn mount() -> io::Result<OwnedFd> {
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        Ok(fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            attributes,
        )?)
    }

    /// The number by which `perf_event_open(2)` knows a tracepoint.
    ///
    /// # Errors
    /// When the kernel has no such tracepoint.
    pub fn id(&self, category: &str, name: &str) -> Result<u64, String> {
        let text = self.read(&format!("events/{category}/{name}/id"))?;
        text.trim()
            .parse()
            .map_err(|_| format!("tracepoint {category}/{name} has no number"))
    }

    /// Layout of a tracepoint's record.
    ///
    /// # Errors
    /// When the kernel has no such tracepoint.
    pub fn format(&self, category: &str, name: &str) -> Result<String, String> {
        self.read(&format!("events/{category}/{name}/format"))
    }

    /// Makes a return probe on a kernel function, with room for so many calls at a time. It goes when
    /// the value does.
    ///
    /// # Errors
    /// When there is no such function, or tracefs may not be written.
    pub fn return_probe(&self, function: &str, room: u32) -> Result<ReturnProbe, String> {
        let root = self
            .0
            .try_clone()
            .map_err(|error| format!("cannot use tracefs: {error}"))?;
        let name = format!("{function}_{}", std::process::id());
        // One that was left behind by a process of this number that was killed.
        let _ = self.undefine(&name);
        self.define(&format!("r{room}:{RETURN_PROBES}/{name} {function}"))
            .map_err(|error| format!("cannot make a return probe on {function}: {error}"))?;
        Ok(ReturnProbe {
            root: Self(root),
            name,
        })
    }

    /// Removes return probes that processes left behind that were killed. Those in use stay: the
    /// kernel refuses.
    pub fn remove_stale_return_probes(&self) {
        let Ok(all) = self.read("kprobe_events") else {
            return;
        };
        for name in all.lines().filter_map(|line| {
            let (_, rest) = line.split_once(&format!(":{RETURN_PROBES}/"))?;
            rest.split_whitespace().next()
        }) {
            let _ = self.undefine(name);
        }
    }

    fn undefine(&self, name: &str) -> io::Result<()> {
        self.define(&format!("-:{RETURN_PROBES}/{name}"))
    }

    fn define(&self, line: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
        let file = openat(&self.0, "kprobe_events", flags, Mode::empty())?;
        File::from(file).write_all(line.as_bytes())
    }

    fn read(&self, path: &str) -> Result<String, String> {
        let read = || -> io::Result<String> {
            let file = openat(
                &self.0,
                path,
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let mut text = String::new();
            File::from(file).read_to_string(&mut text)?;
            Ok(text)
        };
        read().map_err(|error| format!("cannot read tracefs {path}: {error}"))
    }
}

/// A return probe on a kernel function, as a tracepoint of its own.
pub struct ReturnProbe {
    root: Tracefs,
    name: String,
}

impl ReturnProbe {
    /// The number by which `perf_event_open(2)` knows it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn id(&self) -> Result<u64, String> {
        self.root.id(RETURN_PROBES, &self.name)
    }

    /// Returns of the function that it was not there for, all its room being taken.
    pub fn missed(&self) -> Option<u64> {
        // `  name   hits   misses`
        let profile = self.root.read("kprobe_profile").ok()?;
        profile.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == self.name).then(|| words.nth(1)?.parse().ok())?
        })
    }
}

impl Drop for ReturnProbe {
    fn drop(&mut self) {
        if let Err(error) = self.root.undefine(&self.name) {
            tracing::warn!("the return probe {} stays behind: {error}", self.name);
        }
    }
}
