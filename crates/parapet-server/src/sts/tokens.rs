//! The ring that seals session tokens: kept in the store, turned daily.
//!
//! Owns the keys in memory. They are random, wrapped by the master key in table `session_keys`, and
//! derived from nothing. A token is sealed by the newest; a key that is a day old gets a successor
//! when the next token is sealed and is forgotten once no token of its can be alive. Opening a
//! token reads nothing but memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parapet_auth::session::{
    OpenSession, RING_KEY_BYTES, RingKey, SealedSession, SessionClaims, SessionError, SessionRing,
};
use parapet_auth::{Label, WrapError};
use thiserror::Error;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::identity::KeyRing;
use crate::random;
use crate::store::session_keys::{self, SessionKey};
use crate::store::{Micros, Store, StoreError};

/// How long a key seals.
const TURN: Duration = Duration::from_hours(24);
/// How long a key opens after it was made: as long as it seals, then as long as the longest session
/// lives (`GetSessionToken`, 36 hours), and an hour for a turn that came late.
const KEPT: Duration = Duration::from_hours(24 + 36 + 1);

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokensError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key that the master key does not open, or did not seal.
    #[error("open a key of the session ring")]
    Wrap(#[from] WrapError),
    /// No randomness.
    #[error("make a session token")]
    Random(#[from] io::Error),
    /// The token itself.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A row of another length.
    #[error("read key {0} of the session ring: it has not 32 bytes")]
    Length(u32),
    /// After 4,294,967,295 turns.
    #[error("turn the session ring: all key IDs are used")]
    Exhausted,
}

/// Seals and opens session tokens.
pub struct Tokens {
    store: Store,
    account: String,
    held: ArcSwap<Held>,
    /// One turn at a time.
    turning: Mutex<()>,
}

struct Held {
    ring: SessionRing,
    newest: Micros,
}

impl Tokens {
    /// Loads the ring; makes its first key when there is none.
    pub async fn load(
        store: Store,
        account: String,
        master: &KeyRing,
    ) -> Result<Self, TokensError> {
        let held = match read(&store, &account, master).await? {
            Some(held) => held,
            None => turn(&store, &account, master).await?,
        };
        Ok(Self {
            store,
            account,
            held: ArcSwap::from_pointee(held),
            turning: Mutex::new(()),
        })
    }

    /// Makes the token of a session.
    pub async fn seal(
        &self,
        master: &KeyRing,
        claims: &SessionClaims,
    ) -> Result<SealedSession, TokensError> {
        if is_old(self.held.load().newest) {
            let _one = self.turning.lock().await;
            // Somebody may have turned it while this waited.
            if is_old(self.held.load().newest) {
                let held = turn(&self.store, &self.account, master).await?;
                self.held.store(Arc::new(held));
            }
        }
        Ok(self.held.load().ring.seal(claims, random::bytes()?)?)
    }

    /// Opens a token at `now`, seconds since the epoch.
    pub fn open(&self, token: &str, now: i64) -> Result<OpenSession, SessionError> {
        self.held.load().ring.open(token, now)
    }
}

fn is_old(made: Micros) -> bool {
    made.after(TURN) <= Micros::now()
}

/// Adds a key, forgets those that are of no more use, and gives the new ring.
async fn turn(store: &Store, account: &str, master: &KeyRing) -> Result<Held, TokensError> {
    let owner = account.to_owned();
    let keys = store
        .read::<_, StoreError, _>(move |connection| session_keys::all(connection, &owner))
        .await?;
    let id = match keys.first() {
        Some(newest) => newest.id.checked_add(1).ok_or(TokensError::Exhausted)?,
        None => 1,
    };
    let plain = Zeroizing::new(random::bytes::<RING_KEY_BYTES>()?);
    let text = id.to_string();
    let key = SessionKey {
        id,
        wrapped: master.wrap(&label(account, &text), plain.as_slice(), random::bytes()?)?,
        created: Micros::now(),
    };
    let kept_us = i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX);
    let (owner, forgotten) = (account.to_owned(), Micros(key.created.0 - kept_us));
    store
        .write::<_, StoreError, _>(move |tx| {
            session_keys::insert(tx, &owner, &key)?;
            session_keys::forget_before(tx, &owner, forgotten)
        })
        .await?;
    tracing::info!(id, "the session ring has a new key");
    match read(store, account, master).await? {
        Some(held) => Ok(held),
        None => Err(TokensError::Length(id)),
    }
}

/// The ring as it is stored; `None` when it has no key.
async fn read(store: &Store, account: &str, master: &KeyRing) -> Result<Option<Held>, TokensError> {
    let owner = account.to_owned();
    let keys = store
        .read::<_, StoreError, _>(move |connection| session_keys::all(connection, &owner))
        .await?;
    let Some(newest) = keys.first().map(|key| key.created) else {
        return Ok(None);
    };
    let mut opened = Vec::with_capacity(keys.len());
    for key in keys {
        let plain = master.unwrap(&label(account, &key.id.to_string()), &key.wrapped)?;
        let bytes: [u8; RING_KEY_BYTES] = plain
            .as_slice()
            .try_into()
            .map_err(|_| TokensError::Length(key.id))?;
        opened.push(RingKey::new(key.id, bytes)?);
    }
    let current = opened.remove(0);
    Ok(Some(Held {
        ring: SessionRing::new(current, opened),
        newest,
    }))
}

fn label<'a>(account: &'a str, id: &'a str) -> Label<'a> {
    Label {
        table: "session_keys",
        account,
        id,
        column: "wrapped",
        version: 1,
    }
}
