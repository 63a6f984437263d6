//! Policy documents on their way in and out.

use parapet_auth::{Policy, PolicyError, PolicyKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::names;
use super::quotas;
use crate::query::{Code, Failure, Form};

/// What RFC 3986 leaves unescaped: IAM escapes the rest of the documents it returns.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A document as IAM returns it.
pub(super) fn escaped(document: &str) -> String {
    utf8_percent_encode(document, ESCAPED).to_string()
}

/// The document in a parameter, if it is one that would be honoured.
pub(super) fn parameter(form: &Form, name: &str, kind: PolicyKind) -> Result<String, Failure> {
    let document = form.required(name, &names::DOCUMENT)?;
    check(&document, kind)?;
    Ok(document)
}

/// The trust policy in a parameter, if it names nobody of another account than `account`.
pub(super) fn trust(form: &Form, name: &str, account: &str) -> Result<String, Failure> {
    let document = form.required(name, &names::DOCUMENT)?;
    check(&document, PolicyKind::Trust)?
        .check_account(account)
        .map_err(|error| refused(&error, PolicyKind::Trust))?;
    Ok(document)
}

/// Reads a document; refuses it with what is wrong and where.
pub(super) fn check(document: &str, kind: PolicyKind) -> Result<Policy, Failure> {
    Policy::parse(document, kind).map_err(|error| refused(&error, kind))
}

fn refused(error: &PolicyError, kind: PolicyKind) -> Failure {
    if let PolicyError::TooLong { quota, .. } = error {
        let name = match kind {
            PolicyKind::Trust => "ACLSizePerRole",
            PolicyKind::InlineUser => "UserPolicySize",
            PolicyKind::InlineGroup => "GroupPolicySize",
            PolicyKind::InlineRole => "RolePolicySize",
            _ => "PolicySize",
        };
        return quotas::exceeded(name, *quota as u64);
    }
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        message = format!("{message}: {next}");
        cause = next.source();
    }
    let message = message.strip_prefix("read a policy: ").unwrap_or(&message);
    Failure::refused(
        Code::MalformedPolicyDocument,
        format!("The policy document is not valid: {message}."),
    )
}
