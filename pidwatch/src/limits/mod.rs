//! Limits on tasks: which one refused a creation ([`reason`]), which are in force ([`survey()`]), and
//! what is wrong with them ([`findings`]).

pub mod findings;
mod kubelet;
mod live;
mod persisted;
mod processes;
mod readings;
pub mod reason;
pub mod survey;
pub mod table;

pub use self::{
    findings::{Finding, Severity, find},
    live::Live,
    readings::Readings,
    reason::{Basis, Limit, LimitOwner, Reason, Reasons, Verdict},
    survey::{Survey, survey},
    table::{Row, Scope, table},
};
