//! How often an address or a principal may ask, and what wrong signatures cost it.
//!
//! Pure but for a lock: time is an argument, and the tables are of a fixed size, whatever comes.
//! Each limit is a token bucket kept as one number, the time at which it will be full again (the
//! generic cell rate algorithm of ITU-T I.371); each table is set-associative, and where a set is
//! full the bucket that is nearest to full gives way, which forgets least.
//!
//! Wrong signatures never lock an owner out. They are counted for the pair of address and access
//! key, so nobody elsewhere pays for them; below the rate every signature is verified, right or
//! wrong; above it signatures of that pair are refused before the secret is touched until the
//! bucket has a token again, which is a fraction of a second, and the refusal says when.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

/// Buckets looked at for a key.
const WAYS: usize = 8;
/// Sets of a table: with eight buckets of 16 bytes each, half a mebibyte a table.
const SETS: usize = 4_096;

/// So many at once, and so many a second after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back in a second; at least 1.
    pub per_second: u32,
    /// Tokens of a full bucket; at least 1.
    pub burst: u32,
}

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    /// Requests of one address.
    pub address: Rate,
    /// Requests of one principal.
    pub principal: Rate,
    /// Wrong signatures of one access key from one address.
    pub failures: Rate,
}

/// Too many for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("rate exceeded: too many {what}; try again in {} ms", retry_after.as_millis())]
pub struct Throttled {
    what: Counted,
    /// When one more will be taken.
    pub retry_after: Duration,
}

/// What was too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Requests of an address.
    Address,
    /// Requests of a principal.
    Principal,
    /// Wrong signatures.
    Failures,
}

/// All buckets.
#[derive(Debug)]
pub struct Limits {
    settings: LimitSettings,
    start: Instant,
    addresses: Mutex<Table>,
    principals: Mutex<Table>,
    failures: Mutex<Table>,
    // Of this process alone: nobody outside can choose keys that meet in one set.
    hasher: RandomState,
}

impl Default for LimitSettings {
    /// Far above what people and their tools do, far below what a core can answer.
    fn default() -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        Self {
            address: rate(1_000, 4_000),
            principal: rate(500, 2_000),
            failures: rate(50, 200),
        }
    }
}

impl Limits {
    /// Full buckets for everybody; `now` is the earliest time that will be given.
    #[must_use]
    pub fn new(settings: LimitSettings, now: Instant) -> Self {
        Self {
            settings,
            start: now,
            addresses: Mutex::new(Table::new(SETS)),
            principals: Mutex::new(Table::new(SETS)),
            failures: Mutex::new(Table::new(SETS)),
            hasher: RandomState::new(),
        }
    }

    /// Counts a request of this address.
    pub fn admit_address(&self, address: IpAddr, now: Instant) -> Result<(), Throttled> {
        let key = self.hasher.hash_one(network(address));
        let rate = self.settings.address;
        self.take(&self.addresses, key, rate, Counted::Address, now)
    }

    /// Counts a request of this principal, whatever unique text names it.
    pub fn admit_principal(&self, principal: &str, now: Instant) -> Result<(), Throttled> {
        let key = self.hasher.hash_one(principal);
        let rate = self.settings.principal;
        self.take(&self.principals, key, rate, Counted::Principal, now)
    }

    /// Whether a signature with this access key from this address may be verified. Counts nothing:
    /// a right signature costs nothing.
    pub fn may_verify(
        &self,
        address: IpAddr,
        access_key: &str,
        now: Instant,
    ) -> Result<(), Throttled> {
        let key = self.pair(address, access_key);
        let rate = self.settings.failures;
        let looked = lock(&self.failures).wait(key, rate, self.since(now));
        refused(looked, Counted::Failures)
    }

    /// Counts a signature that was wrong, or whose key is not there.
    pub fn failed_signature(&self, address: IpAddr, access_key: &str, now: Instant) {
        let key = self.pair(address, access_key);
        let rate = self.settings.failures;
        // What was too much is told by the next `may_verify`.
        let _counted = self.take(&self.failures, key, rate, Counted::Failures, now);
    }

