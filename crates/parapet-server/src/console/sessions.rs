//! One-time links and the sessions they become, in memory: a restart signs everybody out.
//!
//! Holds only hashes of tokens, so that a dump of the memory's table opens nothing.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use parapet_auth::Caller;

use crate::random;

/// Life of a link that nobody opened.
pub const LINK_LIFE: Duration = Duration::from_mins(1);
/// Life of a session.
const SESSION_LIFE: Duration = Duration::from_hours(12);
/// Links and sessions at a time; the oldest goes first.
const PLACES: usize = 1_000;

type Hash = [u8; 32];

/// All links and sessions.
#[derive(Default)]
pub struct Sessions {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    links: HashMap<Hash, Entry>,
    sessions: HashMap<Hash, Entry>,
}

struct Entry {
    caller: Caller,
    until: Instant,
}

impl Sessions {
    /// A token that becomes a session of this caller, once.
    pub fn link(&self, caller: Caller) -> io::Result<String> {
        let token = random::hex::<32>()?;
        insert(&mut self.lock().links, &token, caller, LINK_LIFE);
        Ok(token)
    }

    /// The cookie for a token; `None` when it is unknown, used or too old.
    pub fn redeem(&self, token: &str) -> io::Result<Option<String>> {
        let cookie = random::hex::<32>()?;
        let mut tables = self.lock();
        let Some(link) = tables.links.remove(&hash(token)) else {
            return Ok(None);
        };
        if link.until < Instant::now() {
            return Ok(None);
        }
        insert(&mut tables.sessions, &cookie, link.caller, SESSION_LIFE);
        Ok(Some(cookie))
    }

    /// Whose session this cookie is.
    #[must_use]
    pub fn find(&self, cookie: &str) -> Option<Caller> {
        let tables = self.lock();
        let entry = tables.sessions.get(&hash(cookie))?;
        (entry.until > Instant::now()).then(|| entry.caller.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // Every change above is complete before it can panic.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(table: &mut HashMap<Hash, Entry>, token: &str, caller: Caller, life: Duration) {
    let now = Instant::now();
    table.retain(|_, entry| entry.until > now);
    if table.len() >= PLACES
        && let Some(oldest) = table
            .iter()
            .min_by_key(|(_, entry)| entry.until)
            .map(|(key, _)| *key)
    {
        table.remove(&oldest);
    }
    table.insert(
        hash(token),
        Entry {
            caller,
            until: now + life,
        },
    );
}

fn hash(token: &str) -> Hash {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use parapet_auth::{Grants, Principal, PrincipalKind};

    fn caller() -> Caller {
        let principal = Principal {
            account: "123456789012".to_owned(),
            kind: PrincipalKind::User {
                id: "AIDAX".to_owned(),
                path: "/".to_owned(),
                name: "ann".to_owned(),
            },
        };
        Caller::new(principal, "AKIAX", Grants::identity(Vec::new()))
    }

    #[test]
    fn a_link_works_once() {
        let sessions = Sessions::default();
        let token = sessions.link(caller()).expect("a token");
        let cookie = sessions.redeem(&token).expect("random").expect("a session");
        assert_eq!(
            sessions.find(&cookie).expect("signed in").principal,
            caller().principal
        );
        assert!(sessions.redeem(&token).expect("random").is_none());
        assert!(sessions.find(&token).is_none());
        assert!(sessions.find("").is_none());
    }

    #[test]
    fn a_link_is_good_for_a_minute() {
        let sessions = Sessions::default();
        let token = sessions.link(caller()).expect("a token");
        let Some(past) = Instant::now().checked_sub(Duration::from_secs(1)) else {
            return;
        };
        sessions
            .lock()
            .links
            .get_mut(&hash(&token))
            .expect("there")
            .until = past;
        assert!(sessions.redeem(&token).expect("random").is_none());
    }

    #[test]
    fn the_table_is_bounded() {
        let sessions = Sessions::default();
        for _ in 0..PLACES + 10 {
            sessions.link(caller()).expect("a token");
        }
        assert_eq!(sessions.lock().links.len(), PLACES);
    }
}
