//! Processes that cannot start a thread though nothing refuses a clone: the stack's mapping fails before, for
//! want of mappings (`vm.max_map_count`) or of address space (`ulimit -v`). pthread_create(3) says EAGAIN as it
//! does of a refused clone. Pure.

/// From here on a limit is nearly used up.
pub const HIGH: f64 = 0.9;
/// What a thread maps: its stack, with the usual `ulimit -s`, and a guard page.
const THREAD: (u64, u64) = (8 * 1024 * 1024 + 4096, 2);

/// Which limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// `vm.max_map_count`: mappings of a process.
    Mappings,
    /// RLIMIT_AS: bytes of address space.
    AddressSpace,
}

/// A process that is near the one or the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub comm: Vec<u8>,
    /// Which limit.
    pub want: Want,
    /// The limit.
    pub value: u64,
    /// What of it is used.
    pub usage: u64,
}

impl MemoryLimit {
    /// Whether a thread more does not fit.
    pub fn is_full(&self) -> bool {
        let thread = match self.want {
            Want::Mappings => THREAD.1,
            Want::AddressSpace => THREAD.0,
        };
        self.value.saturating_sub(self.usage) < thread
    }

    /// Whether it is nearly used up.
    pub fn is_near(&self) -> bool {
        self.is_full() || self.usage as f64 >= HIGH * self.value as f64
    }
}
