//! The condition keys of a request: what the server itself knows of it and of its caller.
//!
//! Everything here is measured or proven by the server, but for the name that a client gives
//! itself, which the original's policies can ask about, too (`spec/security.md` section 2;
//! attack P7 of `research/security.md`: a header named like a key sets nothing).

use http::{HeaderMap, header};
use parapet_auth::Caller;
use parapet_auth::policy::Context;

use super::source::Source;
use crate::store::Micros;

/// The keys for a caller's request.
pub(crate) fn of(source: &Source, headers: &HeaderMap, caller: &Caller, region: &str) -> Context {
    let now = Micros::now();
    let mut context = of_request(source, headers, region, now);
    caller.describe(&mut context);
    if let Some(session) = &caller.session {
        let issued = Micros(session.issued_us);
        context.set("aws:TokenIssueTime", crate::audit::record::seconds(issued));
        // Absent with a long-term key, as in the original: `BoolIfExists` tells the two apart.
        context.set(
            "aws:MultiFactorAuthPresent",
            session.mfa.is_some().to_string(),
        );
        if let Some(proven) = session.mfa {
            let age = now.0.div_euclid(1_000_000).saturating_sub(proven).max(0);
            context.set("aws:MultiFactorAuthAge", age.to_string());
        }
        if let Some(identity) = &session.source_identity {
            context.set("aws:SourceIdentity", identity.as_str());
        }
        if let Some(federation) = &session.federation {
            context.set("aws:FederatedProvider", federation.provider.as_str());
        }
    }
    context
}

/// The keys for a request of somebody who is not known.
pub(super) fn of_stranger(source: &Source, headers: &HeaderMap, region: &str) -> Context {
    of_request(source, headers, region, Micros::now())
}

fn of_request(source: &Source, headers: &HeaderMap, region: &str, now: Micros) -> Context {
    let mut context = Context::new();
    context.set("aws:SourceIp", source.address.to_string());
    // There is no listener without TLS.
    context.set("aws:SecureTransport", "true");
    context.set("parapet:TlsVersion", source.tls_version.as_str());
    context.set("aws:CurrentTime", crate::audit::record::seconds(now));
    context.set("aws:EpochTime", now.0.div_euclid(1_000_000).to_string());
    context.set("aws:RequestedRegion", region);
    context.set("aws:ViaAWSService", "false");
    context.set("aws:PrincipalIsAWSService", "false");
    if let Some(agent) = headers
        .get(header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
    {
        context.set("aws:UserAgent", agent);
    }
    context
}
