//! `pidwatch brake` and `pidwatch release`.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    brake::{
        self, ActError, Applied, BrakeRequest, Candidate, Ended, Ending, FindError, HoldError,
        Holder, Lease, LeaseError, Leases, Protected, protected,
    },
    cgroup::{self, Layout, LayoutError},
    cli::args::{BrakeArgs, HoldBrakeArgs, ReleaseArgs},
    clock::{BootTime, WallClock},
    escape,
    identity::Owner,
    node::{Roots, sockets},
    procfs::Proc,
    runtime,
    survey::processes::cgroup_of,
    values::about,
};

/// The brake could not be applied or released.
#[derive(Debug, thiserror::Error)]
pub enum BrakeError {
    /// The cgroup hierarchy.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// No pids controller.
    #[error("no hierarchy with the pids controller is mounted, so there is no pids.max to lower")]
    NoController,
    /// The async runtime cannot start.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// The owner cannot be found.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The owner is protected.
    #[error("refusing to brake {owner}: {reason}")]
    Protected {
        /// The owner.
        owner: String,
        /// The reason.
        reason: Protected,
    },
    /// The path is not UTF-8.
    #[error("the path of {0} is not UTF-8")]
    Path(String),
    /// No brake with this name.
    #[error("{}", not_braked(.name, .braked))]
    NotBraked {
        /// The name.
        name: String,
        /// The owners that are braked.
        braked: Vec<String>,
    },
    /// The limit cannot be changed.
    #[error(transparent)]
    Act(#[from] ActError),
    /// The leases cannot be used.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The brake cannot be maintained.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

fn not_braked(name: &str, braked: &[String]) -> String {
    let name = escape::for_terminal(name.as_bytes());
    if braked.is_empty() {
        return format!("`{name}` is not braked; no brake is in force");
    }
    format!("`{name}` is not braked; in force: {}", braked.join(", "))
}

/// Brakes an owner.
///
/// # Errors
/// When it cannot be found, is protected, or its limit cannot be written. If the limit was lowered all the same, the
/// brake is maintained until its end.
pub fn run(args: &BrakeArgs) -> Result<(), BrakeError> {
    let roots = &absolute(&args.roots)?;
    let layout = layout(roots)?;
    let runtime = runtime::single_threaded().map_err(BrakeError::Runtime)?;
    let sockets = sockets(&args.cri_socket);
    let owner = runtime.block_on(brake::find(&args.owner, &layout.mount, &sockets))?;
    drop(runtime);
    let path = may_be_braked(&owner, args, &layout)?;
    let request = BrakeRequest {
        cgroup_id: owner.id.0,
        path,
        owner: owner.name(),
        at: args.at,
        lasts: args.lasts,
        automatic: false,
    };
    let node = &Place {
        mount: layout.mount.clone(),
        proc: Proc::new(&roots.proc_root),
    };
    if args.dry_run {
        let leases = Leases::existing(&roots.lease_dir, &roots.proc_root)?;
        let applied = brake::would_apply(leases.as_ref(), &layout.mount, &request)?;
        return say(&would(&applied, node));
    }
    let leases = Leases::open(&roots.lease_dir, &roots.proc_root)?;
    // Started first: once the limit is written there may be no PID left.
    let holder = Holder::start(&arguments(roots), request.cgroup_id);
    let applied = brake::apply(&leases, &layout.mount, &request);
    // Whatever failed, a lease that is there is maintained until its end.
    if applied.is_err() && matches!(leases.load(request.cgroup_id), Ok(None)) {
        if let Ok(holder) = holder {
            holder.dismiss();
        }
        applied?;
        return Ok(());
    }
    let is_left = holder.is_ok();
    // From now on the holder maintains it.
    drop(holder);
    let said = match &applied {
        Ok(applied) => say(&done(applied, node, is_left)),
        Err(_) => Ok(()),
    };
    if !is_left {
        brake::hold(&leases, &layout.mount, request.cgroup_id, |ended| {
            let _ = say(&(ended_text(&request.owner, ended) + "\n"));
        })?;
    }
    applied?;
    said
}

/// Releases one owner or all.
///
/// # Errors
/// When it is not braked, or its limit cannot be restored.
pub fn release(args: &ReleaseArgs) -> Result<(), BrakeError> {
    let layout = layout(&args.roots)?;
    let none = |name: &str, braked: Vec<String>| BrakeError::NotBraked {
        name: name.to_owned(),
        braked,
    };
    let name = args.owner.as_deref().unwrap_or("");
    let leases = Leases::existing(&args.roots.lease_dir, &args.roots.proc_root)?;
    let Some(leases) = leases else {
        return if args.all {
            Ok(())
        } else {
            Err(none(name, Vec::new()))
        };
    };
    // What can be read is released; the exit status says that something could not.
    let mut outcome = Ok(());
    let all = leases.all(|error| outcome = Err(error.into()))?;
    let is_meant = |lease: &&Lease| args.all || lease.owner == name || lease.path == name;
    let meant: Vec<_> = all.iter().filter(is_meant).collect();
    if meant.is_empty() && !args.all {
        outcome?;
        let braked = all.iter().map(|lease| lease.owner.clone()).collect();
        return Err(none(name, braked));
    }
    // One that fails does not keep the others braked.
    for lease in meant {
        let released = brake::release(&leases, &layout.mount, lease.cgroup_id);
        let said = match released {
            Ok(ended) => say(&(ended_text(&lease.owner, &ended) + "\n")),
            Err(error) => Err(error.into()),
        };
        outcome = outcome.and(said);
    }
    outcome
}

/// `hold-brake`: the process that `brake` leaves behind.
///
/// # Errors
/// When it cannot maintain the brake.
pub fn wait(args: &HoldBrakeArgs) -> Result<(), BrakeError> {
    let layout = layout(&args.roots)?;
    let leases = Leases::open(&args.roots.lease_dir, &args.roots.proc_root)?;
    Ok(brake::wait_for_brake(&leases, &layout.mount)?)
}

fn layout(roots: &Roots) -> Result<Layout, BrakeError> {
    let layout = cgroup::detect(&roots.cgroup_root, &roots.proc_root)?;
    if layout.has_pids {
        Ok(layout)
    } else {
        Err(BrakeError::NoController)
    }
}

/// The path of an owner, unless it is protected.
fn may_be_braked(owner: &Owner, args: &BrakeArgs, layout: &Layout) -> Result<String, BrakeError> {
    let path = owner.path.as_deref().unwrap_or_default();
    let caller = cgroup_of(&args.roots.proc_root, "self", layout.hierarchy_id);
    let candidate = Candidate {
        path,
        identity: &owner.identity,
        namespace: owner
            .names
            .as_deref()
            .and_then(|names| names.namespace.as_deref()),
        is_static_pod: brake::is_static_pod(path),
        caller: caller.as_deref().unwrap_or_default(),
        listed: &args.never,
    };
    if let Some(reason) = protected(&candidate) {
        let owner = owner.name();
        return Err(BrakeError::Protected { owner, reason });
    }
    let text = String::from_utf8(path.to_vec());
    text.map_err(|_| BrakeError::Path(owner.name()))
}

/// The folders as the holder finds them, which runs in another one.
fn absolute(roots: &Roots) -> Result<Roots, BrakeError> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(BrakeError::Runtime);
    Ok(Roots {
        proc_root: absolute(&roots.proc_root)?,
        cgroup_root: absolute(&roots.cgroup_root)?,
        lease_dir: absolute(&roots.lease_dir)?,
    })
}

/// The command line of `hold-brake`.
fn arguments(roots: &Roots) -> [&OsStr; 7] {
    [
        "hold-brake".as_ref(),
        "--lease-dir".as_ref(),
        roots.lease_dir.as_os_str(),
        "--proc-root".as_ref(),
        roots.proc_root.as_os_str(),
        "--cgroup-root".as_ref(),
        roots.cgroup_root.as_os_str(),
    ]
}

/// Where limits are read.
struct Place {
    mount: PathBuf,
    proc: Proc,
}

fn say(text: &str) -> Result<(), BrakeError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(BrakeError::Output(error)),
        _ => Ok(()),
    }
}

