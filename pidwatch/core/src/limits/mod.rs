//! Limits on tasks: which one refused a creation ([`refusal`]), which are in force ([`survey`]), and
//! what is wrong with them ([`findings`]).

pub mod advice;
mod errno;
mod failed_clone;
pub mod findings;
mod kubelet;
pub mod memory;
pub mod reason;
pub mod refusal;
pub mod survey;
pub mod table;

pub use self::{
    errno::{Errno, UnknownErrno},
    failed_clone::FailedClone,
    findings::{Finding, Severity, find},
    kubelet::Kubelet,
    reason::{Basis, Limit, LimitOwner, Reason, RefusalVerdict},
    refusal::Reasons,
    survey::Survey,
    table::{Row, Scope, table},
};
