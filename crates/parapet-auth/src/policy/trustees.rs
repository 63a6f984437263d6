//! Whom a trust policy speaks of: its `Principal` element.

use crate::principal::{Principal, PrincipalKind};

use super::Asker;
use super::arn::shortened;
use super::json::Node;
use super::kind::PolicyError;
use super::parse::texts;

/// One entry of a `Principal` element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trustee {
    /// `*`.
    Everybody,
    /// An account, by its number or its root's ARN: whom its own policies allow it.
    Account(String),
    /// One user, one role with all of its sessions, or one session of a role.
    One {
        /// Twelve digits.
        account: String,
        arn: String,
    },
    /// An identity provider, by ARN.
    Provider(String),
    /// A service, by its domain.
    Service(String),
}

/// How a statement came to speak of somebody, the closest first. It decides what else must allow
/// (IAM user guide, "Policy evaluation logic", resource-based policies in a single account).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closeness {
    /// By the user's or the session's own ARN, or as a provider or service.
    Self_,
    /// By the role's ARN: boundary and session policies still bind.
    Role,
    /// By the account, or as everybody: its own policies must allow it.
    Account,
}

impl Trustee {
    /// Whether, and how, it names the asker.
    pub(super) fn names(&self, asker: &Asker<'_>) -> Option<Closeness> {
        match (self, asker) {
            // Stricter than the original's resource policies, where a star may stand for a name:
            // whoever writes one into a trust policy rarely means each user without any policy.
            (Self::Everybody, Asker::Principal(_)) => Some(Closeness::Account),
            (Self::Everybody, _) => Some(Closeness::Self_),
            (Self::Account(account), Asker::Principal(principal)) => {
                (*account == principal.account).then_some(Closeness::Account)
            }
            (Self::One { arn, .. }, Asker::Principal(principal)) => {
                let (own, whole) = (principal.arn(), principal.principal_arn());
                if *arn == own {
                    Some(Closeness::Self_)
                } else if *arn == whole {
                    Some(Closeness::Role)
                } else {
                    None
                }
            }
            (Self::Provider(wanted), Asker::Federated(provider)) => {
                (wanted == provider).then_some(Closeness::Self_)
            }
            (Self::Service(wanted), Asker::Service(service)) => wanted
                .eq_ignore_ascii_case(service)
                .then_some(Closeness::Self_),
            _ => None,
        }
    }

    /// The account it is of, for those that have one.
    pub(super) fn account(&self) -> Option<&str> {
        match self {
            Self::Account(account) | Self::One { account, .. } => Some(account),
            Self::Provider(arn) => arn.split(':').nth(4),
            Self::Everybody | Self::Service(_) => None,
        }
    }
}

/// Whether somebody is the root, who may not assume roles.
pub(super) fn is_root(principal: &Principal) -> bool {
    principal.kind == PrincipalKind::Root
}

/// Reads a `Principal` element.
pub(super) fn parse(value: &Node, at: &str) -> Result<Vec<Trustee>, PolicyError> {
    let refuse = |at: &str, why: String| PolicyError::Element {
        at: at.to_owned(),
        why,
    };
    let kinds = match value {
        Node::Text(text) if text == "*" => return Ok(vec![Trustee::Everybody]),
        Node::Map(kinds) if !kinds.is_empty() => kinds,
        _ => {
            let why = "write \"*\" or an object of AWS, Federated and Service".to_owned();
            return Err(refuse(at, why));
        }
    };
    let mut trustees = Vec::new();
    for (kind, names) in kinds {
        let at = format!("{at}.{}", shortened(kind));
        let read = match kind.as_str() {
            "AWS" => identity,
            "Federated" => provider,
            "Service" => service,
            _ => {
                let why = "an unknown kind of principal; known are AWS, Federated and Service";
                return Err(refuse(&at, why.to_owned()));
            }
        };
        let names = texts(names, &at)?;
        if names.is_empty() {
            return Err(refuse(&at, "write at least one".to_owned()));
        }
        for name in names {
            trustees.push(read(name).map_err(|why| refuse(&at, why))?);
        }
    }
    Ok(trustees)
}

fn identity(text: &str) -> Result<Trustee, String> {
    if text == "*" {
        return Ok(Trustee::Everybody);
    }
    if is_account(text) {
        return Ok(Trustee::Account(text.to_owned()));
    }
    let shown = shortened(text);
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", "aws", service, "", account, resource] = parts.as_slice() else {
        return Err(format!(
            "{shown:?} is no principal: write an account's twelve digits or the ARN of a user, a \
             role or a role's session"
        ));
    };
    if resource.contains(['*', '?', '$']) || !is_account(account) {
        return Err(format!(
            "{shown:?} must name one principal: wildcards stand alone as \"*\", narrowed by a \
             condition on aws:PrincipalArn"
        ));
    }
    let named = |path: &str| !path.is_empty() && !path.ends_with('/') && !path.starts_with('/');
    let account = (*account).to_owned();
    match (*service, resource.split_once('/')) {
        ("iam", None) if *resource == "root" => Ok(Trustee::Account(account)),
        ("iam", Some(("user" | "role", name))) if named(name) => Ok(Trustee::One {
            account,
            arn: text.to_owned(),
        }),
        ("sts", Some(("assumed-role", name))) if named(name) && name.split('/').count() == 2 => {
            Ok(Trustee::One {
                account,
                arn: text.to_owned(),
            })
        }
        _ => Err(format!(
            "{shown:?} is neither a user, a role nor a role's session; groups cannot be trusted"
        )),
    }
}

fn provider(text: &str) -> Result<Trustee, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", "aws", "iam", "", account, resource]
            if is_account(account)
                && resource.starts_with("oidc-provider/")
                && !resource.contains(['*', '?', '$']) =>
        {
            Ok(Trustee::Provider(text.to_owned()))
        }
        _ => Err(format!(
            "{:?} is no ARN of an OpenID Connect provider: write \
             arn:aws:iam::<account>:oidc-provider/<issuer>",
            shortened(text)
        )),
    }
}

fn service(text: &str) -> Result<Trustee, String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    if text.contains('.') && text.bytes().all(fine) {
        Ok(Trustee::Service(text.to_owned()))
    } else {
        Err(format!(
            "{:?} is no service: write its domain, as panorama.amazonaws.com",
            shortened(text)
        ))
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}
