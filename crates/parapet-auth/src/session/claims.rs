//! What a session token says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whose session it is, by the IDs that stay when names are used again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// The account's root (`GetSessionToken`).
    #[serde(rename = "a")]
    Root,
    /// A user (`GetSessionToken`).
    #[serde(rename = "u")]
    User {
        /// Unique ID, `AIDA…`.
        #[serde(rename = "i")]
        id: String,
    },
    /// A session of a role (`AssumeRole`, `AssumeRoleWithWebIdentity`).
    #[serde(rename = "r")]
    Role {
        /// Unique ID of the role, `AROA…`: a role that was made anew under the name is another.
        #[serde(rename = "i")]
        id: String,
        /// Its name.
        #[serde(rename = "n")]
        name: String,
        /// Name of the session.
        #[serde(rename = "s")]
        session: String,
    },
}

/// Session policies: what the session may do is in these and in the policies of its subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPolicies {
    /// `Policy`: a document of the caller's own.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
    /// `PolicyArns`: managed policies by their ARN, looked up when the token is used.
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    pub arns: Vec<String>,
}

impl SessionPolicies {
    /// Whether nothing narrows the session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inline.is_none() && self.arns.is_empty()
    }
}

/// The identity provider's part of a session that a web identity opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Federation {
    /// ARN of the registered provider: `aws:FederatedProvider`.
    #[serde(rename = "p")]
    pub provider: String,
    /// `sub` of the web identity.
    #[serde(rename = "s")]
    pub subject: String,
    /// `aud` that was asked for.
    #[serde(rename = "a")]
    pub audience: String,
}

/// All that a token says. The wire names are one letter: a token travels with every request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionClaims {
    /// `ASIA…`: the one access key that this token belongs to.
    #[serde(rename = "k")]
    pub access_key: String,
    /// Twelve digits.
    #[serde(rename = "n")]
    pub account: String,
    /// Whose session.
    #[serde(rename = "s")]
    pub subject: Subject,
    /// Microseconds since the epoch; fine enough that a token issued after a revocation counts.
    #[serde(rename = "i")]
    pub issued_us: i64,
    /// Seconds since the epoch; at this second the token is no longer good.
    #[serde(rename = "e")]
    pub expires: i64,
    /// When the holder proved a second factor, in seconds since the epoch:
    /// `aws:MultiFactorAuthPresent` and `aws:MultiFactorAuthAge`.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub mfa: Option<i64>,
    /// What narrows the session.
    #[serde(
        rename = "p",
        default,
        skip_serializing_if = "SessionPolicies::is_empty"
    )]
    pub policies: SessionPolicies,
    /// Session tags, over those of the role: `aws:PrincipalTag/…`.
    #[serde(rename = "t", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Keys of the tags that go on into sessions that this one opens.
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    pub transitive: Vec<String>,
    /// `aws:SourceIdentity`, which sessions opened from this one keep.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub source_identity: Option<String>,
    /// ARN of who opened the session, for the audit log; empty for a web identity.
    #[serde(rename = "b", default, skip_serializing_if = "String::is_empty")]
    pub opened_by: String,
    /// Present when a web identity opened the session.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub federation: Option<Federation>,
}

impl SessionClaims {
    /// Whether the session is a role's: what it opens is then chained, for an hour at most.
    #[must_use]
    pub fn is_role(&self) -> bool {
        matches!(self.subject, Subject::Role { .. })
    }
}
