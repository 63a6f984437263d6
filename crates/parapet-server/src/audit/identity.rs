//! Who acted: `userIdentity` of a record.

use parapet_auth::{Caller, Principal, PrincipalKind, SessionClaims};
use serde::{Deserialize, Serialize};

use super::record::{NAME_CHARS, bounded};
use crate::store::Micros;

/// Longest ID of a key that is kept, claimed or not.
const KEY_CHARS: usize = 128;

/// Who: CloudTrail's `userIdentity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserIdentity {
    /// What kind of identity.
    #[serde(rename = "type")]
    pub kind: IdentityKind,
    /// Unique ID (`AIDA…`, `AROA…:session`), the account's number for its root.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub principal_id: Option<String>,
    /// Its ARN.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub arn: Option<String>,
    /// Its account.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account_id: Option<String>,
    /// The key that signed; for a failed signature the key that was claimed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub access_key_id: Option<String>,
    /// Name of a user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_name: Option<String>,
    /// Where temporary credentials came from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session_context: Option<SessionContext>,
    /// A service that acted by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub invoked_by: Option<String>,
}

/// Kinds of identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityKind {
    /// The account itself.
    Root,
    /// An IAM user.
    #[serde(rename = "IAMUser")]
    IamUser,
    /// A session of a role.
    AssumedRole,
    /// Somebody with a token of a registered issuer.
    WebIdentityUser,
    /// This server.
    #[serde(rename = "AWSService")]
    AwsService,
    /// An appliance.
    Device,
    /// Nobody that is known: no signature, or one that does not hold.
    Unknown,
}

/// Where temporary credentials came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionContext {
    /// The role; absent for a session of a user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session_issuer: Option<SessionIssuer>,
    /// When, and whether with a second factor.
    pub attributes: SessionAttributes,
    /// What `AssumeRole` was told about its caller.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_identity: Option<String>,
    /// ARN of who opened the session.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub opened_by: Option<String>,
    /// The identity provider, for a session of a web identity.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub web_id_federation_data: Option<Federation>,
}

/// Where a web identity came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Federation {
    /// ARN of the registered provider.
    pub federated_provider: String,
    /// `sub` of its token.
    pub subject: String,
}

/// The role behind a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionIssuer {
    /// `Role`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `AROA…`.
    pub principal_id: String,
    /// The role's ARN.
    pub arn: String,
    /// The role's account.
    pub account_id: String,
    /// The role's name.
    pub user_name: String,
}

/// Facts of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionAttributes {
    /// RFC 3339, UTC.
    pub creation_date: String,
    /// `true` or `false`, as text.
    pub mfa_authenticated: String,
}

impl From<&Caller> for UserIdentity {
    fn from(caller: &Caller) -> Self {
        let principal = &caller.principal;
        let (kind, user_name) = match &principal.kind {
            PrincipalKind::Root => (IdentityKind::Root, None),
            PrincipalKind::User { name, .. } => (IdentityKind::IamUser, Some(name)),
            PrincipalKind::AssumedRole { .. } => (IdentityKind::AssumedRole, None),
        };
        Self {
            principal_id: Some(bounded(&principal.unique_id(), NAME_CHARS)),
            arn: Some(bounded(&principal.arn(), NAME_CHARS)),
            account_id: Some(principal.account.clone()),
            access_key_id: Some(bounded(&caller.access_key, KEY_CHARS)),
            user_name: user_name.map(|name| bounded(name, NAME_CHARS)),
            session_context: caller
                .session
                .as_deref()
                .map(|claims| SessionContext::new(principal, claims)),
            ..Self::of_kind(kind)
        }
    }
}

impl SessionContext {
    fn new(principal: &Principal, claims: &SessionClaims) -> Self {
        let session_issuer = match &principal.kind {
            PrincipalKind::AssumedRole { role_id, role, .. } => Some(SessionIssuer {
                kind: "Role".to_owned(),
                principal_id: bounded(role_id, NAME_CHARS),
                arn: bounded(&principal.principal_arn(), NAME_CHARS),
                account_id: principal.account.clone(),
                user_name: bounded(role, NAME_CHARS),
            }),
            PrincipalKind::Root | PrincipalKind::User { .. } => None,
        };
        let text = |text: &str| (!text.is_empty()).then(|| bounded(text, NAME_CHARS));
        Self {
            session_issuer,
            attributes: SessionAttributes {
                creation_date: Micros(claims.issued_us).rfc3339(),
                mfa_authenticated: claims.mfa.is_some().to_string(),
            },
            source_identity: claims.source_identity.as_deref().and_then(text),
            opened_by: text(&claims.opened_by),
            web_id_federation_data: claims.federation.as_ref().map(|federation| Federation {
                federated_provider: bounded(&federation.provider, NAME_CHARS),
                subject: bounded(&federation.subject, NAME_CHARS),
            }),
        }
    }
}

impl UserIdentity {
    /// Nobody that is known; with the key that was claimed, if there was one.
    #[must_use]
    pub fn unknown(claimed_key: Option<&str>) -> Self {
        Self {
            access_key_id: claimed_key.map(|key| bounded(key, KEY_CHARS)),
            ..Self::of_kind(IdentityKind::Unknown)
        }
    }

    /// The account itself.
    #[must_use]
    pub fn root(account: &str) -> Self {
        Self {
            principal_id: Some(account.to_owned()),
            arn: Some(format!("arn:aws:iam::{account}:root")),
            account_id: Some(account.to_owned()),
            ..Self::of_kind(IdentityKind::Root)
        }
    }

    /// Somebody whom an identity provider (its ARN) vouches for, by the token's subject.
    #[must_use]
    pub fn web_identity(account: &str, provider: &str, subject: &str) -> Self {
        Self {
            principal_id: Some(bounded(&format!("{provider}:{subject}"), NAME_CHARS)),
            account_id: Some(account.to_owned()),
            user_name: Some(bounded(subject, NAME_CHARS)),
            ..Self::of_kind(IdentityKind::WebIdentityUser)
        }
    }

    /// This server.
    #[must_use]
    pub fn server(account: &str) -> Self {
        Self {
            account_id: Some(account.to_owned()),
            invoked_by: Some("parapet".to_owned()),
            ..Self::of_kind(IdentityKind::AwsService)
        }
    }

    /// An appliance, by the ARN of its device.
    #[must_use]
    pub fn device(account: &str, id: &str, arn: &str) -> Self {
        Self {
            principal_id: Some(bounded(id, NAME_CHARS)),
            arn: Some(bounded(arn, NAME_CHARS)),
            account_id: Some(account.to_owned()),
            ..Self::of_kind(IdentityKind::Device)
        }
    }

    fn of_kind(kind: IdentityKind) -> Self {
        Self {
            kind,
            principal_id: None,
            arn: None,
            account_id: None,
            access_key_id: None,
            user_name: None,
            session_context: None,
            invoked_by: None,
        }
    }
}
