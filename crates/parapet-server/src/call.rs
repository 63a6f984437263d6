//! One authenticated request on its way through an operation, whatever its service.
//!
//! The front makes a [`Call`] once a signature is verified; an operation asks [`Call::authorize`]
//! before it does anything, and changes durable state through [`Call::write`] alone, so that the
//! change, its line in the audit trail and the use of its signature are one transaction. What an
//! operation wants is an [`Ask`]; the keys of a condition come from the front ([`Call`]'s
//! circumstances) and from the ask, never from a header as it was sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parapet_auth::policy::{Context as Circumstances, Decision, Denial, Grants, Question, decide};
use parapet_auth::{Authenticated, Caller};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::audit::Draft;
use crate::context::Context;
use crate::store::{Micros, Scope, StoreError, Tx, replays};

/// Who asks, in whose name, with what, and under which circumstances.
#[derive(Clone)]
pub struct Call {
    /// The server's parts.
    pub ctx: Arc<Context>,
    /// Who signed the request.
    pub caller: Caller,
    /// The account and region it acts on.
    pub scope: Scope,
    /// Condition keys of the request and its caller.
    pub circumstances: Arc<Circumstances>,
    /// The request's line of the audit trail.
    pub draft: Arc<Draft>,
    /// Tells a second arrival of the same signed request.
    pub once: Arc<Once>,
}

/// A request whose signature has been verified, as it was received.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Method.
    pub method: &'a str,
    /// The path, percent-encoded: the one that was signed.
    pub raw_path: &'a str,
    /// What follows the `?`, still encoded; empty without one.
    pub query: &'a str,
    /// The whole body.
    pub body: &'a [u8],
    /// Names the request in the log and in the answer.
    pub request_id: &'a str,
}

impl Incoming<'_> {
    /// The members of a request that speaks JSON, as they came: for the audit trail, which masks
    /// them. `labels` are those of the path, decoded.
    #[must_use]
    pub fn members<'l>(&self, labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> Value {
        let mut members = match serde_json::from_slice(self.body) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        };
        for (name, value) in url::form_urlencoded::parse(self.query.as_bytes()) {
            members.insert(name.into_owned(), Value::from(value));
        }
        for (name, value) in labels {
            members.insert(name.to_owned(), Value::from(value));
        }
        Value::Object(members)
    }
}

/// What a request's signature may be used for: one change, or one call that makes several.
#[derive(Debug, Default)]
pub struct Once {
    /// `None` where the same request may come again: a presigned URL, the console's own page.
    signature: Option<[u8; 32]>,
    /// Whether this call has used it up.
    is_used: AtomicBool,
}

impl Once {
    /// For a verified request.
    #[must_use]
    pub fn of(proof: &Authenticated) -> Self {
        Self {
            signature: (!proof.is_presigned()).then(|| *proof.signature()),
            is_used: AtomicBool::new(false),
        }
    }

    /// Uses the signature up, unless this call has done so before.
    fn spend(&self, tx: &Tx<'_>) -> Result<bool, StoreError> {
        match &self.signature {
            Some(signature) if !self.is_used.load(Ordering::Acquire) => {
                replays::use_up(tx, signature, Micros::now())
            }
            _ => Ok(true),
        }
    }
}

/// The caller's policies do not allow it. The text is for the caller.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// This very request, signature and all, has changed something before.
///
/// A client that means the same twice within a second signs the same twice, and must succeed as it
/// does with the original: each protocol answers in its words for "too fast", upon which SDKs wait
/// and sign anew. Whoever only has a captured request cannot do that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this very request was carried out before: sign it again to do it again")]
pub struct Replayed;

/// One action on one resource, with what is known of both.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    action: &'a str,
    resource: &'a str,
    alias: Option<&'a str>,
    keys: Circumstances,
}

impl<'a> Ask<'a> {
    /// `action` (`panorama:CreatePackage`) on `resource` (an ARN, or `*`).
    #[must_use]
    pub fn new(action: &'a str, resource: &'a str) -> Self {
        Self {
            action,
            resource,
            alias: None,
            keys: Circumstances::new(),
        }
    }

    /// A second name of the same resource: a policy may speak of either, and a denial of either
    /// counts.
    #[must_use]
    pub fn or_named(mut self, alias: &'a str) -> Self {
        self.alias = Some(alias);
        self
    }

    /// `aws:ResourceTag/…`: the tags that the resource has.
    #[must_use]
    pub fn tagged(mut self, tags: &BTreeMap<String, String>) -> Self {
        self.keys.add_tags("aws:ResourceTag/", tags.iter());
        self
    }

    /// `aws:RequestTag/…` and `aws:TagKeys`: the tags that the request gives.
    #[must_use]
    pub fn tagging(mut self, tags: &BTreeMap<String, String>) -> Self {
        self.keys.add_tags("aws:RequestTag/", tags.iter());
        self.keys.set_all("aws:TagKeys", tags.keys().cloned());
        self
    }

