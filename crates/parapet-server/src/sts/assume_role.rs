//! `AssumeRole`: another's rights for a while.
//!
//! The role's trust policy and the caller's own policies are asked together: a trust in the caller
//! by name is enough unless something denies, a trust in the account leaves it to the caller's own
//! policies (`parapet_auth::decide_assume`).

use std::collections::BTreeMap;

use parapet_auth::policy::{Context as Circumstances, Decision, Question};
use parapet_auth::session::{SessionPolicies, Subject};
use parapet_auth::{PrincipalKind, SessionClaims, decide, decide_assume};

use super::credentials::{Credentials, Frame};
use super::parameters::{
    ARN, EXTERNAL_ID, SESSION_NAME, packed_percent, role_duration, role_of, session_policies,
};
use super::second_factor::{self, Factor};
use super::{role, told};
use crate::call::Call;
use crate::directory::RoleEntry;
use crate::query::{Failure, Form, Xml};

struct Request {
    role_arn: String,
    session: String,
    external_id: Option<String>,
    policies: SessionPolicies,
    tags: BTreeMap<String, String>,
    transitive: Vec<String>,
    source_identity: Option<String>,
    factor: Option<Factor>,
}

pub(super) async fn call(call: &Call, form: &Form) -> Result<Xml, Failure> {
    if call.caller.principal.kind == PrincipalKind::Root {
        return Err(Failure::denied(
            "Roles may not be assumed by root accounts.",
        ));
    }
    let request = read(call, form).await?;
    let (account, name) = role_of(&request.role_arn)?;
    if account != call.scope.account {
        return Err(Failure::denied(format!(
            "This server holds account {}; roles of account {account} are assumed where that \
             account is.",
            call.scope.account
        )));
    }
    let keys = keys(&request);
    let mut actions = vec!["sts:AssumeRole"];
    if !request.tags.is_empty() {
        actions.push("sts:TagSession");
    }
    if request.source_identity.is_some() {
        actions.push("sts:SetSourceIdentity");
    }
    let entry = role::find(&call.ctx, name, &request.role_arn).await?;
    let entry = trusted(call, &request, &keys, entry.as_deref(), &actions)?;
    let duration = role_duration(form, entry.max_session_s, call.caller.session.as_deref())?;
    let percent = packed_percent(&request.policies, &request.tags)?;

    let frame = Frame::new(duration)?;
    let (mut tags, mut transitive) = inherited(call.caller.session.as_deref());
    tags.extend(request.tags);
    transitive.extend(request.transitive);
    let claims = SessionClaims {
        access_key: frame.access_key,
        account: call.scope.account.clone(),
        subject: Subject::Role {
            id: entry.id.clone(),
            name: entry.name.clone(),
            session: request.session.clone(),
        },
        issued_us: frame.issued.0,
        expires: frame.expires,
        // A role's session does not carry the factor that opened it, as in the original.
        mfa: None,
        policies: request.policies,
        tags,
        transitive,
        source_identity: request.source_identity.clone(),
        opened_by: call.caller.principal.arn(),
        federation: None,
    };
    let credentials = Credentials::seal(&call.ctx, &claims).await?;
    told(call, &claims);
    let factor = request.factor;
    call.write::<_, Failure, _>(move |tx| match factor {
        Some(factor) if !factor.spend(tx)? => Err(second_factor::wrong()),
        _ => Ok(()),
    })
    .await?;

    let mut xml = Xml::default();
    role::write_user(&mut xml, &call.scope.account, entry, &request.session);
    credentials.write(&mut xml);
    xml.text("PackedPolicySize", percent);
    xml.optional("SourceIdentity", request.source_identity);
    Ok(xml)
}

