//! `AssumeRoleWithWebIdentity`: a role's rights for somebody whom an identity provider vouches for.
//!
//! Needs no signature; the identity token is the proof. Its issuer must be registered
//! (`CreateOpenIDConnectProvider`), its audience one of the provider's client IDs, its keys those
//! that the issuer's own discovery document names or that the operator configured. The token itself
//! chooses none of these.

use std::sync::Arc;

use parapet_auth::policy::Context as Circumstances;
use parapet_auth::session::{Federation, Subject};
use parapet_auth::web_identity::{Expected, Unverified, WebIdentity, WebIdentityError};
use parapet_auth::{Asker, SessionClaims, decide_trust};

use super::credentials::{Credentials, Frame};
use super::issuer_keys::IssuerKeysError;
use super::parameters::{
    ARN, SESSION_NAME, WEB_TOKEN, packed_percent, role_duration, role_of, session_policies,
};
use super::{WEB_IDENTITY, role};
use crate::audit::{Draft, UserIdentity};
use crate::context::Context;
use crate::query::{Code, Failure, Form, Xml};
use crate::store::oidc_providers::{self, OidcProvider};
use crate::store::{Micros, StoreError};

/// Somebody without a signature.
#[derive(Clone, Copy)]
pub struct Stranger<'a> {
    /// The server's parts.
    pub ctx: &'a Context,
    /// Condition keys of the request.
    pub circumstances: &'a Circumstances,
    /// The request's line of the audit trail.
    pub draft: &'a Arc<Draft>,
}

pub(super) async fn call(stranger: &Stranger<'_>, form: &Form) -> Result<Xml, Failure> {
    let ctx = stranger.ctx;
    let role_arn = form.required("RoleArn", &ARN)?;
    let session = form.required("RoleSessionName", &SESSION_NAME)?;
    let token = form.required("WebIdentityToken", &WEB_TOKEN)?;
    if form.raw("ProviderId").is_some() {
        return Err(Failure::validation(
            "ProviderId is for OAuth 2.0 access tokens, which this server does not take; leave it \
             out and send an OpenID Connect identity token.",
        ));
    }
    let (provider, identity) = identify(ctx, &token).await?;
    stranger.draft.identify(UserIdentity::web_identity(
        &ctx.scope.account,
        &provider.arn,
        &identity.subject,
    ));
    let (account, name) = role_of(&role_arn)?;
    let entry = if account == ctx.scope.account {
        role::find(ctx, name, &role_arn).await?
    } else {
        None
    };
    let keys = keys(stranger.circumstances, &provider, &identity, &session);
    let mut actions = vec!["sts:AssumeRoleWithWebIdentity"];
    if !identity.tags.is_empty() {
        actions.push("sts:TagSession");
    }
    if identity.source_identity.is_some() {
        actions.push("sts:SetSourceIdentity");
    }
    for action in actions {
        let decision = match &entry {
            Some(entry) => decide_trust(
                &entry.trust,
                &ctx.scope.account,
                &Asker::Federated(&provider.arn),
                action,
                &keys,
            ),
            None => role::untrusted(),
        };
        stranger.draft.decided(action, &role_arn, &decision);
        if !decision.is_allowed() {
            return Err(Failure::denied(format!(
                "Not authorized to perform {action}"
            )));
        }
    }
    let entry = entry
        .ok_or_else(|| Failure::denied(format!("Not authorized to perform sts:{WEB_IDENTITY}")))?;
    let duration = role_duration(form, entry.max_session_s, None)?;
    let policies = session_policies(ctx, form).await?;
    let percent = packed_percent(&policies, &identity.tags)?;

    let frame = Frame::new(duration)?;
    let claims = SessionClaims {
        access_key: frame.access_key,
        account: ctx.scope.account.clone(),
        subject: Subject::Role {
            id: entry.id.clone(),
            name: entry.name.clone(),
            session: session.clone(),
        },
        issued_us: frame.issued.0,
        expires: frame.expires,
        mfa: None,
        policies,
        tags: identity.tags.clone(),
        transitive: identity.transitive.clone(),
        source_identity: identity.source_identity.clone(),
        opened_by: String::new(),
        federation: Some(Federation {
            provider: provider.arn.clone(),
            subject: identity.subject.clone(),
            audience: identity.audience.clone(),
        }),
    };
    let credentials = Credentials::seal(ctx, &claims).await?;
    stranger.draft.response(&super::session_told(&claims));
    // On disk before the credentials are given.
    ctx.audit
        .write::<_, Failure, _>(stranger.draft, |_tx| Ok(()))
        .await?;

    let mut xml = Xml::default();
    xml.text("SubjectFromWebIdentityToken", &identity.subject);
    role::write_user(&mut xml, &ctx.scope.account, &entry, &session);
    credentials.write(&mut xml);
    xml.text("Provider", &provider.arn);
    xml.text("Audience", &identity.audience);
    xml.text("PackedPolicySize", percent);
    xml.optional("SourceIdentity", identity.source_identity);
    Ok(xml)
}

