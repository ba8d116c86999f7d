//! Room for connections, shared fairly among those who connect. Pure but for the clock of reports.
//!
//! Whoever opens many connections competes with itself: when all places are taken, a newcomer who has fewer than another
//! gets the place of that one's oldest. The kubelet's probe, with one connection for a moment, is always let in.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    time::Duration,
};

use hashbrown::HashMap;
use tokio::{sync::Notify, time::Instant};

/// Peers whose reports are remembered.
const MOST_PEERS: usize = 256;
/// A peer may keep the agent busy with reports for a tenth of the time.
const PAUSE: u32 = 9;

/// Who connects: an address, or the network of 64 bits that an IPv6 host has for itself (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(IpAddr);

impl Peer {
    /// At this address.
    pub fn at(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(network.into())
            }
            address => address,
        })
    }

    /// Whether it is on this machine.
    pub fn is_local(self) -> bool {
        self.0.is_loopback()
    }
}

/// A place that is taken.
#[derive(Debug)]
struct Place {
    number: u64,
    peer: Peer,
    evicted: Rc<Notify>,
}

/// So many places.
#[derive(Debug)]
pub struct Room {
    most: usize,
    /// The oldest first.
    taken: RefCell<Vec<Place>>,
    next: Cell<u64>,
}

impl Room {
    /// With so many places.
    pub fn new(most: usize) -> Rc<Self> {
        Rc::new(Self {
            most,
            taken: RefCell::default(),
            next: Cell::new(0),
        })
    }

    /// A place, if need be that of the oldest connection of whoever has the most; `None` where nobody has more than this
    /// peer.
    pub fn admit(self: &Rc<Self>, peer: Peer) -> Option<Seat> {
        let mut taken = self.taken.borrow_mut();
        if taken.len() >= self.most {
            let mut counts: HashMap<Peer, usize> = HashMap::new();
            for place in taken.iter() {
                *counts.entry(place.peer).or_default() += 1;
            }
            let own = counts.get(&peer).copied().unwrap_or(0);
            let most = counts.values().copied().max().filter(|&most| most > own)?;
            let oldest = taken.iter().position(|place| counts[&place.peer] == most)?;
            taken.remove(oldest).evicted.notify_one();
        }
        drop(taken);
        Some(self.seat(peer))
    }

    /// A place that is kept to its end; of these another machine has at most half.
    pub fn admit_share(self: &Rc<Self>, peer: Peer) -> Option<Seat> {
        let taken = self.taken.borrow();
        let own = taken.iter().filter(|place| place.peer == peer).count();
        let has_share = peer.is_local() || own < self.most.div_ceil(2);
        let has_room = taken.len() < self.most && has_share;
        drop(taken);
        has_room.then(|| self.seat(peer))
    }

    fn seat(self: &Rc<Self>, peer: Peer) -> Seat {
        let number = self.next.get();
        self.next.set(number + 1);
        let evicted = Rc::new(Notify::new());
        self.taken.borrow_mut().push(Place {
            number,
            peer,
            evicted: evicted.clone(),
        });
        Seat {
            room: self.clone(),
            number,
            evicted,
        }
    }
}

/// A place, for as long as this lives.
#[derive(Debug)]
pub struct Seat {
    room: Rc<Room>,
    number: u64,
    evicted: Rc<Notify>,
}

impl Seat {
    /// Waits until another one gets the place.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.room.taken.borrow_mut();
        taken.retain(|place| place.number != self.number);
    }
}

/// When peers of other machines may have the next report.
#[derive(Debug, Default)]
pub struct ReportPauses(HashMap<Peer, Instant>);

impl ReportPauses {
    /// How long this peer has to wait.
    pub fn wait(&self, peer: Peer, now: Instant) -> Option<Duration> {
        let until = self.0.get(&peer)?;
        until
            .checked_duration_since(now)
            .filter(|wait| !wait.is_zero())
    }

