//! The agent's brake: stops proven leaks before a limit that others share is exhausted, and maintains the brakes that
//! other processes left behind.
//!
//! In: the detector's verdicts, open incidents, leases. Out: `brake` events, one for each change.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use tokio::time::Instant;

use super::{Node, NodeSettings, brakes::LeaseChange};
use crate::{
    brake::{
        ActError, Applied, AutomaticBrake, BrakeActor, BrakeMode, BrakePhase, BrakeRequest,
        Candidate, Ended, Ending, Keeper, Kept, Lease, PidsMax, Protected, is_static_pod,
        protected,
    },
    cgroup::{CgroupId, Layout},
    clock::BootTime,
    detect::{State, Verdict},
    identity::{Owner, identify},
    limits::{FailedClone, LimitOwner},
    policy::{Decision, Spared, Suspect, decide},
    stream::{BrakeEvent, Event, Line},
    survey::processes::cgroup_of,
    values::about,
};

/// How often leases are looked for that no live process maintains.
const ADOPT_EVERY: Duration = Duration::from_secs(10);

/// The automatic brake, and the leases that this process maintains.
pub(super) struct Braking {
    settings: AutomaticBrake,
    pub(super) keeper: Keeper,
    /// Cgroup of this process.
    caller: Box<[u8]>,
    /// What was reported of owners that are not braked, and when.
    remarks: HashMap<CgroupId, (Remark, Instant)>,
    /// Cgroups whose leases were maintained here: the lease folder tells nothing new of them.
    own: HashSet<u64>,
    adopt_due: Instant,
}

/// Why an owner is not braked.
#[derive(Clone, Debug, PartialEq)]
enum Remark {
    DryRun,
    Spared(Spared),
    Failed(String),
}

/// A brake in one phase, as an event has it.
pub(super) struct News {
    phase: BrakePhase,
    by: BrakeActor,
    lease: Option<Lease>,
    why: String,
}

impl News {
    pub(super) fn of(phase: BrakePhase, lease: &Lease, why: String) -> Self {
        let by = match lease.automatic {
            true => BrakeActor::Agent,
            false => BrakeActor::Command,
        };
        Self {
            phase,
            by,
            lease: Some(lease.clone()),
            why,
        }
    }

    fn without_lease(phase: BrakePhase, why: String) -> Self {
        Self {
            phase,
            by: BrakeActor::Agent,
            lease: None,
            why,
        }
    }

    fn of_kept(kept: &Kept) -> Option<(CgroupId, Self)> {
        let (phase, lease, why) = match kept {
            Kept::Adopted(lease) => {
                let why = "the process that maintained it has ended; maintained by this one";
                (BrakePhase::Applied, lease, why.to_owned())
            }
            Kept::Renewed(lease) => {
                let lasts = about(lease.until().since(BootTime::now()));
                let why = format!("it refused tasks; renewed for {lasts}");
                (BrakePhase::Renewed, lease, why)
            }
            Kept::Failed(lease, error) => (BrakePhase::Failed, lease, error.to_string()),
            Kept::Step(lease, ended) => (phase_of(ended)?, lease, ended.to_string()),
        };
        let id = CgroupId(lease.cgroup_id);
        Some((id, Self::of(phase, lease, why)))
    }
}

fn phase_of(ended: &Ended) -> Option<BrakePhase> {
    Some(match ended {
        Ended::Not(_) => return None,
        Ended::SetBack(..) => BrakePhase::SetBack,
        Ended::Restored(_) | Ended::Earlier => BrakePhase::Released,
        Ended::Otherwise(Ending::Gone) => BrakePhase::Gone,
        Ended::Otherwise(Ending::Replaced(_)) => BrakePhase::Replaced,
    })
}

impl Braking {
    pub fn new(settings: &NodeSettings, layout: &Layout, now: Instant) -> Option<Self> {
        let automatic = settings.brake.clone()?;
        let roots = &settings.roots;
        let caller = cgroup_of(&roots.proc_root, "self", layout.hierarchy_id);
        Some(Self {
            settings: automatic,
            keeper: Keeper::new(&roots.lease_dir, &roots.proc_root, &layout.mount),
            caller: caller.unwrap_or_default(),
            remarks: HashMap::new(),
            own: HashSet::new(),
            adopt_due: now,
        })
    }

