//! `parapet role`: what somebody may become for a while, without keys of its own.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use parapet_auth::PolicyKind;
use serde_json::{Value, json};

use super::identity::{
    self, Attachment, Delete, DeletePolicy, Kind, Named, PutPolicy, SetBoundary,
};
use super::output::{Table, cell};
use super::{Asking, document, given, pair, policy_arn, tags};
use crate::api::{Client, text};

/// What can be done with roles.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  \
    parapet role create installer --trust-user ann --attach AWSPanoramaFullAccess\n  \
    aws sts assume-role --role-arn ARN --role-session-name ann\n  \
    parapet role trust installer --trust-user ann --trust-user bob\n  \
    parapet role revoke-sessions installer\n  \
    parapet role delete installer --force")]
pub(crate) enum Verb {
    /// Make a role, and say who may assume it
    Create(Create),
    /// Show which roles there are
    List(List),
    /// Show a role: who may assume it, and what it may then do
    Show(Named),
    /// Delete a role
    Delete(Delete),
    /// Change who may assume it
    Trust(Trust),
    /// Let a managed policy speak for a role
    Attach(Attachment),
    /// Take a managed policy away
    Detach(Attachment),
    /// Give a role a policy of its own, or another one under the same name
    PutPolicy(PutPolicy),
    /// Delete a policy of its own
    DeletePolicy(DeletePolicy),
    /// Set what its policies can allow at most
    SetBoundary(SetBoundary),
    /// Void all temporary credentials that were given out for it so far
    RevokeSessions(Named),
}

/// Who may assume a role.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Trusted {
    /// A trust policy; it is checked before it is sent
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trust_user", "trust_service"])]
    trust: Option<PathBuf>,
    /// A user who may; may be given more than once
    #[arg(long, value_name = "USER")]
    trust_user: Vec<String>,
    /// A service that may: panorama.amazonaws.com runs applications with the role
    #[arg(long, value_name = "SERVICE")]
    trust_service: Vec<String>,
}

/// Arguments of `parapet role create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Letters, digits and +=,.@_-
    name: String,
    #[command(flatten)]
    trusted: Trusted,
    /// Begins and ends with a slash: /service-role/
    #[arg(long)]
    path: Option<String>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// How long a session may last at most, 3600 to 43200
    #[arg(long, value_name = "SECONDS")]
    max_session_seconds: Option<u32>,
    /// A managed policy to attach, by name or ARN; may be given more than once
    #[arg(long, value_name = "POLICY")]
    attach: Vec<String>,
    /// The policy that bounds it, by name or ARN
    #[arg(long, value_name = "POLICY")]
    boundary: Option<String>,
    /// A tag; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    tag: Vec<(String, String)>,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `parapet role list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only those below this path: /service-role/
    #[arg(long, value_name = "PATH")]
    path_prefix: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `parapet role trust`.
#[derive(Debug, clap::Args)]
pub(crate) struct Trust {
    /// Its name
    name: String,
    #[command(flatten)]
    trusted: Trusted,
    #[command(flatten)]
    asking: Asking,
}

/// Carries it out.
pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Create(create) => self::create(create),
        Verb::List(list) => self::list(list),
        Verb::Show(named) => show(named),
        Verb::Delete(delete) => self::delete(delete),
        Verb::Trust(trust) => self::trust(trust),
        Verb::Attach(attachment) => identity::attach(Kind::Role, attachment),
        Verb::Detach(attachment) => identity::detach(Kind::Role, attachment),
        Verb::PutPolicy(put) => identity::put_policy(Kind::Role, put),
        Verb::DeletePolicy(delete) => identity::delete_policy(Kind::Role, delete),
        Verb::SetBoundary(set) => identity::set_boundary(Kind::Role, set),
        Verb::RevokeSessions(named) => identity::revoke_sessions(Kind::Role, named),
    }
}

impl Trusted {
    /// The trust policy.
    fn document(&self, client: &Client) -> Result<String> {
        if let Some(file) = &self.trust {
            return document::read(file, PolicyKind::Trust);
        }
        let mut users = Vec::new();
        for name in &self.trust_user {
            let found = client
                .iam("GetUser", &[("UserName", name)])
                .with_context(|| format!("find --trust-user {name}"))?;
            users.push(text(&found["User"], "Arn")?.to_owned());
        }
        Ok(trust_document(&users, &self.trust_service).to_string())
    }
}

/// Lets these users and services assume a role.
fn trust_document(users: &[String], services: &[String]) -> Value {
    let mut principal = serde_json::Map::new();
    for (kind, who) in [("AWS", users), ("Service", services)] {
        if !who.is_empty() {
            principal.insert(kind.to_owned(), Value::from(who));
        }
    }
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": principal,
            "Action": "sts:AssumeRole",
        }],
    })
}

