//! The agent's brake: whom to stop before a limit that others share is exhausted, and what has been reported of whom.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use tokio::time::Instant;

use super::NodeSettings;
use crate::{
    brake::{
        ActError, Applied, AutomaticBrake, BrakeActor, BrakeMode, BrakePhase, BrakeRequest,
        Candidate, Ended, Ending, Keeper, KeeperEvent, Lease, Protected, is_static_pod, protected,
    },
    cgroup::{CgroupId, Layout},
    clock::BootTime,
    detect::Verdict,
    identity::Owner,
    limits::{FailedClone, LimitOwner},
    policy::{Decision, Spared, Suspect, decide},
    survey::processes::cgroup_of,
    values::about,
};

/// How often leases are looked for that no live process maintains.
const ADOPT_EVERY: Duration = Duration::from_secs(10);

/// The automatic brake, and the leases that this process maintains.
pub(super) struct Braking {
    pub(super) settings: AutomaticBrake,
    pub(super) keeper: Keeper,
    /// Cgroup of this process.
    caller: Box<[u8]>,
    /// What was reported of owners that are not braked, and when.
    remarks: HashMap<CgroupId, (Remark, Instant)>,
    /// Cgroups whose leases were maintained here: the lease folder tells nothing new of them.
    pub(super) own: HashSet<u64>,
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
    pub(super) phase: BrakePhase,
    pub(super) by: BrakeActor,
    pub(super) lease: Option<Lease>,
    pub(super) why: String,
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

    pub(super) fn of_kept(kept: &KeeperEvent) -> Option<(CgroupId, Self)> {
        let (phase, lease, why) = match kept {
            KeeperEvent::Adopted(lease) => {
                let why = "the process that maintained it has ended; maintained by this one";
                (BrakePhase::Applied, lease, why.to_owned())
            }
            KeeperEvent::Renewed(lease) => {
                let lasts = about(lease.until().since(BootTime::now()));
                let why = format!("it refused tasks; renewed for {lasts}");
                (BrakePhase::Renewed, lease, why)
            }
            KeeperEvent::Failed(lease, error) => (BrakePhase::Failed, lease, error.to_string()),
            KeeperEvent::Step(lease, ended) => (phase_of(ended)?, lease, ended.to_string()),
        };
        let id = CgroupId(lease.cgroup_id);
        Some((id, Self::of(phase, lease, why)))
    }
}

pub(super) fn phase_of(ended: &Ended) -> Option<BrakePhase> {
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
        is_protected(&self.settings.exceptions.never).or_else(|| is_protected(never))
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
    pub(super) fn maintain(&mut self, now: Instant, kept: &mut Vec<KeeperEvent>) {
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
    pub(super) fn forget_remarks(&mut self, now: Instant) {
        let lasts = self.settings.lasts;
        self.remarks
            .retain(|_, (_, since)| now.duration_since(*since) < lasts);
    }

    /// Brakes an owner if that has to be; what there is to report.
    pub(super) fn look_at(&mut self, suspect: &LeakingOwner, now: Instant) -> Option<News> {
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
        text += "; exec probes in it may fail meanwhile, and the kubelet may restart it";
    }
    text
}

/// An owner that leaks.
pub(super) struct LeakingOwner {
    pub(super) owner: Owner,
    pub(super) verdict: Verdict,
    pub(super) is_limit_shared: bool,
    pub(super) is_victim: bool,
    pub(super) protected: Option<Protected>,
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

/// What a brake did, in words.
pub(super) fn pids_max_change(lease: &Lease) -> String {
    format!(
        "pids.max lowered from {} to {}",
        lease.before,
        lease.limit()
    )
}