    /// Why an owner is not braked for a process in the cgroup `caller`; `never`: exceptions beside those configured.
    pub(super) fn protects(
        &self,
        owner: &Owner,
        caller: Option<&[u8]>,
        never: &[String],
    ) -> Option<Protected> {
        let path = owner.path.as_deref().unwrap_or_default();
        let names = owner.names.as_deref();
        let is_protected = |listed: &[String]| {
            protected(&Candidate {
                path,
                identity: &owner.identity,
                namespace: names.and_then(|names| names.namespace.as_deref()),
                is_static_pod: is_static_pod(path),
                callers: &[&self.caller, caller.unwrap_or_default()],
                listed,
            })
        };
        is_protected(&self.settings.never).or_else(|| is_protected(never))
    }

    /// The lease of this cgroup is maintained here.
    pub(super) fn own_now(&mut self, id: CgroupId) {
        self.own.insert(id.0);
    }

    /// A brake refused a task.
    pub fn refused(&mut self, failed: &FailedClone) {
        if let Some(LimitOwner::Cgroup(id)) = failed.verdict.limit.map(|limit| limit.owner) {
            self.keeper.refused(id.0);
        }
    }

    /// Takes the steps that are due for the leases.
    fn maintain(&mut self, now: Instant, kept: &mut Vec<Kept>) {
        if now >= self.adopt_due {
            self.adopt_due = now + ADOPT_EVERY;
            if let Err(error) = self.keeper.adopt(kept) {
                tracing::warn!("cannot read the leases of brakes: {error}");
            }
        }
        let renewal = (self.settings.mode == BrakeMode::On).then_some(self.settings.lasts);
        self.keeper.tick(renewal, kept);
        self.own.extend(self.keeper.ids());
    }

    /// Owners that are braked, or would be.
    fn braked(&self) -> usize {
        let would = self.remarks.values();
        let would = would.filter(|(remark, _)| *remark == Remark::DryRun);
        self.keeper.ids().count() + would.count()
    }

    /// Whether this is new about an owner.
    fn is_news(&mut self, owner: CgroupId, remark: Remark, now: Instant) -> bool {
        let known = self.remarks.insert(owner, (remark.clone(), now));
        let Some((before, since)) = known.filter(|(before, _)| *before == remark) else {
            return true;
        };
        self.remarks.insert(owner, (before, since));
        false
    }

    /// Forgets what was said of owners long ago: it is said again as long as it holds.
    fn forget_remarks(&mut self, now: Instant) {
        let lasts = self.settings.lasts;
        self.remarks
            .retain(|_, (_, since)| now.duration_since(*since) < lasts);
    }

    /// Brakes an owner if that has to be; what there is to report.
    fn look_at(&mut self, suspect: &LeakingOwner, now: Instant) -> Option<News> {
        let LeakingOwner { owner, verdict, .. } = suspect;
        let (id, settings) = (owner.id, &self.settings);
        if self.keeper.lease(id.0).is_some() {
            return None;
        }
        // The owner's own remark is not one of another.
        let others = self.braked() - usize::from(self.would_brake(id));
        let decision = decide(&suspect.suspect(), settings.horizon, others, settings.most);
        match decision {
            Decision::Wait => None,
            Decision::Spare(spared) => {
                let why = format!("not braked: {spared}");
                let is_news = self.is_news(id, Remark::Spared(spared), now);
                is_news.then_some(News::without_lease(BrakePhase::Refused, why))
            }
            Decision::Brake => {
                let request = self.request(owner)?;
                let outcome = match self.settings.mode {
                    BrakeMode::Off => return None,
                    BrakeMode::DryRun => self.keeper.would_brake(&request).map(Some),
                    BrakeMode::On => self.keeper.brake(&request),
                };
                self.report(owner, verdict, outcome, now)
            }
        }
    }

    fn would_brake(&self, id: CgroupId) -> bool {
        let remark = self.remarks.get(&id);
        remark.is_some_and(|(remark, _)| *remark == Remark::DryRun)
    }

    fn request(&self, owner: &Owner) -> Option<BrakeRequest> {
        let request = BrakeRequest::of(owner, None, self.settings.lasts)?;
        Some(BrakeRequest {
            automatic: true,
            ..request
        })
    }

