//! What users and roles have in common: policies, a boundary, sessions.

use std::path::PathBuf;

use anyhow::Result;
use parapet_auth::PolicyKind;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::output::{Table, cell};
use super::{Asking, document, policy_arn};
use crate::api::{Client, items, text};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Role,
}

impl Kind {
    /// As operations are named after it.
    fn word(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Role => "Role",
        }
    }

    /// The parameter with its name.
    pub(super) fn parameter(self) -> &'static str {
        match self {
            Self::User => "UserName",
            Self::Role => "RoleName",
        }
    }

    fn inline(self) -> PolicyKind {
        match self {
            Self::User => PolicyKind::InlineUser,
            Self::Role => PolicyKind::InlineRole,
        }
    }
}

/// One that is named.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Its name
    pub(super) name: String,
    #[command(flatten)]
    pub(super) asking: Asking,
}

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// Its name
    pub(super) name: String,
    /// Take away first what hangs on it: policies, and a user's keys, groups and second factors
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) asking: Asking,
}

/// Arguments of `attach` and `detach`.
#[derive(Debug, clap::Args)]
pub(crate) struct Attachment {
    /// Its name
    name: String,
    /// The policy, by name or ARN
    policy: String,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `put-policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct PutPolicy {
    /// Its name
    name: String,
    /// Name of the policy, which exists for this one alone
    policy: String,
    /// The document; it is checked before it is sent
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `delete-policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeletePolicy {
    /// Its name
    name: String,
    /// Name of the policy that `put-policy` gave it
    policy: String,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `set-boundary`.
#[derive(Debug, clap::Args)]
pub(crate) struct SetBoundary {
    /// Its name
    name: String,
    /// The policy, by name or ARN: whatever others allow, no more than this is allowed
    #[arg(required_unless_present = "none", conflicts_with = "none")]
    policy: Option<String>,
    /// Take the boundary away
    #[arg(long)]
    none: bool,
    #[command(flatten)]
    asking: Asking,
}

pub(super) fn attach(kind: Kind, arguments: &Attachment) -> Result<()> {
    let Attachment { name, policy, .. } = arguments;
    let client = arguments.asking.client()?;
    attach_to(&client, kind, name, &policy_arn(&client, policy)?)?;
    eprintln!("attached {policy} to {name}");
    Ok(())
}

/// Attaches the policy with this ARN.
pub(super) fn attach_to(client: &Client, kind: Kind, name: &str, arn: &str) -> Result<()> {
    let action = format!("Attach{}Policy", kind.word());
    client.iam(&action, &[(kind.parameter(), name), ("PolicyArn", arn)])?;
    Ok(())
}

pub(super) fn detach(kind: Kind, arguments: &Attachment) -> Result<()> {
    let Attachment { name, policy, .. } = arguments;
    let client = arguments.asking.client()?;
    let arn = policy_arn(&client, policy)?;
    let action = format!("Detach{}Policy", kind.word());
    client.iam(&action, &[(kind.parameter(), name), ("PolicyArn", &arn)])?;
    eprintln!("detached {policy} from {name}");
    Ok(())
}

pub(super) fn put_policy(kind: Kind, arguments: &PutPolicy) -> Result<()> {
    let PutPolicy { name, policy, .. } = arguments;
    let document = document::read(&arguments.file, kind.inline())?;
    let parameters = [
        (kind.parameter(), name.as_str()),
        ("PolicyName", policy),
        ("PolicyDocument", &document),
    ];
    let action = format!("Put{}Policy", kind.word());
    arguments.asking.client()?.iam(&action, &parameters)?;
    eprintln!("{name} has the policy {policy}");
    Ok(())
}

pub(super) fn delete_policy(kind: Kind, arguments: &DeletePolicy) -> Result<()> {
    let DeletePolicy { name, policy, .. } = arguments;
    let action = format!("Delete{}Policy", kind.word());
    let parameters = [(kind.parameter(), name.as_str()), ("PolicyName", policy)];
    arguments.asking.client()?.iam(&action, &parameters)?;
    eprintln!("deleted the policy {policy} of {name}");
    Ok(())
}

pub(super) fn set_boundary(kind: Kind, arguments: &SetBoundary) -> Result<()> {
    let name = arguments.name.as_str();
    let client = arguments.asking.client()?;
    if let Some(policy) = &arguments.policy {
        let arn = policy_arn(&client, policy)?;
        let action = format!("Put{}PermissionsBoundary", kind.word());
        let parameters = [(kind.parameter(), name), ("PermissionsBoundary", &arn)];
        client.iam(&action, &parameters)?;
        eprintln!("{name} may do no more than {policy} allows");
    } else {
        let action = format!("Delete{}PermissionsBoundary", kind.word());
        client.iam(&action, &[(kind.parameter(), name)])?;
        eprintln!("{name} has no boundary");
    }
    Ok(())
}

pub(super) fn revoke_sessions(kind: Kind, named: &Named) -> Result<()> {
    let name = utf8_percent_encode(&named.name, NON_ALPHANUMERIC);
    let path = match kind {
        Kind::User => format!("/parapet/revoke-sessions/users/{name}"),
        Kind::Role => format!("/parapet/revoke-sessions/roles/{name}"),
    };
    named.asking.client()?.call("POST", &path, &json!({}))?;
    let name = &named.name;
    eprintln!("every session of {name} that there was is void");
    if kind == Kind::User {
        eprintln!(
            "Its access keys are not: `parapet key list {name}` shows them, `parapet key \
             deactivate ID` stops one."
        );
    }
    Ok(())
}

/// What `show` adds to a user or role: its policies, as `AttachedPolicies` and `InlinePolicies`.
pub(super) fn policies(client: &Client, kind: Kind, name: &str) -> Result<Map<String, Value>> {
    let (word, named) = (kind.word(), (kind.parameter(), name));
    let attached = client.iam_list(
        &format!("ListAttached{word}Policies"),
        &[named],
        "AttachedPolicies",
    )?;
    let inline = client.iam_list(&format!("List{word}Policies"), &[named], "PolicyNames")?;
    let mut documents = Vec::new();
    for policy in inline.iter().filter_map(Value::as_str) {
        let answer = client.iam(
            &format!("Get{word}Policy"),
            &[named, ("PolicyName", policy)],
        )?;
        documents.push(json!({
            "PolicyName": policy,
            "PolicyDocument": answer["PolicyDocument"],
        }));
    }
    let mut found = Map::new();
    found.insert("AttachedPolicies".to_owned(), Value::from(attached));
    found.insert("InlinePolicies".to_owned(), Value::from(documents));
    Ok(found)
}

/// Takes all policies away, so that it can be deleted.
pub(super) fn strip(client: &Client, kind: Kind, name: &str) -> Result<()> {
    let (word, named) = (kind.word(), (kind.parameter(), name));
    let found = Value::Object(policies(client, kind, name)?);
    for policy in items(&found, "AttachedPolicies") {
        let arn = text(policy, "PolicyArn")?;
        client.iam(&format!("Detach{word}Policy"), &[named, ("PolicyArn", arn)])?;
    }
    for policy in items(&found, "InlinePolicies") {
        let policy = text(policy, "PolicyName")?;
        client.iam(
            &format!("Delete{word}Policy"),
            &[named, ("PolicyName", policy)],
        )?;
    }
    Ok(())
}

/// The rows that both have: what they are, then what speaks for them.
pub(super) fn describe(table: &mut Table, subject: &Value, whole: &Value) {
    for (heading, member) in [("ARN", "Arn"), ("ID", "UserId"), ("ID", "RoleId")] {
        if let Some(value) = subject[member].as_str() {
            table.row([heading, value]);
        }
    }
    table.row(["Created".to_owned(), cell(&subject["CreateDate"])]);
    let boundary = &subject["PermissionsBoundary"]["PermissionsBoundaryArn"];
    table.row(["Boundary".to_owned(), cell(boundary)]);
    for tag in items(subject, "Tags") {
        let tag = format!("{}={}", cell(&tag["Key"]), cell(&tag["Value"]));
        table.row(["Tag".to_owned(), tag]);
    }
    for policy in items(whole, "AttachedPolicies") {
        table.row(["Attached policy".to_owned(), cell(&policy["PolicyArn"])]);
    }
    for policy in items(whole, "InlinePolicies") {
        let line = format!(
            "{} {}",
            cell(&policy["PolicyName"]),
            policy["PolicyDocument"]
        );
        table.row(["Own policy".to_owned(), line]);
    }
}