fn create(arguments: &Create) -> Result<()> {
    let name = arguments.name.as_str();
    let client = arguments.asking.client()?;
    let trust = arguments.trusted.document(&client)?;
    // Found before anything is made: a misspelt policy leaves no half-made role.
    let attach = arguments.attach.iter();
    let attach = attach.map(|policy| policy_arn(&client, policy));
    let attach = attach.collect::<Result<Vec<_>>>()?;
    let boundary = arguments.boundary.as_deref();
    let boundary = boundary.map(|policy| policy_arn(&client, policy));
    let boundary = boundary.transpose()?;
    let seconds = arguments.max_session_seconds.map(|it| it.to_string());
    let tags = tags(&arguments.tag);
    let mut parameters = given(&[
        ("RoleName", Some(name)),
        ("AssumeRolePolicyDocument", Some(&trust)),
        ("Path", arguments.path.as_deref()),
        ("Description", arguments.description.as_deref()),
        ("MaxSessionDuration", seconds.as_deref()),
        ("PermissionsBoundary", boundary.as_deref()),
    ]);
    parameters.extend(
        tags.iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let answer = client.iam("CreateRole", &parameters)?;
    for arn in &attach {
        identity::attach_to(&client, Kind::Role, name, arn)?;
    }
    arguments.asking.output.print(&answer, || {
        let mut table = Table::default();
        table.row(["Role".to_owned(), cell(&answer["Role"]["RoleName"])]);
        table.row(["ARN".to_owned(), cell(&answer["Role"]["Arn"])]);
        table
    })?;
    if attach.is_empty() {
        eprintln!("It may do nothing yet: `parapet role attach {name} POLICY`.");
    }
    Ok(())
}

fn list(arguments: &List) -> Result<()> {
    let client = arguments.asking.client()?;
    let parameters = given(&[("PathPrefix", arguments.path_prefix.as_deref())]);
    let roles = client.iam_list("ListRoles", &parameters, "Roles")?;
    let table = || {
        let mut table = Table::with_headings(&["ROLE", "PATH", "CREATED", "DESCRIPTION"]);
        table.members(&roles, &["RoleName", "Path", "CreateDate", "Description"]);
        table
    };
    let value = json!({ "Roles": roles });
    arguments.asking.output.print(&value, table)
}

fn show(named: &Named) -> Result<()> {
    let (client, name) = (named.asking.client()?, named.name.as_str());
    let role = client.iam("GetRole", &[("RoleName", name)])?["Role"].take();
    let mut found = identity::policies(&client, Kind::Role, name)?;
    found.insert("Role".to_owned(), role);
    let whole = Value::Object(found);
    named.asking.output.print(&whole, || {
        let role = &whole["Role"];
        let mut table = Table::default();
        table.row(["Role".to_owned(), cell(&role["RoleName"])]);
        table.row(["Description".to_owned(), cell(&role["Description"])]);
        let seconds = format!("{} seconds at most", role["MaxSessionDuration"]);
        table.row(["Sessions".to_owned(), seconds]);
        table.row([
            "Trust".to_owned(),
            role["AssumeRolePolicyDocument"].to_string(),
        ]);
        identity::describe(&mut table, role, &whole);
        table
    })
}

fn delete(arguments: &Delete) -> Result<()> {
    let (client, name) = (arguments.asking.client()?, arguments.name.as_str());
    if arguments.force {
        identity::strip(&client, Kind::Role, name)?;
    }
    client.iam("DeleteRole", &[("RoleName", name)])?;
    eprintln!("deleted {name}; its sessions are void too");
    Ok(())
}

fn trust(arguments: &Trust) -> Result<()> {
    let name = arguments.name.as_str();
    let client = arguments.asking.client()?;
    let document = arguments.trusted.document(&client)?;
    let parameters = [("RoleName", name), ("PolicyDocument", &document)];
    client.iam("UpdateAssumeRolePolicy", &parameters)?;
    eprintln!(
        "changed who may assume {name}; sessions that there are go on: `parapet role \
         revoke-sessions {name}` ends them"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use parapet_auth::Policy;

    use super::*;

    #[test]
    fn a_trust_policy_names_users_and_services_and_is_one() -> Result<()> {
        let user = "arn:aws:iam::123456789012:user/ann".to_owned();
        let document = trust_document(&[user], &["panorama.amazonaws.com".to_owned()]);
        Policy::parse(&document.to_string(), PolicyKind::Trust)?;
        let only_users = trust_document(&["arn:aws:iam::123456789012:user/ann".to_owned()], &[]);
        assert!(only_users["Statement"][0]["Principal"]["Service"].is_null());
        Ok(())
    }
}
