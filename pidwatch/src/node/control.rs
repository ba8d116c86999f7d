//! Requests to the node: brake or release an owner.
//!
//! In: requests of the agent's clients, or of `top`. Out: an response for each, and `brake` events.

use tokio::time::Instant;

use super::{
    Node,
    braking::{Braking, News, pids_max_change},
};
use crate::{
    brake::{
        BrakeOptions, BrakePhase, BrakeRequest, Braked, ControlRequest, ControlResponse, FindError,
        exhausted_above, pick,
    },
    clock::BootTime,
    identity::Owner,
    stream::Line,
    survey::processes::cgroup_of,
};

impl Node {
    /// Handles the requests that wait.
    pub(super) fn handle_requests(&mut self, now: Instant, lines: &mut Vec<Line>) {
        let Some(requests) = self.requests.clone() else {
            return;
        };
        while let Some(pending) = requests.take() {
            let response = self.handle(&pending.request, pending.process, now, lines);
            // Whoever has gone meanwhile reads it in the events.
            let _ = pending.response.send(response);
        }
    }

    /// Handles the request of a process.
    pub fn handle(
        &mut self,
        request: &ControlRequest,
        process: u32,
        now: Instant,
        lines: &mut Vec<Line>,
    ) -> ControlResponse {
        let Some(mut braking) = self.braking.take() else {
            return ControlResponse::Unable("it does not maintain brakes".to_owned());
        };
        let response = match request {
            ControlRequest::Brake(options) => {
                self.handle_brake(options, process, &mut braking, now, lines)
            }
            ControlRequest::Release(name) => {
                let mut kept = Vec::new();
                let releases = braking.keeper.release(name.as_deref(), &mut kept);
                self.report_kept(&kept, BootTime::now(), now, lines);
                match releases {
                    Ok(releases) => ControlResponse::Released(releases),
                    Err(error) => ControlResponse::Refused(error.to_string()),
                }
            }
        };
        self.braking = Some(braking);
        response
    }

    fn handle_brake(
        &mut self,
        options: &BrakeOptions,
        process: u32,
        braking: &mut Braking,
        now: Instant,
        lines: &mut Vec<Line>,
    ) -> ControlResponse {
        let owners = self.tree.iter();
        let owners = owners.map(|(id, node)| self.named(Owner::new(id, Some(node.path.clone()))));
        let owner = match pick(owners.collect(), &options.owner) {
            Ok(owner) => owner,
            // The names that this process has learnt may be fewer.
            Err(error @ FindError::Nobody(_)) => return ControlResponse::Unable(error.to_string()),
            Err(error) => return ControlResponse::Refused(error.to_string()),
        };
        let proc_root = self.files.proc().root();
        let caller = cgroup_of(proc_root, &process.to_string(), self.layout.hierarchy_id);
        if let Some(reason) = braking.protects(&owner, caller.as_deref(), &options.never) {
            let owner = owner.name();
            return ControlResponse::Refused(format!("refusing to brake {owner}: {reason}"));
        }
        if self.is_victim(owner.id) {
            return ControlResponse::Refused(format!(
                "refusing to brake {}: it is a victim of an open incident; brake the culprit",
                owner.name()
            ));
        }
        let Some(request) = BrakeRequest::of(&owner, options.at, options.lasts) else {
            return ControlResponse::Refused(format!("the path of {} is not UTF-8", owner.name()));
        };
        let applied = if options.dry_run {
            braking.keeper.would_brake(&request).map(Some)
        } else {
            braking.keeper.brake(&request)
        };
        let applied = match applied {
            Ok(Some(applied)) => applied,
            Ok(None) => {
                return ControlResponse::Unable("another process maintains its brake".to_owned());
            }
            Err(error) => return ControlResponse::of(&error),
        };
        if !options.dry_run {
            braking.own_now(owner.id);
            let why = pids_max_change(&applied.lease);
            let news = News::of(BrakePhase::Applied, &applied.lease, why);
            lines.push(self.brake_line(owner.id, news, BootTime::now(), now));
        }
        let exhausted = exhausted_above(
            &self.layout.mount,
            self.files.proc(),
            applied.lease.path.as_bytes(),
        );
        ControlResponse::Braked(Braked { applied, exhausted })
    }

    /// Before this process ends: its brakes go on in processes of their own, where those can be created.
    pub fn leave_brakes(&mut self) {
        if let Some(braking) = &mut self.braking {
            let roots = &self.roots;
            braking.keeper.leave(|id| roots.start_holder(id));
        }
    }
}
