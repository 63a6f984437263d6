//! Page tokens: where a list goes on, sealed.
//!
//! A token is the position of the last row, sealed under a key of the server's own. What it belongs to (operation,
//! filter, account, region) is authenticated with it, so that a token opens only for the call it
//! was given for, and nobody learns or forges a position (`spec/api.md` 1.2).

use data_encoding::BASE64URL_NOPAD;
use parapet_auth::{Label, MasterKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::store::Scope;

/// Longest token (`NextToken`).
const TOKEN_BYTES: usize = 4096;

/// What a list's tokens are bound to.
#[derive(Debug, Clone)]
pub struct List {
    scope: Scope,
    what: String,
}

impl List {
    /// The list that `operation` gives for `filter`.
    pub fn new<F: Serialize>(
        scope: &Scope,
        operation: &str,
        filter: &F,
    ) -> Result<Self, serde_json::Error> {
        let filter = serde_json::to_string(filter)?;
        Ok(Self {
            scope: scope.clone(),
            what: format!("{}\n{operation}\n{filter}", scope.region),
        })
    }

    /// The token of a position.
    pub fn seal<P: Serialize>(&self, key: &MasterKey, position: &P) -> Result<String, TokenError> {
        let plain = serde_json::to_vec(position).map_err(|_| TokenError::Made)?;
        let nonce = crate::random::bytes().map_err(|_| TokenError::Made)?;
        let sealed = key
            .wrap(&self.label(), &plain, nonce)
            .map_err(|_| TokenError::Made)?;
        Ok(BASE64URL_NOPAD.encode(&sealed))
    }

    /// The position of a token that this list has given.
    pub fn open<P: DeserializeOwned>(&self, key: &MasterKey, token: &str) -> Result<P, TokenError> {
        if token.len() > TOKEN_BYTES {
            return Err(TokenError::Foreign);
        }
        let sealed = BASE64URL_NOPAD
            .decode(token.as_bytes())
            .map_err(|_| TokenError::Foreign)?;
        let plain = key
            .unwrap(&self.label(), &sealed)
            .map_err(|_| TokenError::Foreign)?;
        serde_json::from_slice(&plain).map_err(|_| TokenError::Foreign)
    }

    fn label(&self) -> Label<'_> {
        Label {
            table: "page-token",
            account: &self.scope.account,
            id: &self.what,
            column: "position",
            version: 1,
        }
    }
}

/// Why a token is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It was not given for this call.
    #[error("open a page token: it was not given for this call")]
    Foreign,
    /// It could not be made; the server's fault.
    #[error("seal a page token")]
    Made,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Micros, Position};

    fn list(filter: &str) -> List {
        let scope = Scope {
            account: "123456789012".to_owned(),
            region: "us-west-2".to_owned(),
        };
        List::new(&scope, "ListNodes", &filter).expect("a text is JSON")
    }

    #[test]
    fn a_token_leads_back_to_its_position() {
        let key = MasterKey::new([7; 32]);
        let position = Position::of(Micros(42), "package-a");
        let token = list("a").seal(&key, &position).expect("a token");
        assert_eq!(list("a").open::<Position>(&key, &token), Ok(position));
    }

    #[test]
    fn a_token_of_another_filter_or_of_nobody_is_refused() {
        let key = MasterKey::new([7; 32]);
        let token = list("a").seal(&key, &Position::start()).expect("a token");
        assert_eq!(
            list("b").open::<Position>(&key, &token),
            Err(TokenError::Foreign)
        );
        for forged in ["", "x", "AAAA", &"A".repeat(5000)] {
            assert_eq!(
                list("a").open::<Position>(&key, forged),
                Err(TokenError::Foreign)
            );
        }
    }
}
