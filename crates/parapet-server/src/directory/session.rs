//! Who asks in a session: the token's claims against what is known of their subject now.

use std::collections::BTreeMap;
use std::sync::Arc;

use parapet_auth::session::{OpenSession, SessionPolicies, Subject};
use parapet_auth::{
    Attached, Caller, Grants, Policy, PolicyKind, Principal, PrincipalKind, SessionClaims,
};

use super::entry::{RoleEntry, UserEntry};
use super::{Directory, DirectoryError, keep};
use crate::store::Micros;

/// Why a token that is genuine and young enough is still of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRefusal {
    /// Its user or role, or a policy that narrows it, is gone.
    Gone,
    /// It was issued before the sessions of its user or role were revoked.
    Revoked,
    /// It belongs to another account.
    OtherAccount,
}

impl Directory {
    /// Who asks when the holder of this token signed.
    ///
    /// That the token is genuine and its time not over was found out when it was opened; whether
    /// its subject still counts is found out here, from the entries in memory.
    pub async fn session(
        &self,
        open: &OpenSession,
    ) -> Result<Result<Caller, SessionRefusal>, DirectoryError> {
        let (drops, held) = {
            let tables = self.tables();
            (
                tables.drops,
                tables.sessions.get(open.token_sha256()).cloned(),
            )
        };
        if let Some(caller) = held {
            return Ok(Ok(caller));
        }
        let made = self.of_claims(&open.claims).await?;
        if let Ok(caller) = &made {
            let mut tables = self.tables();
            // The first load of a generation drops the older one's entries: then the next request
            // keeps the session.
            if tables.drops == drops {
                keep(&mut tables.sessions, *open.token_sha256(), caller);
            }
        }
        Ok(made)
    }

    /// The same from a token's claims alone, whose time the caller has looked at.
    pub async fn of_claims(
        &self,
        claims: &SessionClaims,
    ) -> Result<Result<Caller, SessionRefusal>, DirectoryError> {
        if claims.account != self.account {
            return Ok(Err(SessionRefusal::OtherAccount));
        }
        let made = match &claims.subject {
            Subject::Root => Ok((
                Arc::new(Principal {
                    account: self.account.clone(),
                    kind: PrincipalKind::Root,
                }),
                Arc::new(Grants::Root),
                Arc::default(),
            )),
            Subject::User { id } => match self.user(id).await? {
                Some(user) => of_user(&user, claims),
                None => Err(SessionRefusal::Gone),
            },
            Subject::Role { id, session, .. } => match self.role_with_id(id).await? {
                Some(role) => of_role(&role, session, &self.account, claims),
                None => Err(SessionRefusal::Gone),
            },
        };
        let (principal, grants, tags) = match made {
            Ok(made) => made,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(narrowed) = self.session_policies(&claims.policies).await? else {
            return Ok(Err(SessionRefusal::Gone));
        };
        let grants = match (narrowed, &*grants) {
            (
                Some(session),
                Grants::Policies {
                    identity, boundary, ..
                },
            ) => Arc::new(Grants::Policies {
                identity: identity.clone(),
                boundary: boundary.clone(),
                session: Some(session),
            }),
            (Some(_), Grants::Root) => return Ok(Err(SessionRefusal::Gone)),
            (None, _) => grants,
        };
        Ok(Ok(Caller {
            tags,
            session: Some(Arc::new(claims.clone())),
            ..Caller::new(principal, claims.access_key.as_str(), grants)
        }))
    }

    /// What narrows the session: `Some(None)` if nothing does, `None` if a policy is gone that
    /// does.
    async fn session_policies(
        &self,
        narrowing: &SessionPolicies,
    ) -> Result<Option<Option<Vec<Attached>>>, DirectoryError> {
        if narrowing.is_empty() {
            return Ok(Some(None));
        }
        let mut session = Vec::new();
        if let Some(document) = &narrowing.inline {
            let policy = Policy::parse(document, PolicyKind::Session).map_err(|source| {
                DirectoryError::Policy {
                    holder: "a session".to_owned(),
                    name: "session policy".to_owned(),
                    source,
                }
            })?;
            session.push(Attached::new("session policy", policy));
        }
        for arn in &narrowing.arns {
            match self.policy(arn).await? {
                Some(policy) => session.push(policy),
                None => return Ok(None),
            }
        }
        Ok(Some(Some(session)))
    }
}

/// Principal, grants and tags.
type Made = (Arc<Principal>, Arc<Grants>, Arc<BTreeMap<String, String>>);

fn of_user(user: &UserEntry, claims: &SessionClaims) -> Result<Made, SessionRefusal> {
    if is_revoked(user.not_before, claims) {
        return Err(SessionRefusal::Revoked);
    }
    Ok((
        Arc::clone(&user.principal),
        Arc::clone(&user.grants),
        Arc::clone(&user.tags),
    ))
}

fn of_role(
    role: &RoleEntry,
    session: &str,
    account: &str,
    claims: &SessionClaims,
) -> Result<Made, SessionRefusal> {
    if is_revoked(role.not_before, claims) {
        return Err(SessionRefusal::Revoked);
    }
    let principal = Principal {
        account: account.to_owned(),
        kind: PrincipalKind::AssumedRole {
            role_id: role.id.clone(),
            path: role.path.clone(),
            role: role.name.clone(),
            session: session.to_owned(),
        },
    };
    // A session's tag counts in place of the role's of the same key, whatever the case.
    let mut tags = (*role.tags).clone();
    tags.retain(|key, _| {
        !claims
            .tags
            .keys()
            .any(|given| given.eq_ignore_ascii_case(key))
    });
    tags.extend(claims.tags.clone());
    Ok((
        Arc::new(principal),
        Arc::clone(&role.grants),
        Arc::new(tags),
    ))
}

fn is_revoked(not_before: Option<Micros>, claims: &SessionClaims) -> bool {
    not_before.is_some_and(|instant| claims.issued_us < instant.0)
}
