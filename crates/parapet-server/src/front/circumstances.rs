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
        // Exact: a policy that denies older sessions, written in the same second as a session is
        // opened, holds one of before and lets one of after in.
        context.set("aws:TokenIssueTime", issued.rfc3339_exact());
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
    context.set("aws:CurrentTime", now.rfc3339());
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

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use parapet_auth::{Grants, Principal, PrincipalKind};

    use super::*;
    use crate::front::source::TlsVersion;

    #[test]
    fn a_header_named_like_a_key_sets_nothing() {
        let source = Source {
            address: std::net::Ipv4Addr::new(192, 0, 2, 7).into(),
            port: 1,
            tls_version: TlsVersion::V1_3,
            cipher: "TLS_AES_256_GCM_SHA384",
            forwarded: false,
        };
        let root = Principal {
            account: "123456789012".to_owned(),
            kind: PrincipalKind::Root,
        };
        let caller = Caller::new(root, "AKIAROOT", Grants::Root);
        let mut headers = HeaderMap::new();
        let without = of(&source, &headers, &caller, "us-west-2");
        for (name, value) in [
            ("aws-sourceip", "10.0.0.1"),
            ("x-amz-aws-sourceip", "10.0.0.1"),
            ("sourceip", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("aws-multifactorauthpresent", "true"),
            ("x-amz-principaltag-team", "vision"),
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let with = of(&source, &headers, &caller, "us-west-2");
        let keys = |context: &Context| {
            let keys = context.iter().map(|(key, _)| key.to_owned());
            keys.collect::<Vec<_>>()
        };
        assert_eq!(keys(&with), keys(&without));
        assert_eq!(with.one("aws:SourceIp"), Some("192.0.2.7"));
        assert_eq!(with.one("aws:MultiFactorAuthPresent"), None);
    }
}