    fn report(
        &mut self,
        owner: &Owner,
        verdict: &Verdict,
        outcome: Result<Option<Applied>, ActError>,
        now: Instant,
    ) -> Option<News> {
        match outcome {
            // Another process brakes it.
            Ok(None) => None,
            Ok(Some(applied)) => {
                let is_dry = self.settings.mode == BrakeMode::DryRun;
                let is_new = !is_dry || self.is_news(owner.id, Remark::DryRun, now);
                let why = why_braked(owner, verdict, &applied, is_dry);
                let phase = match is_dry {
                    true => BrakePhase::WouldApply,
                    false => BrakePhase::Applied,
                };
                is_new.then(|| News::of(phase, &applied.lease, why))
            }
            Err(error) => {
                let remark = Remark::Failed(error.to_string());
                let is_news = self.is_news(owner.id, remark, now);
                is_news.then(|| News::without_lease(BrakePhase::Failed, error.to_string()))
            }
        }
    }
}

fn why_braked(owner: &Owner, verdict: &Verdict, applied: &Applied, is_dry: bool) -> String {
    let Applied { lease, usage } = applied;
    let done = if is_dry {
        "would be lowered"
    } else {
        "lowered"
    };
    let lasts = about(lease.until().since(BootTime::now()));
    let mut text = format!(
        "pids.max {done} from {} to {} for {lasts} ({usage} tasks): {}",
        lease.before,
        lease.limit(),
        verdict.why
    );
    if owner.identity.pod_uid.is_some() {
        text += "; exec probes in it fail meanwhile, and the kubelet may restart it";
    }
    text
}

/// An owner that leaks.
struct LeakingOwner {
    owner: Owner,
    verdict: Verdict,
    is_limit_shared: bool,
    is_victim: bool,
    protected: Option<Protected>,
}

impl LeakingOwner {
    fn suspect(&self) -> Suspect<'_> {
        Suspect {
            verdict: &self.verdict,
            is_limit_shared: self.is_limit_shared,
            is_victim: self.is_victim,
            protected: self.protected.clone(),
        }
    }
}

impl Node {
    /// Maintains brakes and brakes whoever has to be, after each look.
    pub(super) fn brake(&mut self, time: BootTime, now: Instant, lines: &mut Vec<Line>) {
        if let Some(mut braking) = self.braking.take() {
            let mut kept = Vec::new();
            braking.maintain(now, &mut kept);
            self.report_kept(&kept, time, now, lines);
            if braking.settings.mode != BrakeMode::Off {
                braking.forget_remarks(now);
                for suspect in self.leaking_owners(&braking) {
                    let id = suspect.owner.id;
                    let news = braking.look_at(&suspect, now);
                    lines.extend(news.map(|news| self.brake_line(id, news, time, now)));
                }
                braking.own.extend(braking.keeper.ids());
            }
            self.braking = Some(braking);
        }
        self.report_other_brakes(time, now, lines);
    }

    /// Restores the limits at the end, unless another agent maintains them from now on.
    pub(super) fn end_brakes(&mut self, time: BootTime, now: Instant, lines: &mut Vec<Line>) {
        if let Some(mut braking) = self.braking.take() {
            let mut kept = Vec::new();
            braking.keeper.end(&mut kept);
            self.report_kept(&kept, time, now, lines);
        }
    }

    pub(super) fn report_kept(
        &mut self,
        kept: &[Kept],
        time: BootTime,
        now: Instant,
        lines: &mut Vec<Line>,
    ) {
        for (id, news) in kept.iter().filter_map(News::of_kept) {
            let line = self.brake_line(id, news, time, now);
            lines.push(line);
        }
    }

    /// Brakes of other processes, from the lease folder.
    fn report_other_brakes(&mut self, time: BootTime, now: Instant, lines: &mut Vec<Line>) {
        for change in self.brakes.take_changes() {
            let (LeaseChange::Applied(lease) | LeaseChange::Ended(lease)) = &change;
            let is_own = self.braking.as_mut().is_some_and(|braking| match change {
                LeaseChange::Applied(_) => braking.own.contains(&lease.cgroup_id),
                LeaseChange::Ended(_) => braking.own.remove(&lease.cgroup_id),
            });
            if is_own {
                continue;
            }
            let id = CgroupId(lease.cgroup_id);
            let news = match &change {
                LeaseChange::Applied(lease) => {
                    News::of(BrakePhase::Applied, lease, pids_max_change(lease))
                }
                LeaseChange::Ended(lease) => {
                    let ended = self.how_it_ended(lease);
                    let phase = phase_of(&ended).unwrap_or(BrakePhase::Released);
                    News::of(phase, lease, ended.to_string())
                }
            };
            let line = self.brake_line(id, news, time, now);
            lines.push(line);
        }
    }

