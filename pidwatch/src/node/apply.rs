//! What is done with each event of the probe.

use pidwatch_common::record::PATH_MAX;
use tokio::time::Instant;

use super::{Node, readings::Readings};
use crate::{
    cgroup::CgroupId,
    clock::BootTime,
    identity::Owner,
    incident::key_of,
    limits::{FailedClone, LimitOwner, Reason},
    probe::{KernelEvent, TotalsCause},
    stream::{Change, Event, Line},
};

impl Node {
    pub(super) fn apply_one(&mut self, event: KernelEvent, now: Instant, lines: &mut Vec<Line>) {
        self.model.apply(&event);
        match event {
            KernelEvent::Totals {
                cgroup,
                time,
                charge,
                cause,
                who,
                ..
            } => {
                self.touched.insert(cgroup);
                if !self.is_known(cgroup) {
                    self.unknown.insert(cgroup);
                }
                let unrecorded = self.model.take_unrecorded(cgroup);
                if unrecorded > 0 && !self.brakes.refused_last(cgroup) {
                    self.incidents.failed_unrecorded(cgroup, unrecorded);
                }
                if let (TotalsCause::Entered { mover }, Some(moved)) = (cause, who)
                    && self.owner(cgroup, now).identity.container.is_some()
                    && !self.parts.is_same_owner(cgroup, mover)
                {
                    self.execs.entered(cgroup, moved.pid, time, charge);
                }
            }
            KernelEvent::CloneFailed(failure) => {
                let verdict = self.reasons.of(
                    &failure,
                    &Readings {
                        files: &self.files,
                        tree: &self.tree,
                    },
                );
                self.model.failed(failure.cgroup, verdict.reason);
                let limit_owner = match verdict.limit {
                    Some(_) if verdict.reason == Reason::MemoryCgroup => {
                        self.memory_owner(&failure)
                    }
                    Some(limit) => self.limit_owner(&limit, now),
                    None => None,
                };
                let anchor = self.anchored(failure.cgroup, now);
                let suppressed = self.model.take_suppressed(&failure);
                let owner = self.owner(failure.cgroup, now);
                let pids = [failure.pid, failure.origin.unwrap_or(failure.pid)];
                let exec_probe = self.execs.is_probe(failure.cgroup, &pids);
                let on_behalf_of = self.on_behalf_of(&failure, now);
                let failed = FailedClone {
                    owner,
                    on_behalf_of,
                    failure,
                    verdict,
                    limit_owner,
                    suppressed,
                    exec_probe,
                };
                // A refusal by a brake is intended.
                if !self.brakes.refused(&failed) {
                    self.refused(&failed, &anchor);
                } else if let Some(braking) = &mut self.braking {
                    braking.refused(&failed);
                }
                let event = Event::CloneFailed(Box::new((&failed).into()));
                lines.push(self.line(failed.failure.time, event));
            }
            KernelEvent::CgroupAdded(id, time, path) => {
                self.model.added(id);
                if let Some(idle) = &mut self.idle {
                    idle.added(id);
                }
                self.unseen.added(id, now);
                if path.len() + 1 < PATH_MAX {
                    self.tree.insert(id, &path);
                    if let Some((above, _)) = self.tree.upwards(id).nth(1) {
                        self.unseen.added_below(above, now);
                    }
                    self.walks.announced(id, Some(&path));
                } else {
                    // It may be cut.
                    self.walk(now);
                }
                self.parts.learn_by_path(&self.tree, id);
                self.detector.born(id, time);
                let owner = self.named(Owner::new(id, Some(path.into())));
                if owner.is_outermost() {
                    self.probe.keep(id);
                }
                self.names.announced(id);
                let line = self.changed(owner, Change::Added, time);
                lines.push(line);
            }
            KernelEvent::CgroupRemoved(id, time, path) => {
                // A walk may have found it gone before its record was read.
                let is_untold = self.vanished.remove(&id);
                let is_told = self.tree.remove(id).is_none()
                    && self.model.gone_path(id).is_some()
                    && !is_untold;
                self.walks.announced(id, None);
                self.processes.remove(&id);
                self.model.removed(id, path.as_slice().into(), time);
                self.vanish(id, time, now, lines);
                let owner = self.named(Owner::new(id, Some(path.into())));
                self.names.removed(id);
                if !is_told {
                    let line = self.changed(owner, Change::Removed, time);
                    lines.push(line);
                }
            }
            KernelEvent::PidNamespaces {
                cgroup,
                pid,
                levels,
            } => {
                let parts = &self.parts;
                let is_same_owner = |of| parts.is_same_owner(of, cgroup);
                self.namespaces.answer(pid, &levels, is_same_owner, now);
            }
            KernelEvent::CgroupRenamed(..) => {
                // The paths of everything below changed as well. What is open by a path may soon be
                // another one's.
                self.files.renamed();
                self.walk(now);
            }
        }
    }

    /// Hands a failure to the detector and the incidents.
    pub(super) fn refused(&mut self, failed: &FailedClone, anchor: &Owner) {
        let failure = &failed.failure;
        let reason = failed.verdict.reason;
        let is_namespaces = reason == Reason::PidNamespaceMax;
        if is_namespaces || failed.limit_owner.is_some() && reason.is_task_limit() {
            self.detector.refused(failure.cgroup, failure.time);
            if anchor.id != failure.cgroup {
                self.detector.refused(anchor.id, failure.time);
            }
        }
        // Of others it is asked for where nobody grows.
        if let Some(limit) = key_of(failed)
            && matches!(
                limit.owner,
                LimitOwner::User(_) | LimitOwner::PidNamespace(_)
            )
        {
            self.census.ask(limit.owner);
        }
        self.incidents.failed(failed, anchor);
    }

    /// A cgroup is gone; says so if it was watched closely.
    pub(super) fn vanish(
        &mut self,
        id: CgroupId,
        time: BootTime,
        now: Instant,
        lines: &mut Vec<Line>,
    ) {
        if let Some(idle) = &mut self.idle {
            idle.removed(id);
        }
        self.touched.remove(&id);
        self.brakes.forget(id);
        self.count_part(id);
        let gone = self.detector.gone(id, time);
        if let Some(owner) = self.parts.owner(id) {
            if let Some(change) = gone {
                self.flags.note(owner, change);
            }
        } else if let Some(change) = self.flags.gone(id, gone) {
            let line = self.state_change(change, None, time, now);
            lines.push(line);
        }
    }
}
