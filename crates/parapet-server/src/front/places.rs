//! How many connections there may be whose handshake is over: all together, and of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::limits::network;

/// How long a connection waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceLimits {
    /// Of all addresses together.
    pub all: usize,
    /// Of one address, or one IPv6 network of /64.
    pub address: usize,
}

/// All places of a listener.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    of_address: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
    pressure: watch::Sender<()>,
}

/// One place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    network: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(limits: PlaceLimits) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(limits.all)),
            of_address: limits.address,
            taken: Mutex::default(),
            pressure: watch::Sender::new(()),
        })
    }

    /// Takes a place; where none is free, tells idle connections to give way and waits a little.
    pub(super) async fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = network(address);
        let permit = if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            permit
        } else {
            self.pressure.send_replace(());
            let wait = Arc::clone(&self.free).acquire_owned();
            timeout(PATIENCE, wait).await.ok()?.ok()?
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(network).or_default();
        if *count >= self.of_address {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place {
            places: Arc::clone(self),
            network,
            _permit: permit,
        })
    }

    /// Changes when somebody waits for a place.
    pub(super) fn pressure(&self) -> watch::Receiver<()> {
        self.pressure.subscribe()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let taken = &self.places.taken;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn one_address_cannot_take_all_places() {
        let places = Places::new(PlaceLimits { all: 3, address: 2 });
        let first = places.take(ip(66)).await.expect("a place");
        let _second = places.take(ip(66)).await.expect("a place");
        assert!(places.take(ip(66)).await.is_none());
        let _other = places.take(ip(1)).await.expect("a place");
        drop(first);
        let _again = places.take(ip(66)).await.expect("a place");
        let waits = places.take(ip(2)).now_or_never().is_none();
        assert!(waits, "all are taken");
    }

    #[tokio::test]
    async fn who_finds_no_place_presses_and_gets_the_next() {
        let places = Places::new(PlaceLimits { all: 1, address: 1 });
        let mut pressure = places.pressure();
        let first = places.take(ip(1)).await.expect("a place");
        let give_way = async {
            pressure.changed().await.expect("a sender");
            drop(first);
        };
        let (second, ()) = tokio::join!(places.take(ip(2)), give_way);
        assert!(second.is_some());
        drop(second);
        assert!(places.taken.lock().expect("a table").is_empty());
    }
}
