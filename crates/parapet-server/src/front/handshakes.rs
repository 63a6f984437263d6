//! The connections whose handshake is not over: how many there may be, and who gives way.
//!
//! Pure: a table and its rules; the listener does the waiting. A connection that waits for its peer
//! costs the peer nothing, so a flood of them must cost good clients nothing either: where the
//! table is full, or one address has its share, the one that has waited longest gives way to the
//! newcomer. A good client answers within a round trip and is long gone from the table by then.
//! One that waits for *this* server, for its turn to compute, never gives way: else a burst of good
//! clients would push each other out and none would come through.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::limits::network;

/// How many handshakes there may be at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Of all addresses together.
    pub all: usize,
    /// Of one address, or one IPv6 network of /64.
    pub address: usize,
}

/// Names one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// All of them. Dropping a `T` tells its connection that it has to go.
#[derive(Debug)]
pub(super) struct Handshakes<T> {
    limits: HandshakeLimits,
    next: u64,
    // In the order of their arrival.
    open: BTreeMap<u64, Open<T>>,
}

#[derive(Debug)]
struct Open<T> {
    network: IpAddr,
    turn: Turn,
    _alive: T,
}

/// Whose turn it is in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The peer has to send something.
    Peer,
    /// This server has to compute something.
    Server,
}

impl<T> Handshakes<T> {
    /// None yet.
    #[must_use]
    pub(super) fn new(limits: HandshakeLimits) -> Self {
        Self {
            limits,
            next: 0,
            open: BTreeMap::new(),
        }
    }

    /// Takes a newcomer in, whose turn it is; `None` where nobody can give way to it.
    pub(super) fn enter(&mut self, address: IpAddr, alive: T) -> Option<Ticket> {
        let network = network(address);
        let of_address = self.open.values().filter(|open| open.network == network);
        if of_address.count() >= self.limits.address {
            self.give_way(|open| open.network == network)?;
        } else if self.open.len() >= self.limits.all {
            self.give_way(|_| true)?;
        }
        let ticket = self.next;
        self.next += 1;
        let open = Open {
            network,
            turn: Turn::Peer,
            _alive: alive,
        };
        self.open.insert(ticket, open);
        Some(Ticket(ticket))
    }

    /// Notes whose turn it is now.
    pub(super) fn turn(&mut self, ticket: Ticket, turn: Turn) {
        if let Some(open) = self.open.get_mut(&ticket.0) {
            open.turn = turn;
        }
    }

    /// The handshake is over, one way or the other.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.open.remove(&ticket.0);
    }

    fn give_way(&mut self, may: impl Fn(&Open<T>) -> bool) -> Option<()> {
        let oldest = self
            .open
            .iter()
            .find(|(_, open)| open.turn == Turn::Peer && may(open))
            .map(|(ticket, _)| *ticket)?;
        self.open.remove(&oldest).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    const LIMITS: HandshakeLimits = HandshakeLimits { all: 4, address: 2 };

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Enters, and says how to see whether it was told to go.
    fn enter(table: &mut Handshakes<Rc<()>>, address: IpAddr) -> Option<(Ticket, Rc<()>)> {
        let alive = Rc::new(());
        let ticket = table.enter(address, Rc::clone(&alive))?;
        Some((ticket, alive))
    }

    fn is_alive(entered: &(Ticket, Rc<()>)) -> bool {
        Rc::strong_count(&entered.1) == 2
    }

    #[test]
    fn an_address_beyond_its_share_pushes_out_only_its_own() {
        let mut table = Handshakes::new(LIMITS);
        let good = enter(&mut table, ip(1)).expect("a place");
        let bad: Vec<_> = (0..100)
            .map(|_| enter(&mut table, ip(66)).expect("a place"))
            .collect();
        assert!(is_alive(&good));
        assert_eq!(table.open.len(), 3);
        assert_eq!(bad.iter().filter(|bad| is_alive(bad)).count(), 2);
        assert!(is_alive(&bad[99]), "the newest stays");
    }

    #[test]
    fn a_full_table_always_takes_the_newcomer_and_drops_who_waited_longest() {
        let mut table = Handshakes::new(LIMITS);
        let slow: Vec<_> = (10..14)
            .map(|last| enter(&mut table, ip(last)).expect("a place"))
            .collect();
        let good = enter(&mut table, ip(1)).expect("a place");
        assert!(!is_alive(&slow[0]));
        assert!(slow[1..].iter().all(is_alive) && is_alive(&good));
        assert_eq!(table.open.len(), LIMITS.all);
    }

    #[test]
    fn who_waits_for_the_server_never_gives_way() {
        let mut table = Handshakes::new(LIMITS);
        let first = enter(&mut table, ip(1)).expect("a place");
        let second = enter(&mut table, ip(1)).expect("a place");
        table.turn(first.0, Turn::Server);
        let third = enter(&mut table, ip(1)).expect("a place");
        assert!(is_alive(&first) && !is_alive(&second));
        table.turn(third.0, Turn::Server);
        assert!(enter(&mut table, ip(1)).is_none(), "nobody can give way");
        table.leave(first.0);
        assert!(enter(&mut table, ip(1)).is_some());
        // Of one that has gone nothing is left to change.
        table.turn(second.0, Turn::Server);
        table.leave(second.0);
        assert_eq!(table.open.len(), 2);
    }
}
