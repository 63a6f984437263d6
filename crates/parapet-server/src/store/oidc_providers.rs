//! Issuers of web identities that the account trusts.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, StoreError, Tx};

/// An issuer of web identities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcProvider {
    /// `arn:aws:iam::<account>:oidc-provider/<url>`.
    pub arn: String,
    /// Issuer without `https://`.
    pub url: String,
    /// Audiences that are accepted.
    pub client_ids: Vec<String>,
    /// SHA-1 of the certificate authority of the issuer; kept as given, not used.
    pub thumbprints: Vec<String>,
    /// The issuer's public keys (a JSON Web Key Set), as the operator gave them.
    pub keys_json: Option<String>,
    /// When it was made.
    pub created: Micros,
}

const COLUMNS: &str = "arn, url, client_ids_json, thumbprints_json, keys_json, created_us";

struct Stored {
    provider: OidcProvider,
    client_ids_json: String,
    thumbprints_json: String,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        provider: OidcProvider {
            arn: row.get(0)?,
            url: row.get(1)?,
            client_ids: Vec::new(),
            thumbprints: Vec::new(),
            keys_json: row.get(4)?,
            created: row.get(5)?,
        },
        client_ids_json: row.get(2)?,
        thumbprints_json: row.get(3)?,
    })
}

impl Stored {
    fn open(self) -> Result<OidcProvider, StoreError> {
        let list = |what, text: &str| {
            serde_json::from_str(text).map_err(|source| StoreError::Document { what, source })
        };
        Ok(OidcProvider {
            client_ids: list("client IDs of a provider", &self.client_ids_json)?,
            thumbprints: list("thumbprints of a provider", &self.thumbprints_json)?,
            ..self.provider
        })
    }
}

/// A list of texts as JSON.
fn json(texts: &[String]) -> String {
    serde_json::Value::from(texts.to_vec()).to_string()
}

/// Adds a provider.
pub fn insert(tx: &Tx<'_>, account: &str, provider: &OidcProvider) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO oidc_providers
            (account, arn, url, client_ids_json, thumbprints_json, keys_json, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            account,
            provider.arn,
            provider.url,
            json(&provider.client_ids),
            json(&provider.thumbprints),
            provider.keys_json,
            provider.created
        ],
    )?;
    Ok(())
}

/// Writes the client IDs, thumbprints and keys of a provider.
pub fn update(tx: &Tx<'_>, account: &str, provider: &OidcProvider) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE oidc_providers SET client_ids_json = ?3, thumbprints_json = ?4, keys_json = ?5
         WHERE account = ?1 AND arn = ?2",
        params![
            account,
            provider.arn,
            json(&provider.client_ids),
            json(&provider.thumbprints),
            provider.keys_json
        ],
    )?;
    Ok(())
}

/// The provider with this ARN.
pub fn get(
    connection: &Connection,
    account: &str,
    arn: &str,
) -> Result<Option<OidcProvider>, StoreError> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM oidc_providers WHERE account = ?1 AND arn = ?2"
        ))?
        .query_row([account, arn], read)
        .optional()?
        .map(Stored::open)
        .transpose()
}

/// The provider of this issuer, without `https://`.
pub fn by_url(
    connection: &Connection,
    account: &str,
    url: &str,
) -> Result<Option<OidcProvider>, StoreError> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM oidc_providers WHERE account = ?1 AND url = ?2"
        ))?
        .query_row([account, url], read)
        .optional()?
        .map(Stored::open)
        .transpose()
}

/// All providers in the order of their ARNs; their number is bounded by a quota.
pub fn all(connection: &Connection, account: &str) -> Result<Vec<OidcProvider>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM oidc_providers WHERE account = ?1 ORDER BY arn"
    ))?;
    let rows = statement.query_map([account], read)?;
    rows.map(|row| row?.open()).collect()
}

/// Removes a provider.
pub fn delete(tx: &Tx<'_>, account: &str, arn: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM oidc_providers WHERE account = ?1 AND arn = ?2",
        [account, arn],
    )?;
    Ok(())
}
