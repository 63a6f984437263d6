//! The parameters that several operations share, each held to the model's constraint.

use parapet_auth::session::SessionPolicies;
use parapet_auth::{Policy, PolicyKind, SessionClaims};
use std::collections::BTreeMap;

use crate::context::Context;
use crate::query::{Code, Failure, Form, Text};

/// Shortest session of any kind, in seconds.
pub(super) const SHORTEST_S: u32 = 900;
/// Longest session of any role.
pub(super) const LONGEST_ROLE_S: u32 = 43_200;
/// What a role's session gets when nothing is asked for.
pub(super) const USUAL_ROLE_S: u32 = 3_600;
/// Most managed policies that narrow a session.
const POLICY_ARNS: usize = 10;
/// Most characters of session policies and their ARNs together.
const POLICY_CHARACTERS: usize = 2_048;
/// Most bytes of session policies, their ARNs and session tags together, for a token travels with
/// every request: the original packs them and refuses by a limit that it does not tell.
const PACKED_BYTES: usize = 8_192;

/// `RoleArn`, and the ARNs of policies.
pub(super) const ARN: Text = Text::any(20, 2_048);
/// `RoleSessionName` and `SourceIdentity`.
pub(super) const SESSION_NAME: Text = Text {
    min: 2,
    max: 64,
    pattern: r"[\w+=,.@-]*",
    fits: |text| text.chars().all(|c| is_word(c, "+=,.@-")),
};
/// `ExternalId`.
pub(super) const EXTERNAL_ID: Text = Text {
    min: 2,
    max: 1_224,
    pattern: r"[\w+=,.@:\/-]*",
    fits: |text| text.chars().all(|c| is_word(c, "+=,.@:/-")),
};
/// `SerialNumber`.
pub(super) const SERIAL: Text = Text {
    min: 9,
    max: 256,
    pattern: r"[\w+=/:,.@-]*",
    fits: |text| text.chars().all(|c| is_word(c, "+=/:,.@-")),
};
/// `TokenCode`.
pub(super) const TOKEN_CODE: Text = Text {
    min: 6,
    max: 6,
    pattern: r"[\d]*",
    fits: |text| text.bytes().all(|byte| byte.is_ascii_digit()),
};
/// `WebIdentityToken`.
pub(super) const WEB_TOKEN: Text = Text::any(4, 20_000);
/// `AccessKeyId`.
pub(super) const ACCESS_KEY: Text = Text {
    min: 16,
    max: 128,
    pattern: r"[\w]*",
    fits: |text| text.chars().all(|c| is_word(c, "")),
};

fn is_word(c: char, others: &str) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || others.contains(c)
}

/// The account and name in `arn:aws:iam::<account>:role/<path><name>`.
pub(super) fn role_of(arn: &str) -> Result<(&str, &str), Failure> {
    let parts = arn.splitn(6, ':').collect::<Vec<_>>();
    let found = match parts.as_slice() {
        ["arn", "aws", "iam", "", account, resource] => resource
            .strip_prefix("role/")
            .and_then(|rest| rest.rsplit('/').next())
            .filter(|name| !name.is_empty())
            .map(|name| (*account, name)),
        _ => None,
    };
    found.ok_or_else(|| {
        let arn: String = arn.chars().take(128).collect();
        Failure::validation(format!(
            "{arn} is invalid: a role's ARN has the form arn:aws:iam::<account>:role/<name>"
        ))
    })
}

