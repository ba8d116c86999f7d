//! What the node does about brakes after each look: maintains them, brakes leaks, reports what others do.
//!
//! In: the detector's verdicts, open incidents, leases. Out: `brake` events, one for each change.

use tokio::time::Instant;

use super::{
    Node,
    brakes::LeaseChange,
    braking::{Braking, LeakingOwner, News, phase_of, pids_max_change},
};
use crate::{
    brake::{BrakeMode, BrakePhase, Ended, Ending, KeeperEvent, Lease, PidsMax},
    cgroup::CgroupId,
    clock::BootTime,
    detect::{State, Verdict},
    identity::{Owner, identify},
    limits::LimitOwner,
    stream::{BrakeEvent, Event, Line},
};

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
        kept: &[KeeperEvent],
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
