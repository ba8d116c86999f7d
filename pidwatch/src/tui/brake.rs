//! The key that brakes an owner, or releases it: asks first, and acts through the agent on this node or, without one, by
//! this process. Neither creates a process.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Screen, Shown,
    app::Prompt,
    source::{LiveSource, Source},
};
use crate::{
    brake::{BrakeOptions, ControlRequest, ControlResponse, Leases, in_force, send},
    cgroup::CgroupId,
    node::Roots,
};

/// As long as `pidwatch brake` does by default.
const LASTS: Duration = Duration::from_mins(15);

const UNKNOWN: &str = "the path of its cgroup is not known";

impl Screen<'_> {
    /// Asks whether an owner is to be braked or, if it is, released.
    pub(super) fn ask_to_brake(&mut self, id: CgroupId) {
        match self.question(id) {
            Ok(prompt) => self.app.prompt = Some(prompt),
            Err(reason) => self.app.message = Some(reason),
        }
    }

    fn question(&mut self, id: CgroupId) -> Result<Prompt, String> {
        let entry = self.app.shown().owners.get(&id);
        let path = entry.and_then(|entry| entry.owner.cgroup.path.clone());
        let (Some(path), Shown::Node(node), Source::Live(live)) =
            (path, self.shown, &mut self.source)
        else {
            return Err(UNKNOWN.to_owned());
        };
        let roots = &node.roots;
        let leases = Leases::existing(&roots.lease_dir, &roots.proc_root);
        let lease = leases.and_then(|leases| leases.map_or(Ok(None), |leases| leases.load(id.0)));
        if let Some(lease) = lease.map_err(|error| error.to_string())? {
            return Ok(Prompt {
                lines: vec![in_force(&lease)],
                yes: "release it",
                request: ControlRequest::Release(Some(path.clone())),
            });
        }
        let request = |dry_run| {
            ControlRequest::Brake(BrakeOptions {
                owner: path.clone(),
                at: None,
                lasts: LASTS,
                dry_run,
                never: Vec::new(),
            })
        };
        match carry_out(live, roots, &request(true)) {
            ControlResponse::Braked(braked) => {
                let mut lines = vec![braked.would()];
                lines.extend(braked.warnings());
                Ok(Prompt {
                    lines,
                    yes: "brake it for 15 min",
                    request: request(false),
                })
            }
            response => Err(message(response)),
        }
    }

    /// Does what was asked about.
    pub(super) fn carry_out(&mut self, request: &ControlRequest) {
        let (Shown::Node(node), Source::Live(live)) = (self.shown, &mut self.source) else {
            return;
        };
        self.app.message = Some(message(carry_out(live, &node.roots, request)));
    }

    /// Brakes outlive the screen.
    pub(super) fn leave_brakes(&mut self) {
        if let Source::Live(live) = &mut self.source {
            live.node().leave_brakes();
        }
    }
}

fn carry_out(live: &mut LiveSource, roots: &Roots, request: &ControlRequest) -> ControlResponse {
    match send(&roots.lease_dir, request) {
        // An agent that may not write, or none.
        None | Some(ControlResponse::Unable(_)) => live.handle(request, Instant::now()),
        Some(response) => response,
    }
}

fn message(response: ControlResponse) -> String {
    match response {
        ControlResponse::Braked(braked) => in_force(&braked.applied.lease),
        ControlResponse::Released(releases) => {
            let mut all = releases.failed;
            all.extend(releases.released);
            all.join("; ")
        }
        ControlResponse::Refused(reason) | ControlResponse::Unable(reason) => reason,
    }
}
