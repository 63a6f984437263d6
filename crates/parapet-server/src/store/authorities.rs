//! Certificate authorities, their keys wrapped, and what devices are known to trust.

use rusqlite::{Connection, params};

use super::{Micros, Scope, StoreError, Tx};

/// What an authority does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Trusted, signs nothing yet.
    Next,
    /// Signs.
    Signing,
    /// Trusted until its leaves are gone.
    Previous,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Previous => "previous",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Next, Self::Signing, Self::Previous]
            .into_iter()
            .find(|state| state.text() == text)
            .ok_or_else(|| StoreError::unknown("state of an authority", text))
    }
}

/// A certificate authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its name among those of its kind, part of the label of its key.
    pub id: String,
    /// What it does.
    pub state: State,
    /// Its certificate.
    pub certificate_pem: String,
    /// Its private key (PKCS#8), wrapped.
    pub wrapped: Vec<u8>,
}

/// The authorities of this kind: `server`, `claim` or `device`.
pub fn of_kind(
    connection: &Connection,
    scope: &Scope,
    kind: &str,
) -> Result<Vec<Authority>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, state, certificate_pem, wrapped FROM authorities
         WHERE account = ?1 AND region = ?2 AND kind = ?3 ORDER BY created_us",
    )?;
    let mut rows = statement.query(params![scope.account, scope.region, kind])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Authority {
            id: row.get(0)?,
            state: State::parse(&row.get::<_, String>(1)?)?,
            certificate_pem: row.get(2)?,
            wrapped: row.get(3)?,
        });
    }
    Ok(found)
}

/// Adds an authority.
pub fn insert(
    tx: &Tx<'_>,
    scope: &Scope,
    kind: &str,
    authority: &Authority,
    now: Micros,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO authorities
            (account, region, id, kind, state, certificate_pem, wrapped, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            scope.account,
            scope.region,
            authority.id,
            kind,
            authority.state.text(),
            authority.certificate_pem,
            authority.wrapped,
            now
        ],
    )?;
    Ok(())
}

/// Lets the next authority sign and keeps the one that signed as the previous one; says whether
/// there was a next one.
pub fn switch(tx: &Tx<'_>, scope: &Scope, kind: &str) -> Result<bool, StoreError> {
    let has_next = of_kind(tx, scope, kind)?
        .iter()
        .any(|authority| authority.state == State::Next);
    if has_next {
        for (from, to) in [
            (State::Signing, State::Previous),
            (State::Next, State::Signing),
        ] {
            tx.execute(
                "UPDATE authorities SET state = ?5
                 WHERE account = ?1 AND region = ?2 AND kind = ?3 AND state = ?4",
                params![scope.account, scope.region, kind, from.text(), to.text()],
            )?;
        }
    }
    Ok(has_next)
}

/// Forgets the authority in this state; says whether there was one.
pub fn forget(tx: &Tx<'_>, scope: &Scope, kind: &str, state: State) -> Result<bool, StoreError> {
    let gone = tx.execute(
        "DELETE FROM authorities
         WHERE account = ?1 AND region = ?2 AND kind = ?3 AND state = ?4",
        params![scope.account, scope.region, kind, state.text()],
    )?;
    Ok(gone > 0)
}

/// Notes which authorities a device says it trusts.
pub fn note_trust(
    tx: &Tx<'_>,
    scope: &Scope,
    device: &str,
    authorities: &str,
    now: Micros,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO device_trust (account, region, device, authorities, seen_us)
         SELECT account, region, id, ?4, ?5 FROM devices
         WHERE account = ?1 AND region = ?2 AND id = ?3
         ON CONFLICT (account, region, device) DO UPDATE
         SET authorities = excluded.authorities, seen_us = excluded.seen_us",
        params![scope.account, scope.region, device, authorities, now],
    )?;
    Ok(())
}

/// Enrolled devices (those that have a certificate that is good still) of which it is not known
/// that they trust exactly `authorities`.
pub fn devices_without_trust(
    connection: &Connection,
    scope: &Scope,
    authorities: &str,
    now: Micros,
) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT c.device FROM device_certificates c
         LEFT JOIN device_trust t USING (account, region, device)
         WHERE c.account = ?1 AND c.region = ?2 AND c.expires_us > ?4
           AND (t.authorities IS NULL OR t.authorities <> ?3)
         ORDER BY c.device",
    )?;
    let rows = statement.query_map(
        params![scope.account, scope.region, authorities, now],
        |row| row.get(0),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Devices whose newest certificate is good still and was not signed by `authority`.
pub fn devices_not_signed_by(
    connection: &Connection,
    scope: &Scope,
    authority: &str,
    now: Micros,
) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT device FROM device_certificates c
         WHERE account = ?1 AND region = ?2 AND authority <> ?3 AND expires_us > ?4
           AND number = (SELECT max(number) FROM device_certificates n
                         WHERE n.account = c.account AND n.region = c.region
                           AND n.device = c.device)
         ORDER BY device",
    )?;
    let rows = statement.query_map(
        params![scope.account, scope.region, authority, now],
        |row| row.get(0),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Claims that were not used and may be still, signed by whichever authority.
pub fn open_claims(connection: &Connection, scope: &Scope, now: Micros) -> Result<u64, StoreError> {
    let count: i64 = connection.query_row(
        "SELECT count(*) FROM claims
         WHERE account = ?1 AND region = ?2 AND used_us IS NULL AND expires_us > ?3",
        params![scope.account, scope.region, now],
        |row| row.get(0),
    )?;
    Ok(count.unsigned_abs())
}
