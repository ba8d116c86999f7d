//! PID and user namespaces of processes: whose limits a task counts against besides its own.
//!
//! In: the namespace files of /proc, and for a namespace's `pid_max` a process that is started inside of it
//! for a moment, since the file says that of whoever reads it.

use std::{
    ffi::{CString, OsString},
    fs::{self, File},
    io::{self, Read},
    iter,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{ffi::OsStringExt, fs::MetadataExt},
    },
    path::Path,
    time::{Duration, Instant},
};

use hashbrown::HashMap;

use crate::limits::survey::{PidNamespaceLimits, Survey};

/// Inode numbers of the initial namespaces (`PROC_USER_INIT_INO` and `PROC_PID_INIT_INO`,
/// include/linux/proc_ns.h).
pub const INITIAL_USER: u32 = 0xEFFF_FFFD;
const INITIAL_PID: u32 = 0xEFFF_FFFC;
/// `NS_GET_PARENT` and `NS_GET_OWNER_UID` of include/uapi/linux/nsfs.h.
const NS_GET_PARENT: libc::c_ulong = 0xb702;
const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;
/// No namespace lies deeper (`MAX_PID_NS_LEVEL` of kernel/pid_namespace.c; of users' 33).
const DEEPEST: usize = 40;
/// Time for starting processes in PID namespaces: some half a millisecond each.
const TIME: Duration = Duration::from_millis(150);

/// Whether processes may be started to look: `check` may, what has to work without a free PID may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helpers {
    /// They may.
    Allowed,
    /// They may not.
    Forbidden,
}

/// The kind of a namespace, by its name in /proc/PID/ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    Pid,
    User,
}

impl Namespace {
    fn file(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::User => "user",
        }
    }
}

/// The inode number of a process's namespace, if that may be read.
pub fn of(proc_root: &Path, pid: u32, kind: Namespace) -> Option<u32> {
    let file = proc_root.join(format!("{pid}/ns/{}", kind.file()));
    let link = fs::read_link(file).ok()?;
    // `pid:[4026531836]`
    let number = link.to_str()?.rsplit_once('[')?.1.strip_suffix(']')?;
    number.parse().ok()
}

/// A user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserSpace {
    /// Who made it, in the initial user namespace.
    pub owner: u32,
    /// The one it was made in.
    pub parent: u32,
}

/// Tasks of users.
#[derive(Debug, Default)]
pub struct Users {
    spaces: HashMap<u32, Option<UserSpace>>,
    /// By user namespace and user.
    tasks: HashMap<(u32, u32), u64>,
    /// Of processes whose user namespace could not be read.
    unplaced: u64,
}

impl Users {
    /// Counts the tasks of a process. `space` reads a user namespace that was not met before.
    pub fn count(
        &mut self,
        uid: u32,
        tasks: u64,
        in_space: Option<u32>,
        mut space: impl FnMut(u32) -> Vec<(u32, UserSpace)>,
    ) {
        let Some(in_space) = in_space else {
            self.unplaced += 1;
            *self.tasks.entry((INITIAL_USER, uid)).or_default() += tasks;
            return;
        };
        let (mut at, mut uid) = (in_space, uid);
        for _ in 0..DEEPEST {
            *self.tasks.entry((at, uid)).or_default() += tasks;
            if at == INITIAL_USER {
                return;
            }
            if !self.spaces.contains_key(&at) {
                let known = space(at).into_iter().map(|(at, space)| (at, Some(space)));
                self.spaces.insert(at, None);
                self.spaces.extend(known);
            }
            let Some(UserSpace { owner, parent }) = self.spaces[&at] else {
                // It may not be looked at, or pidwatch is in it itself.
                self.unplaced += 1;
                return;
            };
            (at, uid) = (parent, owner);
        }
    }

    /// Tasks that count for a user: at the level where there are the most.
    pub fn tasks(&self, uid: u32) -> u64 {
        let all = self.tasks.iter().filter(|((_, of), _)| *of == uid);
        all.map(|(_, tasks)| *tasks).max().unwrap_or(0)
    }

    /// Processes whose user namespace could not be read: they may count for other users as well.
    pub fn unplaced(&self) -> u64 {
        self.unplaced
    }
}

/// The user namespace of a process and those above it, as far as they may be read.
pub fn user_spaces(proc_root: &Path, pid: u32) -> Vec<(u32, UserSpace)> {
    let mut found = Vec::new();
    let Ok(mut space) = File::open(proc_root.join(format!("{pid}/ns/user"))) else {
        return found;
    };
    while found.len() < DEEPEST
        && let (Ok(inum), Ok(owner), Ok(parent)) = (inum(&space), owner(&space), parent(&space))
        && let Ok(above) = self::inum(&parent)
    {
        found.push((
            inum,
            UserSpace {
                owner,
                parent: above,
            },
        ));
        if above == INITIAL_USER {
            break;
        }
        space = parent;
    }
    found
}

/// The tasks of PID namespaces other than pidwatch's own.
#[derive(Debug, Default)]
pub struct PidSpaces {
    own: Option<u32>,
    spaces: HashMap<u32, PidSpace>,
}