/// The registered provider of a token and whom it vouches for.
async fn identify(ctx: &Context, token: &str) -> Result<(OidcProvider, WebIdentity), Failure> {
    let issuer = Unverified::parse(token)
        .map_err(|error| refused(&error))?
        .issuer()
        .to_owned();
    let unknown = || {
        let shown: String = issuer.chars().take(128).collect();
        Failure::refused(
            Code::InvalidIdentityToken,
            format!("No OpenIDConnect provider found in your account for {shown}"),
        )
    };
    let url = issuer.strip_prefix("https://").ok_or_else(unknown)?;
    // Registered URLs have no slash at their end, issuers may.
    let (account, url) = (
        ctx.scope.account.clone(),
        url.trim_end_matches('/').to_owned(),
    );
    let provider = ctx
        .store
        .read::<_, StoreError, _>(move |connection| {
            oidc_providers::by_url(connection, &account, &url)
        })
        .await?
        .ok_or_else(unknown)?;
    let expected = Expected {
        issuer: &issuer,
        audiences: &provider.client_ids,
        now: Micros::now().0.div_euclid(1_000_000),
    };
    let keys = &ctx.issuer_keys;
    let given = provider.keys_json.as_deref();
    let held = keys
        .get(&issuer, given)
        .await
        .map_err(|error| unreachable(&error))?;
    let verify = |set: &_| Unverified::parse(token)?.verify(set, &expected);
    let outcome = match verify(&held) {
        // The issuer may have newer keys than those that are held.
        Err(WebIdentityError::NoKey) => {
            let newer = keys
                .newer(&issuer, given)
                .await
                .map_err(|error| unreachable(&error))?;
            verify(&newer)
        }
        outcome => outcome,
    };
    let identity = outcome.map_err(|error| refused(&error))?;
    Ok((provider, identity))
}

/// What the trust policy's conditions can ask about.
fn keys(
    circumstances: &Circumstances,
    provider: &OidcProvider,
    identity: &WebIdentity,
    session: &str,
) -> Circumstances {
    let mut keys = circumstances.clone();
    let url = &provider.url;
    keys.set(&format!("{url}:aud"), identity.audience.as_str());
    keys.set(&format!("{url}:sub"), identity.subject.as_str());
    keys.set_all(&format!("{url}:amr"), identity.methods.iter().cloned());
    keys.set("aws:FederatedProvider", provider.arn.as_str());
    keys.set("sts:RoleSessionName", session);
    if let Some(source) = &identity.source_identity {
        keys.set("sts:SourceIdentity", source.as_str());
    }
    keys.add_tags("aws:RequestTag/", identity.tags.iter());
    keys.set_all("aws:TagKeys", identity.tags.keys().cloned());
    keys.set_all("sts:TransitiveTagKeys", identity.transitive.iter().cloned());
    keys
}

/// The original's code for a token that is not believed.
fn refused(error: &WebIdentityError) -> Failure {
    let code = match error {
        WebIdentityError::Expired => Code::ExpiredTokenException,
        WebIdentityError::Rejected(_) => Code::IDPRejectedClaim,
        _ => Code::InvalidIdentityToken,
    };
    Failure::refused(code, error.to_string())
}

fn unreachable(error: &IssuerKeysError) -> Failure {
    let shown = error as &dyn std::error::Error;
    tracing::warn!(
        error = shown,
        "could not get the keys of an identity provider"
    );
    Failure::refused(
        Code::IDPCommunicationError,
        "The keys of the identity provider cannot be had; the server's log says why. Try again.",
    )
}