    /// `aws:TagKeys`: the tags that the request takes away.
    #[must_use]
    pub fn untagging(mut self, keys: &[String]) -> Self {
        self.keys.set_all("aws:TagKeys", keys.iter().cloned());
        self
    }

    /// Any other key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.keys.set(key, value);
        self
    }

    /// What policies say to it under these circumstances. Of a resource with two names: denied
    /// under either is denied, else allowed under either is allowed.
    #[must_use]
    pub fn decide(&self, grants: &Grants, circumstances: &Circumstances) -> Decision {
        let mut context = circumstances.clone();
        for (key, values) in self.keys.iter() {
            context.set_all(key, values.iter().cloned());
        }
        let named = |resource| {
            let question = Question {
                action: self.action,
                resource,
                context: &context,
            };
            decide(grants, &question)
        };
        let first = named(self.resource);
        let Some(alias) = self.alias else {
            return first;
        };
        match (first, named(alias)) {
            (
                first @ Decision::Denied(Denial::NoAllow(_)),
                Decision::Denied(Denial::NoAllow(_)),
            ) => first,
            (Decision::Denied(Denial::NoAllow(_)), second) => second,
            (Decision::Allowed { .. }, second @ Decision::Denied(_))
                if !matches!(second, Decision::Denied(Denial::NoAllow(_))) =>
            {
                second
            }
            (first, _) => first,
        }
    }
}

impl Call {
    /// Refuses unless the caller's policies allow what is asked. Notes the answer in the audit
    /// trail, statement and all; the caller learns the statement only where it may simulate its own
    /// policies.
    pub fn authorize(&self, ask: &Ask<'_>) -> Result<(), Denied> {
        let decision = ask.decide(&self.caller.grants, &self.circumstances);
        self.settle(ask.action, ask.resource, &decision)
    }

    /// The same for a decision that the caller's policies did not make alone.
    pub fn settle(&self, action: &str, resource: &str, decision: &Decision) -> Result<(), Denied> {
        self.draft.decided(action, resource, decision);
        if resource != "*" {
            self.draft.resource(resource);
        }
        let Some(denial) = decision.denial() else {
            return Ok(());
        };
        let message = denial.message(&self.caller.principal.arn(), action, resource);
        Err(Denied(if denial.is_of_own() && self.may_know() {
            format!("{message} ({})", denial.explanation(action, resource))
        } else {
            message
        }))
    }

    /// Runs `work` in a transaction that also appends the request's line to the audit trail and
    /// uses its signature up. `Ok` is returned when all of it is on disk; an `Err` of `work` undoes
    /// everything, and then the same request may come again.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<Replayed> + Send + 'static,
    {
        let once = Arc::clone(&self.once);
        let value = self
            .ctx
            .audit
            .write(&self.draft, move |tx| {
                if !once.spend(tx)? {
                    return Err(Replayed.into());
                }
                work(tx)
            })
            .await?;
        self.once.is_used.store(true, Ordering::Release);
        Ok(value)
    }

    /// The same for what changes something that is not in the store, or hands out credentials: it
    /// is carried out once, and its line is durable before it is answered.
    pub async fn once<E>(&self) -> Result<(), E>
    where
        E: From<StoreError> + From<Replayed> + Send + 'static,
    {
        self.write(|_tx| Ok(())).await
    }

    fn may_know(&self) -> bool {
        let own = self.caller.principal.principal_arn();
        Ask::new("iam:SimulatePrincipalPolicy", &own)
            .decide(&self.caller.grants, &self.circumstances)
            .is_allowed()
    }
}

#[cfg(test)]
mod tests {
    use parapet_auth::policy::{Attached, Policy, PolicyKind};

    use super::*;

    fn grants(statements: &str) -> Grants {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        let policy = Policy::parse(&text, PolicyKind::Managed).expect("a policy");
        Grants::identity(vec![Attached::new("test", policy)])
    }

    fn decided(statements: &str) -> Decision {
        Ask::new("s3:PutObject", "arn:aws:s3:::bucket/key")
            .or_named("arn:aws:s3:us-west-2:123456789012:accesspoint/bucket/object/key")
            .decide(&grants(statements), &Circumstances::new())
    }

    const OBJECT: &str = r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::bucket/*"}"#;
    const POINT: &str =
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:*:*:accesspoint/bucket/*"}"#;

    #[test]
    fn a_resource_is_allowed_under_either_of_its_names() {
        assert!(decided(OBJECT).is_allowed());
        assert!(decided(POINT).is_allowed());
        assert!(!decided(&OBJECT.replace("bucket", "other")).is_allowed());
    }

    #[test]
    fn a_resource_is_denied_under_either_of_its_names() {
        for (allow, deny) in [(OBJECT, POINT), (POINT, OBJECT)] {
            let deny = deny.replace("Allow", "Deny");
            let decision = decided(&format!("{allow},{deny}"));
            assert!(
                matches!(decision, Decision::Denied(Denial::Explicit(_))),
                "{decision:?}"
            );
        }
    }
}