#[derive(Debug)]
struct PidSpace {
    pid: u32,
    comm: Vec<u8>,
    tasks: u64,
}

impl PidSpaces {
    /// `own` is pidwatch's, whose `pid_max` is read as that of the node.
    pub fn new(own: Option<u32>) -> Self {
        Self {
            own,
            spaces: HashMap::new(),
        }
    }

    /// Counts the tasks of a process.
    pub fn count(&mut self, inum: u32, pid: u32, comm: &[u8], tasks: u64) {
        if inum == INITIAL_PID || Some(inum) == self.own {
            return;
        }
        let space = self.spaces.entry(inum).or_insert_with(|| PidSpace {
            pid,
            comm: comm.to_vec(),
            tasks: 0,
        });
        space.tasks += tasks;
        if pid < space.pid {
            (space.pid, space.comm) = (pid, comm.to_vec());
        }
    }

    /// Reads the limits of all of them.
    pub fn read(self, survey: &mut Survey, proc_root: &Path, helpers: Helpers) {
        if self.spaces.is_empty() {
            return;
        }
        if helpers == Helpers::Forbidden {
            survey.unseen.push(format!(
                "pid_max of {} PID namespaces: read by `pidwatch check` alone, which starts a process in each",
                self.spaces.len()
            ));
            return;
        }
        let files: HashMap<u32, File> = self
            .spaces
            .iter()
            .filter_map(|(&inum, space)| {
                let file = File::open(proc_root.join(format!("{}/ns/pid", space.pid))).ok()?;
                // Its first process may have ended, and its PID be another's.
                (self::inum(&file).ok()? == inum).then_some((inum, file))
            })
            .collect();
        let mut tasks: HashMap<u32, u64> = HashMap::new();
        for (&inum, space) in &self.spaces {
            for at in chain(inum, &files, self.own) {
                *tasks.entry(at).or_default() += space.tasks;
            }
        }
        let until = Instant::now() + TIME;
        let (mut unread, mut why) = (0, String::new());
        for (inum, space) in self.spaces {
            let inside = match files.get(&inum) {
                _ if Instant::now() >= until => Err(io::Error::other("it would take too long")),
                Some(file) => pid_max_inside(file, proc_root),
                None => continue,
            };
            let (pid_max, is_full) = match inside {
                Ok(Inside::PidMax(value)) => (Some(value), false),
                Ok(Inside::Full) => (None, true),
                Err(error) => {
                    unread += 1;
                    why = error.to_string();
                    continue;
                }
            };
            let node = survey.node.pid_max;
            if pid_max.is_some_and(|value| node.is_some_and(|node| value >= node)) {
                continue;
            }
            survey.pid_namespaces.push(PidNamespaceLimits {
                inum,
                tasks: tasks.get(&inum).copied().unwrap_or(space.tasks),
                pid_max,
                is_full,
                pid: space.pid,
                comm: space.comm,
            });
        }
        survey.pid_namespaces.sort_by_key(|space| space.inum);
        if unread > 0 {
            let text = format!("pid_max of {unread} PID namespaces: {why}; run as root");
            survey.unseen.push(text);
        }
    }
}

/// A PID namespace and those above it, without the initial one and pidwatch's own.
fn chain(inum: u32, files: &HashMap<u32, File>, own: Option<u32>) -> Vec<u32> {
    let is_inner = |inum: &u32| *inum != INITIAL_PID && Some(*inum) != own;
    let ancestors = files.get(&inum).into_iter().flat_map(ancestors);
    iter::once(inum)
        .chain(ancestors.take_while(is_inner))
        .collect()
}

/// The namespaces above one, the nearest first, as far as pidwatch may see them.
fn ancestors(space: &File) -> impl Iterator<Item = u32> {
    let files = iter::successors(parent(space).ok(), |file| parent(file).ok());
    files.map_while(|file| inum(&file).ok()).take(DEEPEST)
}

/// The PID namespaces that count the tasks of a process: its own and those above it, the innermost first, as
/// far as pidwatch may see them. Empty for a process that has ended or may not be looked at.
pub fn pid_namespaces_of(process: &Path) -> Vec<u32> {
    let Ok(space) = File::open(process.join("ns").join(Namespace::Pid.file())) else {
        return Vec::new();
    };
    let own = inum(&space).ok();
    own.into_iter().chain(ancestors(&space)).collect()
}

/// pidwatch's own PID namespace.
pub fn own_pid_space() -> Option<u32> {
    of(Path::new("/proc"), std::process::id(), Namespace::Pid)
}

fn inum(space: &File) -> io::Result<u32> {
    let number = space.metadata()?.ino();
    u32::try_from(number).map_err(io::Error::other)
}

