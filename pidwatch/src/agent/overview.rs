//! The node as one JSON object: the model behind `top`, and the incidents.

use std::sync::Arc;

use hashbrown::HashMap;
use jiff::Timestamp;
use serde::Serialize;

use super::shared::Shared;
use crate::stream::{IncidentEvent, NodeWindow, RateEvent, Started, StateEvent};

/// `/api/v1/snapshot`.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// End of the last window.
    time: Timestamp,
    /// The node's name.
    node: Arc<str>,
    /// How the stream began.
    started: Started,
    /// The node as a whole.
    window: NodeWindow,
    /// Every owner.
    owners: Vec<OwnerNow>,
    /// Open incidents.
    incidents: Vec<IncidentEvent>,
}

/// An owner: its `rate`, and its `state` where it is not `ok`.
#[derive(Debug, Serialize)]
struct OwnerNow {
    #[serde(flatten)]
    rate: RateEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<StateEvent>,
}

/// `/api/v1/incidents`.
#[derive(Debug, Serialize)]
pub struct Incidents {
    open: Vec<IncidentEvent>,
    closed: Vec<Closed>,
}

#[derive(Debug, Serialize)]
struct Closed {
    closed: Timestamp,
    #[serde(flatten)]
    incident: IncidentEvent,
}

/// The node as it is; `None` before the first window.
pub fn snapshot(shared: &Shared) -> Option<Overview> {
    let board = shared.board.borrow();
    let board = board.as_ref().filter(|board| board.is_ready())?;
    let states = board.states();
    let states = states.map(|(_, state)| (state.owner.cgroup.id, state.clone()));
    let mut states: HashMap<u64, StateEvent> = states.collect();
    let rates = board.rates().into_iter();
    Some(Overview {
        time: board.time(),
        node: shared.name.clone(),
        started: board.started().clone(),
        owners: rates
            .map(|rate| OwnerNow {
                state: states.remove(&rate.owner.cgroup.id),
                rate,
            })
            .collect(),
        incidents: board.open().to_vec(),
        window: board.node().clone(),
    })
}

/// The incidents, open and closed.
pub fn incidents(shared: &Shared) -> Option<Incidents> {
    let board = shared.board.borrow();
    let board = board.as_ref().filter(|board| board.is_ready())?;
    let closed = board.closed().map(|(time, incident)| Closed {
        closed: *time,
        incident: incident.clone(),
    });
    Some(Incidents {
        open: board.open().to_vec(),
        closed: closed.collect(),
    })
}
