//! The account of ended tasks, played with random kernels: whatever the order of ends, reaping, frees,
//! frees that no hook saw, addresses that are used again and notes that found no room, what was
//! counted as freed, what is lost and what is still noted add up to what ended, and the zombies are
//! those that there are.
//!
//! The kernel side's map and hooks are played here; the rules are theirs ([`Pending::judge`],
//! [`Pending::is_of`]).

use std::collections::HashMap;

use pidwatch_common::pending::{EXIT_DEAD, EXIT_ZOMBIE, Look, Pending, PendingState};

/// Ticks after which an unreaped task is a zombie, and in which RCU frees a reaped one.
const LASTING: u64 = 4;
const LONGEST_FREE: u64 = 48;
/// So few addresses that each is used again and again.
const ADDRESSES: u64 = 12;
const ROOM: usize = 9;

/// A small generator of our own (xorshift64): the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Life {
    Lives,
    /// A leader that ended while its threads live.
    EndedBeforeItsGroup,
    Zombie,
    Reaped,
    /// Its memory is nobody's.
    Freed,
}

#[derive(Clone, Copy)]
struct Task {
    start_time: u64,
    life: Life,
    ended_at: u64,
    reaped_at: u64,
}

#[derive(Default)]
struct Kernel {
    now: u64,
    memory: HashMap<u64, Task>,
    map: HashMap<u64, Pending>,
    ended: u64,
    freed: u64,
    unseen: u64,
    unnoted: u64,
}

impl Kernel {
    fn look(&self, address: u64) -> Look {
        let task = self.memory.get(&address);
        Look {
            start_time: task.map_or(0, |task| task.start_time),
            exit_state: match task.map(|task| task.life) {
                Some(Life::Zombie | Life::EndedBeforeItsGroup) => EXIT_ZOMBIE,
                Some(Life::Reaped | Life::Freed) => EXIT_DEAD,
                _ => 0,
            },
            group_lives: task.is_some_and(|task| task.life == Life::EndedBeforeItsGroup),
        }
    }

    /// As `pending::note` does.
    fn end(&mut self, address: u64, life: Life) {
        let now = self.now;
        let task = self.memory.get_mut(&address).unwrap();
        (task.life, task.ended_at) = (life, now);
        let start_time = task.start_time;
        self.ended += 1;
        if let Some(stale) = self.map.get(&address) {
            self.unseen += u64::from(!stale.is_of(start_time));
        } else if self.map.len() >= ROOM {
            self.unnoted += 1;
            return;
        }
        let pending = Pending {
            cgroup: 7,
            start_time,
            ended_at: now,
            reaped_at: 0,
            is_process: 1,
        };
        self.map.insert(address, pending);
    }

    /// As `pending::take` does; `is_seen` by the hook.
    fn free(&mut self, address: u64, is_seen: bool) {
        let task = self.memory.get_mut(&address).unwrap();
        task.life = Life::Freed;
        if is_seen && let Some(pending) = self.map.remove(&address) {
            let is_own = pending.is_of(task.start_time);
            *(if is_own {
                &mut self.freed
            } else {
                &mut self.unseen
            }) += 1;
        }
    }

    /// A scan, and the settling of what it finds stale; the zombies.
    fn scan(&mut self) -> u64 {
        let looks: Vec<_> = self.map.keys().map(|&at| (at, self.look(at))).collect();
        let mut zombies = 0;
        for (address, look) in looks {
            let pending = self.map.get_mut(&address).unwrap();
            match pending.judge(look, self.now, LASTING, LONGEST_FREE) {
                PendingState::Waiting => {}
                PendingState::Zombie => zombies += 1,
                PendingState::Stale => {
                    self.map.remove(&address);
                    self.unseen += 1;
                }
            }
        }
        zombies
    }

    fn step(&mut self, dice: &mut Dice) {
        self.now += dice.below(3);
        let address = dice.below(ADDRESSES);
        let Some(task) = self.memory.get(&address).copied() else {
            self.create(address);
            return;
        };
        match task.life {
            Life::Freed => self.create(address),
            Life::Lives if dice.below(4) == 0 => self.end(address, Life::EndedBeforeItsGroup),
            Life::Lives => self.end(address, Life::Zombie),
            Life::EndedBeforeItsGroup => self.memory.get_mut(&address).unwrap().life = Life::Zombie,
            Life::Zombie if dice.below(4) == 0 => {
                let task = self.memory.get_mut(&address).unwrap();
                (task.life, task.reaped_at) = (Life::Reaped, self.now);
            }
            // RCU comes in time, whether or not the hook is there.
            Life::Reaped if dice.below(2) == 0 || self.now - task.reaped_at > LONGEST_FREE / 2 => {
                self.free(address, dice.below(5) > 0);
            }
            Life::Zombie | Life::Reaped => {}
        }
    }

    fn create(&mut self, address: u64) {
        self.now += 1;
        let task = Task {
            start_time: self.now,
            life: Life::Lives,
            ended_at: 0,
            reaped_at: 0,
        };
        self.memory.insert(address, task);
    }

    fn assert_adds_up(&self) {
        let sum = self.freed + self.unseen + self.unnoted + self.map.len() as u64;
        assert_eq!(self.ended, sum, "ended is freed, lost or noted");
    }

    /// Zombies by what the tasks are, for those that are noted.
    fn truth(&self) -> u64 {
        let is_zombie = |(address, task): &(&u64, &Task)| {
            task.life == Life::Zombie
                && self.now - task.ended_at >= LASTING
                && self
                    .map
                    .get(address)
                    .is_some_and(|pending| pending.is_of(task.start_time))
        };
        self.memory.iter().filter(is_zombie).count() as u64
    }
}

#[test]
fn every_end_is_freed_or_lost_once_and_zombies_are_those_there_are() {
    for seed in 1..=300 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut kernel = Kernel::default();
        for step in 0..2_000 {
            kernel.step(&mut dice);
            if step % 7 == 0 {
                // A task that RCU has not freed yet is never taken for lost.
                kernel.assert_adds_up();
                assert_eq!(kernel.scan(), kernel.truth(), "seed {seed}, step {step}");
            }
            kernel.assert_adds_up();
            assert!(kernel.freed <= kernel.ended);
        }
        // Everybody ends, is reaped and freed, unseen or not; RCU's longest time passes.
        for address in 0..ADDRESSES {
            match kernel.memory.get(&address).map(|task| task.life) {
                None | Some(Life::Freed) => continue,
                Some(Life::Lives) => kernel.end(address, Life::Zombie),
                Some(_) => {}
            }
            kernel.free(address, dice.below(2) == 0);
        }
        kernel.scan();
        kernel.now += LONGEST_FREE + 1;
        assert_eq!(kernel.scan(), 0);
        assert_eq!(kernel.map.len(), 0, "nothing waits for ever");
        kernel.assert_adds_up();
    }
}

#[test]
fn without_a_loss_every_end_is_counted_as_freed() {
    let mut kernel = Kernel::default();
    for round in 0..100 {
        let address = round % ADDRESSES;
        kernel.create(address);
        kernel.end(address, Life::Zombie);
        kernel.now += round;
        kernel.scan();
        kernel.free(address, true);
    }
    assert_eq!((kernel.ended, kernel.freed), (100, 100));
    assert_eq!((kernel.unseen, kernel.unnoted), (0, 0));
}
