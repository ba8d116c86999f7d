//! The account of what could not be counted or sent.

use aya_log_ebpf::debug;
use pidwatch_common::totals::Loss;

use crate::{counter::count, maps::LOSSES};

/// Adds one to what was lost.
#[inline(never)]
pub fn lose(loss: Loss) {
    if let Some(counter) = LOSSES.get_ptr_mut(loss as u32) {
        count(counter);
    }
    debug!(&(), "lost, by kind: {}", loss as u32);
}
