//! The certificate authorities. Private keys come and go wrapped.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Micros, Scope, StoreError, Tx};

/// A certificate authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate.
    pub certificate_pem: String,
    /// Its private key (PKCS#8), wrapped.
    pub wrapped: Vec<u8>,
}

/// The authority of this kind: `server`, `claim` or `device`.
pub fn get(
    connection: &Connection,
    scope: &Scope,
    kind: &str,
) -> Result<Option<Authority>, StoreError> {
    let authority = connection
        .prepare_cached(
            "SELECT certificate_pem, wrapped FROM authorities
             WHERE account = ?1 AND region = ?2 AND kind = ?3",
        )?
        .query_row(params![scope.account, scope.region, kind], |row| {
            Ok(Authority {
                certificate_pem: row.get(0)?,
                wrapped: row.get(1)?,
            })
        })
        .optional()?;
    Ok(authority)
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
        "INSERT INTO authorities (account, region, kind, certificate_pem, wrapped, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            scope.account,
            scope.region,
            kind,
            authority.certificate_pem,
            authority.wrapped,
            now
        ],
    )?;
    Ok(())
}
