//! What an owner's tasks themselves show: whether what grows is a leak or a pool, which no curve tells.
//!
//! In: the tasks that a pass over them has seen ([`Task`]), one by one ([`TaskTally`]). Out: what there was of
//! each kind ([`TaskSummary`]), and what follows from it ([`Judgement`]). Pure, and of bounded size: no task is
//! remembered.
//!
//! Invariant: names can be chosen by whoever leaks. They may speak for a leak, and they may leave it to the
//! usual threshold; only what the kernel knows (when a task last ran) raises that.

mod findings;
mod judgement;
mod names;
mod seen;
mod settings;
mod task;
#[cfg(test)]
mod tests;

pub use self::{
    findings::{Evidence, EvidenceKind},
    judgement::{Judgement, Need, Weight, judge},
    seen::{ArrivalPace, Class, ExaminationScope, TaskSummary, TaskTally, ZombieSummary},
    settings::EvidenceSettings,
    task::{Task, Wait, Zombie},
};
