//! tracefs without leaving anything mounted: the mounted one if there is any, otherwise a detached
//! mount of our own (`fsopen`, 5.2) that goes with its descriptor.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

/// Where tracefs is mounted, by custom.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

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