async fn read(call: &Call, form: &Form) -> Result<Request, Failure> {
    let role_arn = form.required("RoleArn", &ARN)?;
    let session = form.required("RoleSessionName", &SESSION_NAME)?;
    let external_id = form.optional("ExternalId", &EXTERNAL_ID)?;
    let tags = form.tags("Tags")?;
    let transitive = form.tag_keys("TransitiveTagKeys")?;
    if let Some(unknown) = transitive.iter().find(|key| !tags.contains_key(*key)) {
        return Err(Failure::validation(format!(
            "The transitive tag key {unknown} is none of the session's tags."
        )));
    }
    let (held, _) = inherited(call.caller.session.as_deref());
    let clash = |key: &&String| held.keys().any(|old| old.eq_ignore_ascii_case(key));
    if let Some(key) = tags.keys().find(clash) {
        return Err(Failure::validation(format!(
            "The tag key {key} is a transitive one of the calling session and cannot be set again."
        )));
    }
    let before = call
        .caller
        .session
        .as_ref()
        .and_then(|session| session.source_identity.clone());
    let source_identity = match (form.optional("SourceIdentity", &SESSION_NAME)?, before) {
        (Some(asked), Some(before)) if asked != before => {
            return Err(Failure::denied(
                "The source identity of a session cannot be changed by role chaining.",
            ));
        }
        (asked, before) => asked.or(before),
    };
    Ok(Request {
        policies: session_policies(&call.ctx, form).await?,
        factor: second_factor::read(call, form).await?,
        role_arn,
        session,
        external_id,
        tags,
        transitive,
        source_identity,
    })
}

/// The condition keys that only this request has.
fn keys(request: &Request) -> Circumstances {
    let mut keys = Circumstances::new();
    keys.set("sts:RoleSessionName", request.session.as_str());
    if let Some(id) = &request.external_id {
        keys.set("sts:ExternalId", id.as_str());
    }
    if let Some(identity) = &request.source_identity {
        keys.set("sts:SourceIdentity", identity.as_str());
    }
    keys.set_all("sts:TransitiveTagKeys", request.transitive.iter().cloned());
    if request.factor.is_some() {
        keys.set("aws:MultiFactorAuthPresent", "true");
        keys.set("aws:MultiFactorAuthAge", "0");
    }
    keys
}

/// The role, if its trust policy and the caller's policies together allow all of `actions`. A role
/// that is not there trusts nobody: the answer is the same. A caller whose own policies do not
/// allow it is told of these, whatever the role says, and so learns nothing of the role.
fn trusted<'a>(
    call: &Call,
    request: &Request,
    keys: &Circumstances,
    entry: Option<&'a RoleEntry>,
    actions: &[&str],
) -> Result<&'a RoleEntry, Failure> {
    let mut context = (*call.circumstances).clone();
    for (key, values) in keys.iter() {
        context.set_all(key, values.iter().cloned());
    }
    context.add_tags("aws:RequestTag/", request.tags.iter());
    context.set_all("aws:TagKeys", request.tags.keys().cloned());
    if let Some(entry) = entry {
        context.add_tags("aws:ResourceTag/", entry.tags.iter());
    }
    let grants = &call.caller.grants;
    for action in actions {
        let question = Question {
            action,
            resource: &request.role_arn,
            context: &context,
        };
        let together = match entry {
            Some(entry) => decide_assume(
                grants,
                &call.caller.principal,
                &entry.trust,
                &call.scope.account,
                &question,
            ),
            None => role::untrusted(),
        };
        let decision = match together {
            Decision::Allowed { .. } => together,
            Decision::Denied(_) => match decide(grants, &question) {
                Decision::Allowed { .. } => together,
                own @ Decision::Denied(_) => own,
            },
        };
        call.settle(action, &request.role_arn, &decision)?;
    }
    entry.ok_or_else(|| Failure::denied("The role trusts nobody."))
}

/// The tags that go on from the caller's session into the next one.
fn inherited(caller: Option<&SessionClaims>) -> (BTreeMap<String, String>, Vec<String>) {
    let Some(claims) = caller else {
        return (BTreeMap::new(), Vec::new());
    };
    let tags = claims
        .transitive
        .iter()
        .filter_map(|key| Some((key.clone(), claims.tags.get(key)?.clone())))
        .collect();
    (tags, claims.transitive.clone())
}