/// What narrows a session, from `Policy` and `PolicyArns`; each policy is read now, so that a
/// session never begins with one that cannot be used.
pub(super) async fn session_policies(
    ctx: &Context,
    form: &Form,
) -> Result<SessionPolicies, Failure> {
    let inline = form.optional("Policy", &Text::any(1, 100_000))?;
    let mut characters = inline.as_deref().map_or(0, |text| text.chars().count());
    if let Some(document) = &inline {
        Policy::parse(document, PolicyKind::Session)
            .map_err(|error| malformed(format!("Policy: {error}")))?;
    }
    let count = form.structures("PolicyArns");
    if count > POLICY_ARNS {
        return Err(Failure::validation(format!(
            "PolicyArns names {count} policies; at most {POLICY_ARNS} narrow a session"
        )));
    }
    let mut arns = Vec::with_capacity(count);
    for number in 1..=count {
        let arn = form.required(&format!("PolicyArns.member.{number}.arn"), &ARN)?;
        characters += arn.chars().count();
        match ctx.directory.policy(&arn).await {
            Ok(Some(_)) => arns.push(arn),
            Ok(None) => return Err(malformed(format!("the policy {arn} does not exist"))),
            Err(error) => return Err(Failure::internal(error)),
        }
    }
    if characters > POLICY_CHARACTERS {
        return Err(too_large(characters * 100 / POLICY_CHARACTERS));
    }
    Ok(SessionPolicies { inline, arns })
}

/// `PackedPolicySize`: policies and tags in percent of what a token carries.
pub(super) fn packed_percent(
    policies: &SessionPolicies,
    tags: &BTreeMap<String, String>,
) -> Result<usize, Failure> {
    let bytes = policies.inline.as_deref().map_or(0, str::len)
        + policies.arns.iter().map(String::len).sum::<usize>()
        + tags.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    if bytes > PACKED_BYTES {
        return Err(too_large(bytes * 100 / PACKED_BYTES));
    }
    Ok((bytes * 100).div_ceil(PACKED_BYTES))
}

/// How long a role's session shall live, within what the role and the way to it allow.
pub(super) fn role_duration(
    form: &Form,
    role_max_s: u32,
    caller: Option<&SessionClaims>,
) -> Result<u32, Failure> {
    let asked = form.number("DurationSeconds", SHORTEST_S, LONGEST_ROLE_S)?;
    let duration = asked.unwrap_or(USUAL_ROLE_S);
    if duration > role_max_s {
        return Err(Failure::validation(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    if caller.is_some_and(SessionClaims::is_role) && duration > USUAL_ROLE_S {
        return Err(Failure::validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by \
             role chaining.",
        ));
    }
    Ok(duration)
}

fn malformed(message: String) -> Failure {
    Failure::refused(Code::MalformedPolicyDocument, message)
}

fn too_large(percent: usize) -> Failure {
    Failure::refused(
        Code::PackedPolicyTooLarge,
        format!(
            "Packed size of session tags and policies consumes {percent}% of allotted space; \
             shorten them."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roles_arn_gives_its_account_and_name() {
        let found = |arn| role_of(arn).ok();
        assert_eq!(
            found("arn:aws:iam::123456789012:role/service-role/reader"),
            Some(("123456789012", "reader"))
        );
        for arn in [
            "arn:aws:iam::123456789012:user/ann",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:sts::123456789012:assumed-role/reader/ann",
            "reader-reader-reader-reader",
            "",
        ] {
            assert_eq!(found(arn), None, "{arn}");
        }
    }

    #[test]
    fn names_of_sessions_hold_nothing_that_could_leave_an_arn() {
        for bad in ["a", "a/b", "a:b", "a b", "ä-ä", "a\nb", &"x".repeat(65)] {
            assert!(SESSION_NAME.check("RoleSessionName", bad).is_err(), "{bad}");
        }
        assert!(SESSION_NAME.check("RoleSessionName", "a_b+=,.@-0").is_ok());
    }

    #[test]
    fn policies_and_tags_of_a_session_are_bounded_together() {
        let tags = |count: usize| {
            (0..count)
                .map(|n| (format!("k{n}"), "v".repeat(250)))
                .collect::<BTreeMap<_, _>>()
        };
        let none = SessionPolicies::default();
        assert_eq!(packed_percent(&none, &tags(0)).expect("nothing"), 0);
        assert!(packed_percent(&none, &tags(20)).is_ok());
        let refused = packed_percent(&none, &tags(50)).expect_err("too large");
        assert_eq!(refused.code(), Code::PackedPolicyTooLarge);
    }
}
