//! One authenticated request on its way through an operation.

use std::sync::Arc;

use data_encoding::BASE32_NOPAD;
use parapet_auth::{Caller, authorize};
use serde::Serialize;

use crate::context::Context;
use crate::store::{Position, Scope};

use super::failure::Failure;
use super::token::List;

/// Page size of every list (`spec/api.md` 1.2).
const PAGE: usize = 25;

/// Who asks, in whose name, and with what.
pub struct Call {
    /// The server's parts.
    pub ctx: Arc<Context>,
    /// Who signed the request.
    pub caller: Caller,
    /// The account and region it acts on.
    pub scope: Scope,
}

impl Call {
    /// Refuses unless the caller's policies allow `action` on `resource`.
    pub fn authorize(&self, action: &str, resource: &str) -> Result<(), Failure> {
        if authorize(&self.caller, action, resource).is_allowed() {
            return Ok(());
        }
        Err(Failure::Denied(format!(
            "User: {} is not authorized to perform: {action} on resource: {resource}",
            self.caller.principal.arn()
        )))
    }

    /// `arn:aws:panorama:<region>:<account>:<kind>/<id>`.
    #[must_use]
    pub fn arn(&self, kind: &str, id: &str) -> String {
        arn(&self.scope, kind, id)
    }

    /// Where a list begins: after the token, or at the newest row. `filter` is what else the
    /// request asks for; the token is bound to it.
    pub fn paging<F: Serialize>(
        &self,
        operation: &str,
        filter: &F,
        max_results: Option<i64>,
        token: Option<&str>,
    ) -> Result<Paging, Failure> {
        let list =
            List::new(&self.scope, operation, filter).map_err(Failure::internal)?;
        let after = match token {
            Some(token) => list.open(&self.ctx.master_key, token)?,
            None => Position::start(),
        };
        let limit = match max_results.and_then(|n| usize::try_from(n).ok()) {
            None | Some(0) => PAGE,
            Some(asked) => asked.min(PAGE),
        };
        Ok(Paging { list, after, limit })
    }

    /// The token that leads to the page after `position`.
    pub fn next_token(
        &self,
        paging: &Paging,
        position: Option<&Position>,
    ) -> Result<Option<String>, Failure> {
        position
            .map(|position| Ok(paging.list.seal(&self.ctx.master_key, position)?))
            .transpose()
    }
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Paging {
    list: List,
    /// The page begins after this.
    pub after: Position,
    /// Most rows.
    pub limit: usize,
}

/// `arn:aws:panorama:<region>:<account>:<kind>/<id>`.
#[must_use]
pub fn arn(scope: &Scope, kind: &str, id: &str) -> String {
    format!("arn:aws:panorama:{}:{}:{kind}/{id}", scope.region, scope.account)
}

/// 128 random bits, and none if the system has no randomness to give.
pub fn random_bits() -> Result<[u8; 16], Failure> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits).map_err(Failure::internal)?;
    Ok(bits)
}

/// `<kind>-<26 characters>` (`spec/api.md` section 2).
pub fn new_id(kind: &str) -> Result<String, Failure> {
    Ok(format!("{kind}-{}", BASE32_NOPAD.encode(&random_bits()?).to_ascii_lowercase()))
}

/// A random UUID, version 4 (RFC 9562 5.4).
pub fn new_uuid() -> Result<String, Failure> {
    let mut bits = random_bits()?;
    bits[6] = (bits[6] & 0x0f) | 0x40;
    bits[8] = (bits[8] & 0x3f) | 0x80;
    let hex = hex::encode(bits);
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_26_characters_after_its_kind() {
        let id = new_id("device").expect("randomness");
        let suffix = id.strip_prefix("device-").expect("the kind");
        assert_eq!(suffix.len(), 26);
        assert!(suffix.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)));
        assert_ne!(id, new_id("device").expect("randomness"));
    }

    #[test]
    fn a_uuid_says_that_it_is_random() {
        let uuid = new_uuid().expect("randomness");
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!(["8", "9", "a", "b"].contains(&&uuid[19..20]));
    }
}