    fn pair(&self, address: IpAddr, access_key: &str) -> u64 {
        self.hasher.hash_one((network(address), access_key))
    }

    fn take(
        &self,
        table: &Mutex<Table>,
        key: u64,
        rate: Rate,
        what: Counted,
        now: Instant,
    ) -> Result<(), Throttled> {
        refused(lock(table).take(key, rate, self.since(now)), what)
    }

    fn since(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Address => "requests from this address",
            Self::Principal => "requests of this principal",
            Self::Failures => "wrong signatures with this access key from this address",
        })
    }
}

impl Throttled {
    /// Whole seconds for `Retry-After`, at least one.
    #[must_use]
    pub fn retry_after_s(&self) -> u64 {
        self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0)
    }

    /// What there was too much of.
    #[must_use]
    pub fn what(&self) -> Counted {
        self.what
    }
}

/// What counts as one address: of IPv6 the /64 that a single host commonly has to itself.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn lock(table: &Mutex<Table>) -> std::sync::MutexGuard<'_, Table> {
    // A table is whole after every step.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(wait: Option<Duration>, what: Counted) -> Result<(), Throttled> {
    match wait {
        None => Ok(()),
        Some(retry_after) => Err(Throttled { what, retry_after }),
    }
}

/// Buckets by the hash of their key. Two keys of one hash share a bucket, which a 64-bit keyed hash
/// makes a matter of no account.
struct Table {
    buckets: Box<[Bucket]>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("buckets", &self.buckets.len())
            .finish()
    }
}

/// Full at `full_at`, in nanoseconds; a bucket of the past is as good as none.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    key: u64,
    full_at: u64,
}

impl Table {
    fn new(sets: usize) -> Self {
        Self {
            buckets: vec![Bucket::default(); sets * WAYS].into(),
        }
    }

    /// Takes a token; how long until there is one where there is none.
    fn take(&mut self, key: u64, rate: Rate, now: u64) -> Option<Duration> {
        let set = self.set(key);
        let known = set.iter().position(|bucket| bucket.key == key);
        let place = known.unwrap_or_else(|| {
            let ages = set.iter().enumerate();
            let fullest = ages.min_by_key(|(_, bucket)| bucket.full_at);
            let place = fullest.map_or(0, |(place, _)| place);
            set[place] = Bucket { key, full_at: now };
            place
        });
        let bucket = &mut set[place];
        let wait = rate.wait(bucket.full_at, now);
        if wait.is_none() {
            bucket.full_at = bucket.full_at.max(now) + rate.token_ns();
        }
        wait
    }

    /// How long until there is a token; takes none.
    fn wait(&mut self, key: u64, rate: Rate, now: u64) -> Option<Duration> {
        let found = self.set(key).iter().find(|bucket| bucket.key == key)?;
        rate.wait(found.full_at, now)
    }

    fn set(&mut self, key: u64) -> &mut [Bucket] {
        let sets = self.buckets.len() / WAYS;
        let first = (key as usize % sets) * WAYS;
        &mut self.buckets[first..first + WAYS]
    }
}

impl Rate {
    /// In which a token comes back.
    fn token_ns(self) -> u64 {
        1_000_000_000 / u64::from(self.per_second.max(1))
    }