    /// A report for this peer took so long.
    pub fn took(&mut self, peer: Peer, time: Duration, now: Instant) {
        if peer.is_local() {
            return;
        }
        self.0.retain(|_, until| *until > now);
        if self.0.len() >= MOST_PEERS
            && let Some(next) = self.0.iter().min_by_key(|(_, until)| **until)
        {
            let next = *next.0;
            self.0.remove(&next);
        }
        self.0.insert(peer, now + time * PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> Peer {
        Peer::at(IpAddr::from([10, 0, 0, n]))
    }

    #[test]
    fn a_newcomer_gets_the_place_of_whoever_has_the_most() {
        let room = Room::new(4);
        let mut greedy: Vec<_> = (0..4).map(|_| room.admit(peer(1)).unwrap()).collect();
        assert!(room.admit(peer(1)).is_none(), "it competes with itself");
        let probe = room.admit(peer(2)).unwrap();
        assert_eq!(room.taken.borrow().len(), 4);
        // Its oldest one has lost its place, and gives none back at its end.
        assert!(!room.taken.borrow().iter().any(|place| place.number == 0));
        drop(greedy.remove(0));
        assert_eq!(room.taken.borrow().len(), 4);
        drop(probe);
        assert_eq!(room.taken.borrow().len(), 3);
        drop(greedy);
        assert!(room.taken.borrow().is_empty());
    }

    #[test]
    fn many_peers_do_not_keep_one_more_out() {
        let room = Room::new(4);
        let seats: Vec<_> = (1..=4).map(|n| room.admit(peer(n)).unwrap()).collect();
        let _probe = room.admit(peer(9)).unwrap();
        assert_eq!(room.taken.borrow().len(), 4);
        drop(seats);
        assert_eq!(room.taken.borrow().len(), 1);
    }

    #[tokio::test]
    async fn who_loses_a_place_is_told() {
        let room = Room::new(2);
        let (first, _second) = (room.admit(peer(1)).unwrap(), room.admit(peer(1)).unwrap());
        let _newcomer = room.admit(peer(2)).unwrap();
        first.evicted().await;
    }

    #[test]
    fn half_of_the_lasting_places_is_for_others() {
        let room = Room::new(4);
        let seats: Vec<_> = (0..2).map(|_| room.admit_share(peer(1)).unwrap()).collect();
        assert!(room.admit_share(peer(1)).is_none());
        let other = room.admit_share(peer(2)).unwrap();
        let local = Peer::at(IpAddr::from([127, 0, 0, 1]));
        let _local = room.admit_share(local).unwrap();
        assert!(room.admit_share(local).is_none(), "all are taken");
        drop((seats, other));
        let _all: Vec<_> = (0..3).map(|_| room.admit_share(local).unwrap()).collect();
    }

    #[test]
    fn an_ipv6_host_is_one_peer_whatever_address_it_takes() {
        let at = |text: &str| Peer::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), peer(1));
        assert!(at("::1").is_local() && at("127.0.0.2").is_local());
    }

    #[test]
    fn a_peer_has_reports_for_a_tenth_of_the_time() {
        let (mut pauses, now) = (ReportPauses::default(), Instant::now());
        assert_eq!(pauses.wait(peer(1), now), None);
        pauses.took(peer(1), Duration::from_secs(2), now);
        let wait = pauses.wait(peer(1), now + Duration::from_secs(8));
        assert_eq!(wait, Some(Duration::from_secs(10)));
        assert_eq!(pauses.wait(peer(2), now), None);
        assert_eq!(pauses.wait(peer(1), now + Duration::from_secs(18)), None);
        for n in 0..=u8::MAX {
            pauses.took(peer(n), Duration::from_secs(u64::from(n)), now);
        }
        pauses.took(
            Peer::at(IpAddr::from([10, 1, 0, 0])),
            Duration::from_secs(1),
            now,
        );
        assert_eq!(pauses.0.len(), MOST_PEERS);
    }
}
