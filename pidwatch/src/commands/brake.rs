//! `pidwatch brake` and `pidwatch release`.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use tracing::level_filters::LevelFilter;

use crate::{
    brake::{
        self, ActError, Applied, BrakeOptions, BrakeRequest, Braked, Candidate, ControlRequest,
        ControlResponse, FindError, HoldError, LeaseError, Leases, Protected, ReleaseError,
        Releases, ended_text, exhausted_above, in_force, protected,
    },
    cgroup::{self, Layout, LayoutError},
    cli::args::{BrakeArgs, HoldBrakeArgs, ReleaseArgs},
    escape,
    identity::Owner,
    node::{Roots, sockets},
    procfs::Proc,
    runtime::{self, diagnostics},
    survey::processes::cgroup_of,
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
    /// The agent refuses it.
    #[error("{0}")]
    Refused(String),
    /// Nothing to release.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// A brake cannot be released.
    #[error("{}", .0.join("; "))]
    NotReleased(Vec<String>),
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

/// Brakes an owner.
///
/// # Errors
/// When it cannot be found, is protected, or its limit cannot be written. If the limit was lowered all the same, the
/// brake is maintained until its end.
pub fn run(args: &BrakeArgs) -> Result<(), BrakeError> {
    diagnostics::init(false, LevelFilter::WARN);
    let options = BrakeOptions {
        owner: args.owner.clone(),
        at: args.at,
        lasts: args.lasts,
        dry_run: args.dry_run,
        never: args.never.clone(),
    };
    match brake::send(&args.roots.lease_dir, &ControlRequest::Brake(options)) {
        Some(ControlResponse::Braked(braked)) if args.dry_run => say(&would(&braked)),
        Some(ControlResponse::Braked(braked)) => say(&done(&braked, true)),
        Some(ControlResponse::Refused(reason)) => Err(BrakeError::Refused(reason)),
        // An agent that may not write, or none.
        Some(ControlResponse::Unable(_) | ControlResponse::Released(_)) | None => brake_here(args),
    }
}

fn brake_here(args: &BrakeArgs) -> Result<(), BrakeError> {
    let roots = &args.roots.absolute().map_err(BrakeError::Runtime)?;
    let layout = layout(roots)?;
    let runtime = runtime::single_threaded().map_err(BrakeError::Runtime)?;
    let sockets = sockets(&args.cri_socket);
    let owner = runtime.block_on(brake::find(&args.owner, &layout.mount, &sockets))?;
    drop(runtime);
    may_be_braked(&owner, args, &layout)?;
    let request = BrakeRequest::of(&owner, args.at, args.lasts);
    let request = request.ok_or_else(|| BrakeError::Path(owner.name()))?;
    let proc = Proc::new(&roots.proc_root);
    let braked = |applied: Applied| Braked {
        exhausted: exhausted_above(&layout.mount, &proc, applied.lease.path.as_bytes()),
        applied,
    };
    if args.dry_run {
        let leases = Leases::existing(&roots.lease_dir, &roots.proc_root)?;
        let applied = brake::would_apply(leases.as_ref(), &layout.mount, &request)?;
        return say(&would(&braked(applied)));
    }
    let leases = Leases::open(&roots.lease_dir, &roots.proc_root)?;
    // Started first: once the limit is written there may be no PID left.
    let holder = roots.start_holder(request.cgroup_id);
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
    let (said, outcome) = match applied {
        Ok(applied) => (say(&done(&braked(applied), is_left)), Ok(())),
        Err(error) => (Ok(()), Err(error)),
    };
    if !is_left {
        brake::hold(&leases, &layout.mount, request.cgroup_id, |ended| {
            let _ = say(&(ended_text(&request.owner, ended) + "\n"));
        })?;
    }
    outcome?;
    said
}

/// Releases one owner or all.
///
/// # Errors
/// When it is not braked, or its limit cannot be restored.
pub fn release(args: &ReleaseArgs) -> Result<(), BrakeError> {
    diagnostics::init(false, LevelFilter::WARN);
    let name = args.owner.clone().filter(|_| !args.all);
    let releases = match brake::send(
        &args.roots.lease_dir,
        &ControlRequest::Release(name.clone()),
    ) {
        Some(ControlResponse::Released(releases)) if releases.failed.is_empty() => releases,
        Some(ControlResponse::Refused(reason)) => return Err(BrakeError::Refused(reason)),
        // An agent that may not write, or none.
        response => {
            let layout = layout(&args.roots)?;
            let leases = Leases::existing(&args.roots.lease_dir, &args.roots.proc_root)?;
            let by_agent = match response {
                Some(ControlResponse::Released(releases)) => releases.released,
                _ => Vec::new(),
            };
            let mut releases = Releases::make(leases.as_ref(), name.as_deref(), |lease| {
                let leases = leases.as_ref().expect("a lease is in the folder");
                brake::release(leases, &layout.mount, lease.cgroup_id)
            })?;
            releases.released.splice(0..0, by_agent);
            releases
        }
    };
    let mut said = Ok(());
    for text in &releases.released {
        said = said.and(say(&format!("{text}\n")));
    }
    if releases.failed.is_empty() {
        said
    } else {
        Err(BrakeError::NotReleased(releases.failed))
    }
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

fn may_be_braked(owner: &Owner, args: &BrakeArgs, layout: &Layout) -> Result<(), BrakeError> {
    let path = owner.path.as_deref().unwrap_or_default();
    let caller = cgroup_of(&args.roots.proc_root, "self", layout.hierarchy_id);
    let names = owner.names.as_deref();
    let reason = protected(&Candidate {
        path,
        identity: &owner.identity,
        namespace: names.and_then(|names| names.namespace.as_deref()),
        is_static_pod: brake::is_static_pod(path),
        callers: &[caller.as_deref().unwrap_or_default()],
        listed: &args.never,
    });
    reason.map_or(Ok(()), |reason| {
        let owner = owner.name();
        Err(BrakeError::Protected { owner, reason })
    })
}

fn say(text: &str) -> Result<(), BrakeError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(BrakeError::Output(error)),
        _ => Ok(()),
    }
}

fn would(braked: &Braked) -> String {
    let text = braked.would() + "\n" + &warnings(braked);
    text + "nothing changed (dry run)\n"
}

fn done(braked: &Braked, is_left: bool) -> String {
    let Applied { lease, usage } = &braked.applied;
    let mut text = in_force(lease) + "\n";
    let _ = writeln!(
        text,
        "{usage} tasks keep running; new ones fail once there are {}",
        lease.limit()
    );
    text += &warnings(braked);
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

fn warnings(braked: &Braked) -> String {
    let warnings = braked.warnings().into_iter();
    warnings.map(|text| format!("warning: {text}\n")).collect()
}
