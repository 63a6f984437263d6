//! ARNs of IAM's resources. They have no region: IAM is one for the account.

/// `arn:aws:iam::<account>:user<path><name>`; a path begins and ends with a slash.
#[must_use]
pub fn user(account: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:user{path}{name}")
}

/// `arn:aws:iam::<account>:group<path><name>`.
#[must_use]
pub fn group(account: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:group{path}{name}")
}

/// `arn:aws:iam::<account>:role<path><name>`.
#[must_use]
pub fn role(account: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:role{path}{name}")
}

/// `arn:aws:iam::<account>:policy<path><name>`.
#[must_use]
pub fn policy(account: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:policy{path}{name}")
}

/// `arn:aws:iam::<account>:mfa<path><name>`, which is also the device's serial number.
#[must_use]
pub fn mfa(account: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:mfa{path}{name}")
}

/// `arn:aws:iam::<account>:oidc-provider/<url>`, the URL without `https://`.
#[must_use]
pub fn oidc_provider(account: &str, url: &str) -> String {
    format!("arn:aws:iam::{account}:oidc-provider/{url}")
}
