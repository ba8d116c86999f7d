//! What advice is made of: values that bind and are above what is used, and commands that mean what they say
//! whatever a cgroup is called. Pure.
//!
//! Invariant: no text from outside is an option or leads out of the hierarchy. Where a name or a path could,
//! there is no command.

use std::os::unix::ffi::OsStrExt;

use crate::escape;

/// The longest path that a command is written for (PATH_MAX of the kernel).
const LONGEST_PATH: usize = 4096;
/// The least that a container or a service is given: what small ones of the common runtimes start with,
/// several times over.
pub const LEAST: u64 = 512;
/// A limit is set to so many times what is used.
const ROOM: u64 = 4;

/// A file of a cgroup as a shell takes it; `path` is from the hierarchy's root.
pub fn file(mount: &std::path::Path, path: &[u8], name: &str) -> Option<String> {
    let mount = mount.as_os_str().as_bytes();
    let is_plain = |part: &[u8]| part != b".." && part != b"." && !part.contains(&0);
    let is_path = path.starts_with(b"/") && path.split(|&byte| byte == b'/').all(is_plain);
    if !is_path || mount.len() + path.len() > LONGEST_PATH {
        return None;
    }
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let full = [mount, path, b"/", name.as_bytes()].concat();
    Some(escape::for_shell(&full))
}

/// A name as a shell takes it, for behind `--`.
pub fn word(name: &str) -> Option<String> {
    let is_option = name.starts_with('-');
    (!name.is_empty() && !is_option).then(|| escape::for_shell(name.as_bytes()))
}

/// The systemd unit whose cgroup this is, as a shell takes it. systemd puts units into slices and nothing else;
/// what stands below a unit or a container has the name that somebody inside chose.
pub fn unit(path: &[u8]) -> Option<String> {
    let mut parts = path.strip_prefix(b"/")?.rsplit(|&byte| byte == b'/');
    let name = str::from_utf8(parts.next()?).ok()?;
    let kinds = [".service", ".slice", ".scope"];
    // The kubelet's and the runtimes' own: they write the limit again.
    let is_theirs = |part: &[u8]| part.windows(8).any(|word| word == b"kubepods");
    let is_unit = kinds.iter().any(|kind| name.ends_with(kind))
        && parts.all(|part| part.ends_with(b".slice"))
        && !is_theirs(path);
    if is_unit { word(name) } else { None }
}

/// Whether a cgroup is a Kubernetes pod's: `/kubepods/burstable/pod<uid>` (cgroupfs driver) or
/// `.../kubepods-burstable-pod<uid>.slice` (systemd driver); cgroup_manager_linux.go of the kubelet.
pub fn is_pod(path: &[u8]) -> bool {
    let text = String::from_utf8_lossy(path);
    let mut parts = text.rsplit('/');
    let Some(name) = parts.next() else {
        return false;
    };
    let below_kubepods = parts.any(|part| part == "kubepods" || part == "kubepods.slice");
    below_kubepods
        && (name.starts_with("pod")
            || name.starts_with("kubepods") && name.contains("-pod") && name.ends_with(".slice"))
}

/// A limit for somebody who uses so much: several times that, and never so much that two of them fill the
/// `bound` above. `None` where there is no such value: it must be above what is used and below the bound.
pub fn allowance(usage: u64, bound: u64) -> Option<u64> {
    let wanted = usage
        .saturating_mul(ROOM)
        .max(LEAST)
        .checked_next_power_of_two()?;
    let most = (bound / 2).max(usage + bound.saturating_sub(usage) / 2);
    let value = wanted.min(most);
    (value > usage && value < bound).then_some(value)
}

/// A higher limit where one of `max` is too low for `wanted` tasks: twice as much as either.
pub fn raised(max: u64, wanted: u64) -> u64 {
    let twice = max.max(wanted).saturating_mul(2);
    // Who may create nothing at all was not meant to.
    if max == 0 { twice.max(LEAST) } else { twice }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_path_stays_in_the_hierarchy() {
        let file = |path: &[u8]| file(Path::new("/cg"), path, "pids.max");
        assert_eq!(file(b"/a/b").unwrap(), "/cg/a/b/pids.max");
        assert_eq!(file(b"/").unwrap(), "/cg/pids.max");
        assert_eq!(file(b"/a b/-x/..c").unwrap(), "'/cg/a b/-x/..c/pids.max'");
        assert_eq!(file(b"/$(id)").unwrap(), "'/cg/$(id)/pids.max'");
        for bad in [&b"/../etc"[..], b"/a/..", b"/a/../b", b"a", b"", b"/a\0b"] {
            assert_eq!(file(bad), None, "{bad:?}");
        }
        assert_eq!(file(&[b"/".to_vec(), vec![b'x'; 4096]].concat()), None);
    }

    #[test]
    fn only_systemd_names_a_unit() {
        let unit = |path: &str| unit(path.as_bytes());
        assert_eq!(unit("/system.slice/a b.service").unwrap(), "'a b.service'");
        assert_eq!(
            unit("/user.slice/user-1000.slice").unwrap(),
            "user-1000.slice"
        );
        for none in [
            "/docker/0123/ssh.service",
            "/system.slice/docker-0123.scope/ssh.service",
            "/user.slice/user-1.slice/user@1.service/app.slice/x.service",
            "/kubepods.slice/kubepods-pod12.slice",
            "/system.slice/-x.service",
            "/a",
            "/",
        ] {
            assert_eq!(unit(none), None, "{none}");
        }
    }

    #[test]
    fn an_option_is_no_name() {
        assert_eq!(word("web-1").unwrap(), "web-1");
        assert_eq!(word("a b").unwrap(), "'a b'");
        assert_eq!(word("--all"), None);
        assert_eq!(word(""), None);
    }

    #[test]
    fn an_allowance_is_above_what_is_used_and_binds() {
        assert_eq!(allowance(20, 100_000), Some(512));
        assert_eq!(allowance(300, 100_000), Some(2048));
        assert_eq!(allowance(20, 150), Some(85));
        assert_eq!(allowance(1499, 1500), None);
        for (usage, bound) in [
            (0, 1),
            (0, 2),
            (5, 6),
            (700, 1000),
            (u64::MAX / 2, u64::MAX),
        ] {
            if let Some(value) = allowance(usage, bound) {
                assert!(
                    value > usage && value < bound,
                    "{value} of {usage}, {bound}"
                );
            }
        }
    }

    #[test]
    fn a_raised_limit_is_above_all_that_was_wanted() {
        assert_eq!(raised(100, 95), 200);
        assert_eq!(raised(5, 10), 20);
        assert_eq!(raised(0, 1), 512);
    }
}
