//! Limits on tasks: which one refused a creation ([`reason`]).

mod readings;
pub mod reason;

pub use self::{
    readings::Readings,
    reason::{Basis, Limit, LimitOwner, Reason, Reasons, Verdict},
};