fn parent(space: &File) -> io::Result<File> {
    // SAFETY: the request takes no argument and gives a new descriptor.
    let fd = unsafe { libc::ioctl(space.as_raw_fd(), NS_GET_PARENT) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

fn owner(space: &File) -> io::Result<u32> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the request writes a uid_t.
    let result = unsafe { libc::ioctl(space.as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(uid)
}

/// What a process inside of a PID namespace finds.
#[derive(Debug, PartialEq, Eq)]
enum Inside {
    PidMax(u64),
    /// It could not be started, and one outside could.
    Full,
}

/// Reads `pid_max` by a child in the namespace.
fn pid_max_inside(space: &File, proc_root: &Path) -> io::Result<Inside> {
    let file = proc_root.join("sys/kernel/pid_max");
    let file = CString::new(OsString::from(file).into_vec()).map_err(io::Error::other)?;
    let own = File::open("/proc/self/ns/pid")?;
    enter(space)?;
    let inside = read_by_child(&file);
    enter(&own)?;
    match inside {
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
            // Whether it is the namespace that refused.
            read_by_child(&file)?;
            Ok(Inside::Full)
        }
        inside => inside.map(Inside::PidMax),
    }
}

/// Where children come to be from now on.
fn enter(space: &File) -> io::Result<()> {
    // SAFETY: a descriptor of a namespace; the caller itself stays where it is.
    let result = unsafe { libc::setns(space.as_raw_fd(), libc::CLONE_NEWPID) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Starts a child that reads a number from a file and hands it over.
fn read_by_child(file: &CString) -> io::Result<u64> {
    let (mut reader, writer) = io::pipe()?;
    // SAFETY: the child makes system calls alone and ends; it allocates nothing and takes no lock.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        let mut buffer = [0u8; 32];
        // SAFETY: a path that ends with NUL, and a buffer of that size.
        unsafe {
            let fd = libc::open(file.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            let len = libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len());
            if len > 0 {
                libc::write(writer.as_raw_fd(), buffer.as_ptr().cast(), len as usize);
            }
            libc::_exit(0);
        }
    }
    drop(writer);
    let mut text = String::new();
    let read = reader.read_to_string(&mut text);
    // SAFETY: our own child; how it ended shows in what it wrote.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    read?;
    text.trim().parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        process::{Command, Stdio},
    };

    use super::*;

    const INNER: u32 = 7;
    const INNERMOST: u32 = 8;

    /// 1000 makes a namespace in which 100000 is root, and that one another.
    fn spaces(at: u32) -> Vec<(u32, UserSpace)> {
        let space = |owner, parent| UserSpace { owner, parent };
        match at {
            INNER => vec![(INNER, space(1000, INITIAL_USER))],
            INNERMOST => vec![
                (INNERMOST, space(100_000, INNER)),
                (INNER, space(1000, INITIAL_USER)),
            ],
            _ => Vec::new(),
        }
    }

    #[test]
    fn tasks_in_a_user_namespace_count_for_who_made_it_too() {
        let mut users = Users::default();
        users.count(1000, 20, Some(INITIAL_USER), spaces);
        users.count(100_000, 25, Some(INNER), spaces);
        users.count(1000, 5, Some(INNER), spaces);
        users.count(100_033, 10, Some(INNERMOST), spaces);
        assert_eq!(users.tasks(1000), 60);
        assert_eq!(users.tasks(100_000), 35);
        assert_eq!(users.tasks(100_033), 10);
        assert_eq!(users.unplaced(), 0);
    }

    #[test]
    fn who_cannot_be_placed_is_counted_as_such() {
        let mut users = Users::default();
        users.count(1000, 20, None, spaces);
        assert_eq!((users.tasks(1000), users.unplaced()), (20, 1));
        users.count(1000, 20, Some(99), spaces);
        assert_eq!((users.tasks(1000), users.unplaced()), (20, 2));
    }

    /// Ends with its input.
    const INNERMOST_SCRIPT: &str = "echo ready; exec cat";

    #[test]
    fn a_process_counts_in_every_pid_namespace_above_its_own() {
        let mut outer = Command::new("unshare")
            .args(["--user", "--map-root-user", "--pid", "--fork"])
            .args(["unshare", "--pid", "--fork", "sh", "-c", INNERMOST_SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        outer.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        let child = |pid: u32| -> u32 {
            let children = format!("/proc/{pid}/task/{pid}/children");
            fs::read_to_string(children)
                .unwrap()
                .trim()
                .parse()
                .unwrap()
        };
        let middle = child(outer.id());
        let process = |pid: u32| PathBuf::from(format!("/proc/{pid}"));
        let of = |pid| of(Path::new("/proc"), pid, Namespace::Pid).unwrap();
        let innermost = child(middle);
        assert_eq!(
            pid_namespaces_of(&process(innermost))[..3],
            [of(innermost), of(middle), own_pid_space().unwrap()]
        );
        drop(outer.stdin.take());
        outer.wait().unwrap();
        assert!(pid_namespaces_of(&process(innermost)).is_empty());
    }

    #[test]
    fn a_child_of_our_own_reads_what_we_read() {
        let file = CString::new("/proc/sys/kernel/pid_max").unwrap();
        let expected = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
        assert_eq!(
            read_by_child(&file).unwrap(),
            expected.trim().parse::<u64>().unwrap()
        );
        let missing = CString::new("/proc/sys/kernel/none").unwrap();
        assert!(read_by_child(&missing).is_err());
    }
}