    /// How long a bucket that is full at `full_at` has no token.
    fn wait(self, full_at: u64, now: u64) -> Option<Duration> {
        let empty_ns = self.token_ns() * u64::from(self.burst.max(1));
        let missing_ns = full_at.saturating_sub(now);
        let wait_ns = (missing_ns + self.token_ns()).saturating_sub(empty_ns);
        (wait_ns > 0).then(|| Duration::from_nanos(wait_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Rate = Rate {
        per_second: 2,
        burst: 3,
    };

    fn limits() -> (Limits, Instant) {
        let start = Instant::now();
        let settings = LimitSettings {
            address: SLOW,
            principal: SLOW,
            failures: SLOW,
        };
        (Limits::new(settings, start), start)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let (limits, start) = limits();
        let ask = |ms| limits.admit_address(ip("192.0.2.1"), start + Duration::from_millis(ms));
        assert_eq!([ask(0), ask(0), ask(0)], [Ok(()); 3]);
        let refused = ask(0).expect_err("empty");
        assert_eq!(refused.retry_after, Duration::from_millis(500));
        assert_eq!(refused.retry_after_s(), 1);
        assert!(ask(499).is_err(), "a refusal does not lengthen the wait");
        assert_eq!(ask(500), Ok(()));
        assert!(ask(500).is_err());
        // Idle for long: a burst again, not more.
        assert_eq!([ask(60_000), ask(60_000), ask(60_000)], [Ok(()); 3]);
        assert!(ask(60_000).is_err());
    }

    #[test]
    fn one_address_does_not_pay_for_another() {
        let (limits, now) = limits();
        while limits.admit_address(ip("192.0.2.1"), now).is_ok() {}
        assert_eq!(limits.admit_address(ip("192.0.2.2"), now), Ok(()));
        assert_eq!(limits.admit_address(ip("2001:db8::1"), now), Ok(()));
    }

    #[test]
    fn a_host_does_not_multiply_itself_with_its_ipv6_prefix() {
        let (limits, now) = limits();
        for host in 0..3 {
            let address = ip(&format!("2001:db8::{host}"));
            assert_eq!(limits.admit_address(address, now), Ok(()));
        }
        assert!(limits.admit_address(ip("2001:db8::9"), now).is_err());
        assert_eq!(limits.admit_address(ip("2001:db8:0:1::9"), now), Ok(()));
        // The same IPv4 host through both kinds of socket.
        while limits.admit_address(ip("192.0.2.1"), now).is_ok() {}
        assert!(limits.admit_address(ip("::ffff:192.0.2.1"), now).is_err());
    }

    #[test]
    fn principals_are_counted_apart_from_addresses() {
        let (limits, now) = limits();
        while limits.admit_principal("AIDAONE", now).is_ok() {}
        assert_eq!(limits.admit_principal("AIDATWO", now), Ok(()));
        assert_eq!(limits.admit_address(ip("192.0.2.1"), now), Ok(()));
    }

    #[test]
    fn wrong_signatures_never_lock_the_owner_out() {
        let (limits, now) = limits();
        let attacker = ip("192.0.2.66");
        for _ in 0..1_000 {
            limits.failed_signature(attacker, "AKIAOWNER", now);
        }
        let refused = limits.may_verify(attacker, "AKIAOWNER", now);
        assert!(refused.is_err(), "no HMAC beyond the rate");
        // From elsewhere, and with another key from there, at once.
        assert_eq!(limits.may_verify(ip("192.0.2.1"), "AKIAOWNER", now), Ok(()));
        assert_eq!(limits.may_verify(attacker, "AKIAOTHER", now), Ok(()));
        // From the same address after one token's time, however many were wrong before.
        let later = now + Duration::from_millis(500);
        assert_eq!(limits.may_verify(attacker, "AKIAOWNER", later), Ok(()));
    }

    #[test]
    fn right_signatures_cost_nothing() {
        let (limits, now) = limits();
        for _ in 0..1_000 {
            assert_eq!(limits.may_verify(ip("192.0.2.1"), "AKIAOWNER", now), Ok(()));
        }
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_and_forgets_the_fullest_first() {
        let mut table = Table::new(1);
        for _ in 0..3 {
            assert_eq!(table.take(7, SLOW, 0), None);
        }
        for key in 100..10_000 {
            assert_eq!(table.take(key, SLOW, 0), None);
        }
        assert_eq!(table.buckets.len(), WAYS);
        assert!(
            table.take(7, SLOW, 0).is_some(),
            "the emptiest bucket stays"
        );
    }
}
