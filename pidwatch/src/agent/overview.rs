//! The node as one JSON object: the model behind `top`, and the incidents.

use jiff::Timestamp;
use serde::Serialize;

use super::shared::Shared;
use crate::{
    clock::BootTime,
    stream::{self, Incident, NodeWindow, Rate, Started},
};

/// `/api/v1/snapshot`.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// End of the last window.
    time: Timestamp,
    /// The node's name.
    node: String,
    /// How the stream began.
    started: Started,
    /// The node as a whole.
    window: NodeWindow,
    /// Every owner.
    owners: Vec<OwnerNow>,
    /// Open incidents.
    incidents: Vec<Incident>,
}

/// An owner: its `rate`, and its `state` where it is not `ok`.
#[derive(Debug, Serialize)]
struct OwnerNow {
    #[serde(flatten)]
    rate: Rate,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<stream::State>,
}

/// `/api/v1/incidents`.
#[derive(Debug, Serialize)]
pub struct Incidents {
    open: Vec<Incident>,
    closed: Vec<Closed>,
}

#[derive(Debug, Serialize)]
struct Closed {
    closed: Timestamp,
    #[serde(flatten)]
    incident: Incident,
}

/// The node as it is; `None` before the first window.
pub fn snapshot(shared: &Shared) -> Option<Overview> {
    let board = shared.board.borrow();
    let board = board.as_ref().filter(|board| board.is_ready())?;
    let wall = |time: BootTime| shared.at(time);
    let snapshot = board.snapshot();
    let mut states: hashbrown::HashMap<u64, stream::State> = board
        .states()
        .map(|(_, state)| (state.owner.cgroup.id, state.clone()))
        .collect();
    Some(Overview {
        time: wall(snapshot.time),
        node: shared.name.clone(),
        started: board.started().clone(),
        owners: snapshot
            .rows
            .iter()
            .map(|row| OwnerNow {
                rate: Rate::of(row, &snapshot),
                state: states.remove(&row.owner.id.0),
            })
            .collect(),
        incidents: snapshot
            .incidents
            .iter()
            .map(|incident| Incident::of(incident, wall))
            .collect(),
        window: (&snapshot).into(),
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
        open: board
            .open()
            .iter()
            .map(|incident| Incident::of(incident, |time| shared.at(time)))
            .collect(),
        closed: closed.collect(),
    })
}