    /// The end of a brake that another process ended, from the limit that is in force.
    fn how_it_ended(&self, lease: &Lease) -> Ended {
        let Some(node) = self.tree.get(CgroupId(lease.cgroup_id)) else {
            return Ended::Otherwise(Ending::Gone);
        };
        let limit = match self.files.pids_max(&node.path) {
            Ok(Some(tasks)) => PidsMax::Tasks(tasks),
            Ok(None) => PidsMax::Unlimited,
            Err(_) => return Ended::Earlier,
        };
        if limit == lease.before {
            Ended::Restored(limit)
        } else {
            Ended::Otherwise(Ending::Replaced(limit))
        }
    }

    pub(super) fn brake_line(
        &mut self,
        id: CgroupId,
        news: News,
        time: BootTime,
        now: Instant,
    ) -> Line {
        let is_known = self.is_known(id);
        let owner = match &news.lease {
            // Its cgroup may be gone for long.
            Some(lease) if !is_known => {
                let path = lease.path.as_bytes().into();
                let owner = self.named(Owner::new(id, Some(path)));
                self.share(owner)
            }
            _ => self.shared_owner(id, now),
        };
        let lease = news.lease.as_ref();
        let event = BrakeEvent {
            owner,
            phase: news.phase.into(),
            by: news.by.into(),
            limit: lease.map(Lease::limit),
            before: lease.map(|lease| lease.before),
            until: lease.map(|lease| self.clock.at(lease.until())),
            why: news.why,
        };
        self.line(time, Event::Brake(Box::new(event)))
    }

    fn leaking_owners(&self, braking: &Braking) -> Vec<LeakingOwner> {
        let leaking = self.flags.in_state(State::Leaking);
        let known = leaking.filter_map(|(id, source)| {
            let verdict = self.detector.verdict(source)?;
            let path = &self.tree.get(id)?.path;
            let owner = self.named(Owner::new(id, Some(path.clone())));
            Some((owner, verdict))
        });
        known
            .map(|(owner, verdict)| LeakingOwner {
                is_limit_shared: self.is_limit_shared(&owner, verdict),
                is_victim: self.is_victim(owner.id),
                protected: braking.protects(&owner, None, &[]),
                verdict: verdict.clone(),
                owner,
            })
            .collect()
    }

    /// Whether the limit that an owner exhausts next is the node's, or that of a cgroup above the owner and its pod.
    fn is_limit_shared(&self, owner: &Owner, verdict: &Verdict) -> bool {
        let Some(ahead) = &verdict.exhaustion else {
            return false;
        };
        match ahead.limit.owner {
            LimitOwner::Node => true,
            LimitOwner::Cgroup(limit) => {
                let above = self.tree.upwards(owner.id).skip(1);
                let above = above.filter(|(_, path)| !is_pod_of(path, owner));
                above.map(|(id, _)| id).any(|id| id == limit)
            }
            LimitOwner::PidNamespace(_) | LimitOwner::User(_) => false,
        }
    }

    pub(super) fn is_victim(&self, id: CgroupId) -> bool {
        self.incidents.open().any(|incident| {
            let is_culprit = incident.culprits.iter().any(|other| other.owner.id == id);
            let mut victims = incident.victims.iter();
            !is_culprit && victims.any(|other| other.owner.id == id)
        })
    }
}

/// The containers of a pod are one workload, and its limit is theirs.
fn is_pod_of(path: &[u8], owner: &Owner) -> bool {
    let pod = owner.identity.pod_uid.as_deref();
    pod.is_some() && identify(path).pod_uid.as_deref() == pod
}

/// What a brake did, in words.
pub(super) fn pids_max_change(lease: &Lease) -> String {
    format!(
        "pids.max lowered from {} to {}",
        lease.before,
        lease.limit()
    )
}