fn would(applied: &Applied, node: &Place) -> String {
    let lease = &applied.lease;
    let mut text = format!(
        "would lower pids.max of {} from {} to {}; it has {} tasks\n",
        lease.owner,
        lease.before,
        lease.limit(),
        applied.usage
    );
    warn(&mut text, lease, node);
    text + "nothing changed (dry run)\n"
}

fn done(applied: &Applied, node: &Place, is_left: bool) -> String {
    let lease = &applied.lease;
    let until = WallClock::now().at(lease.until());
    let until = until
        .to_zoned(jiff::tz::TimeZone::system())
        .strftime("%H:%M:%S");
    let lasts = about(lease.until().since(BootTime::now()));
    let mut text = format!(
        "{} is braked: pids.max {} (was {}) until {until} ({lasts})\n\
         {} tasks keep running; new ones fail once there are {}\n",
        lease.owner,
        lease.limit(),
        lease.before,
        applied.usage,
        lease.limit()
    );
    warn(&mut text, lease, node);
    let end = if is_left {
        format!(
            "to end it early: pidwatch release {}\n",
            escape::for_shell(lease.owner.as_bytes())
        )
    } else {
        "no process can be created to restore the limit later; waiting here instead, Ctrl-C ends the brake\n".to_owned()
    };
    text + &end
}

/// Side effects, and what a brake cannot do.
fn warn(text: &mut String, lease: &Lease, node: &Place) {
    if let Some(full) = brake::exhausted_above(&node.mount, &node.proc, lease.path.as_bytes()) {
        let of = full.cgroup.as_deref();
        let of = of.map_or_else(String::new, |path| {
            format!(" of {}", escape::for_terminal(path))
        });
        let _ = writeln!(
            text,
            "warning: {}{of} ({}) is exhausted; a brake frees no PIDs, ending tasks of {} does",
            full.name, full.value, lease.owner
        );
    }
    text.push_str(
        "warning: exec probes in it fail while it is braked, and the kubelet may restart it\n",
    );
}

fn ended_text(owner: &str, ended: &Ended) -> String {
    match ended {
        Ended::Not(_) => format!("{owner} is still braked: {ended}"),
        Ended::SetBack(..) | Ended::Otherwise(Ending::Gone) | Ended::Earlier => {
            format!("{owner}: {ended}")
        }
        Ended::Restored(_) | Ended::Otherwise(Ending::Replaced(_)) => {
            format!("{owner} is released: {ended}")
        }
    }
}
