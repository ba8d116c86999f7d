//! Learning the tree of cgroups anew: when something of it was lost, a cgroup was renamed, or its path is too
//! long for a record.
//!
//! Anybody who may make cgroups can ask for walks as fast as they like, and make them long. So one is at most a
//! small part of the time, and done in slices; until it ends, the tree is what it was.

use std::time::Duration;

use tokio::time::Instant;

use super::{Node, under_way::Running};
use crate::{
    cgroup::{CgroupId, Walk},
    clock::BootTime,
    slice::Slice,
};

/// Least time between the beginnings of two walks.
const PACE: Duration = Duration::from_secs(1);
/// A walk is followed by so many times its own length without one.
const REST: u32 = 10;

impl Node {
    /// Learns the tree anew: now or, after another walk, in a while. A small tree is known when this
    /// returns, if it is now.
    pub(super) fn walk(&mut self, now: Instant) {
        self.walks.is_asked = true;
        if self.walks.is_due(now) {
            self.go_on_walking(now, &Slice::begin());
        }
    }

    /// Begins a walk that is due, or goes on with one.
    pub(super) fn go_on_walking(&mut self, now: Instant, slice: &Slice) {
        if self.walks.is_due(now) {
            self.walks.is_asked = false;
            self.walks.not_before = Some(now + PACE);
            match Walk::begin(&self.layout.mount) {
                Ok(walk) => {
                    self.walks.running = Some(Running {
                        walk,
                        began: now,
                        took: Duration::ZERO,
                        sought: std::mem::take(&mut self.unknown),
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot read {}: {error}", self.layout.mount.display());
                }
            }
        }
        let Some(running) = &mut self.walks.running else {
            return;
        };
        let begin = Instant::now();
        let is_over = running.walk.go_on(slice);
        running.took += begin.elapsed();
        if is_over && let Some(running) = self.walks.running.take() {
            let rest = running.began + PACE.max(running.took * REST);
            self.walks.not_before = Some(rest);
            self.take_walk(running);
        }
    }

    fn take_walk(&mut self, running: Running) {
        let tree = running.walk.end();
        let time = BootTime::now();
        for (id, node) in self.tree.iter() {
            if tree.get(id).is_none() {
                // Its end was not announced.
                self.processes.remove(&id);
                self.model.removed(id, node.path.clone(), time);
                self.names.removed(id);
                self.vanished.insert(id);
            }
        }
        let is_new = |(id, node): &(CgroupId, &crate::cgroup::TreeNode)| {
            let before = self.tree.get(*id);
            before.is_none_or(|before| before.path != node.path)
        };
        let new: Vec<_> = tree.iter().filter(is_new).map(|(id, _)| id).collect();
        self.tree = tree;
        for id in new {
            self.parts.learn_by_path(&self.tree, id);
        }
        self.files.renamed();
        self.unknown.retain(|id| self.tree.get(*id).is_none());
        for id in running.sought {
            if self.tree.get(id).is_none() {
                self.model.lost(id, time);
            }
        }
        self.model.find(|id| self.tree.get(id).is_some());
    }
}
