//! `parapet user`: people and programs with keys of their own.

use anyhow::Result;
use serde_json::{Value, json};

use super::identity::{
    self, Attachment, Delete, DeletePolicy, Kind, Named, PutPolicy, SetBoundary,
};
use super::output::{Table, cell};
use super::{Asking, access_key, given, pair, policy_arn, tags};
use crate::api::{Client, items, text};

/// What can be done with users.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  \
    parapet user create ann --attach ParapetReadOnlyAccess\n  \
    parapet key create ann --save ann\n  \
    parapet user show ann\n  \
    parapet user put-policy ann cameras --file cameras.json\n  \
    parapet user revoke-sessions ann\n  \
    parapet user delete ann --force")]
pub(crate) enum Verb {
    /// Make a user; it may do nothing until a policy says so, and has no key
    Create(Create),
    /// Show which users there are
    List(List),
    /// Show a user: policies, keys, groups, second factors
    Show(Named),
    /// Delete a user
    Delete(Delete),
    /// Let a managed policy speak for a user
    Attach(Attachment),
    /// Take a managed policy away
    Detach(Attachment),
    /// Give a user a policy of its own, or another one under the same name
    PutPolicy(PutPolicy),
    /// Delete a policy of its own
    DeletePolicy(DeletePolicy),
    /// Set what its policies can allow at most
    SetBoundary(SetBoundary),
    /// Void all temporary credentials that it has got so far
    RevokeSessions(Named),
}

/// Arguments of `parapet user create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Letters, digits and +=,.@_-
    name: String,
    /// Begins and ends with a slash: /team/
    #[arg(long)]
    path: Option<String>,
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

/// Arguments of `parapet user list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only those below this path: /team/
    #[arg(long, value_name = "PATH")]
    path_prefix: Option<String>,
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
        Verb::Attach(attachment) => identity::attach(Kind::User, attachment),
        Verb::Detach(attachment) => identity::detach(Kind::User, attachment),
        Verb::PutPolicy(put) => identity::put_policy(Kind::User, put),
        Verb::DeletePolicy(delete) => identity::delete_policy(Kind::User, delete),
        Verb::SetBoundary(set) => identity::set_boundary(Kind::User, set),
        Verb::RevokeSessions(named) => identity::revoke_sessions(Kind::User, named),
    }
}

fn create(arguments: &Create) -> Result<()> {
    let name = arguments.name.as_str();
    let client = arguments.asking.client()?;
    // Found before anything is made: a misspelt policy leaves no half-made user.
    let attach = arguments.attach.iter();
    let attach = attach.map(|policy| policy_arn(&client, policy));
    let attach = attach.collect::<Result<Vec<_>>>()?;
    let boundary = arguments.boundary.as_deref();
    let boundary = boundary.map(|policy| policy_arn(&client, policy));
    let boundary = boundary.transpose()?;
    let tags = tags(&arguments.tag);
    let mut parameters = given(&[
        ("UserName", Some(name)),
        ("Path", arguments.path.as_deref()),
        ("PermissionsBoundary", boundary.as_deref()),
    ]);
    parameters.extend(
        tags.iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let answer = client.iam("CreateUser", &parameters)?;
    for arn in &attach {
        identity::attach_to(&client, Kind::User, name, arn)?;
    }
    arguments.asking.output.print(&answer, || {
        let mut table = Table::default();
        table.row(["User".to_owned(), cell(&answer["User"]["UserName"])]);
        table.row(["ARN".to_owned(), cell(&answer["User"]["Arn"])]);
        table
    })?;
    eprintln!("Next: `parapet key create {name}` makes its key.");
    if attach.is_empty() {
        eprintln!("It may do nothing yet: `parapet user attach {name} POLICY`.");
    }
    Ok(())
}

fn list(arguments: &List) -> Result<()> {
    let client = arguments.asking.client()?;
    let parameters = given(&[("PathPrefix", arguments.path_prefix.as_deref())]);
    let users = client.iam_list("ListUsers", &parameters, "Users")?;
    let table = || {
        let mut table = Table::with_headings(&["USER", "PATH", "CREATED", "ID"]);
        table.members(&users, &["UserName", "Path", "CreateDate", "UserId"]);
        table
    };
    let value = json!({ "Users": users });
    arguments.asking.output.print(&value, table)
}

fn show(named: &Named) -> Result<()> {
    let (client, name) = (named.asking.client()?, named.name.as_str());
    let asked = [("UserName", name)];
    let user = client.iam("GetUser", &asked)?["User"].take();
    let mut found = identity::policies(&client, Kind::User, name)?;
    let keys = access_key::of_user(&client, name)?;
    found.insert("AccessKeys".to_owned(), Value::from(keys));
    for (member, action) in [
        ("Groups", "ListGroupsForUser"),
        ("MFADevices", "ListMFADevices"),
    ] {
        let items = client.iam_list(action, &asked, member)?;
        found.insert(member.to_owned(), Value::from(items));
    }
    found.insert("User".to_owned(), user);
    let whole = Value::Object(found);
    named.asking.output.print(&whole, || {
        let mut table = Table::default();
        table.row(["User".to_owned(), cell(&whole["User"]["UserName"])]);
        identity::describe(&mut table, &whole["User"], &whole);
        for group in items(&whole, "Groups") {
            table.row(["Group".to_owned(), cell(&group["GroupName"])]);
        }
        for key in items(&whole, "AccessKeys") {
            let line = ["AccessKeyId", "Status", "LastUsedDate"].map(|member| cell(&key[member]));
            let [id, status, used] = line;
            table.row([
                "Access key".to_owned(),
                format!("{id} {status}, last used {used}"),
            ]);
        }
        for device in items(&whole, "MFADevices") {
            table.row(["Second factor".to_owned(), cell(&device["SerialNumber"])]);
        }
        table
    })
}

fn delete(arguments: &Delete) -> Result<()> {
    let (client, name) = (arguments.asking.client()?, arguments.name.as_str());
    if arguments.force {
        strip(&client, name)?;
    }
    client.iam("DeleteUser", &[("UserName", name)])?;
    eprintln!("deleted {name}; its sessions are void too");
    Ok(())
}

/// Takes everything away that keeps a user from being deleted, its keys first.
fn strip(client: &Client, name: &str) -> Result<()> {
    let user = ("UserName", name);
    for key in client.iam_list("ListAccessKeys", &[user], "AccessKeyMetadata")? {
        let key = ("AccessKeyId", text(&key, "AccessKeyId")?);
        client.iam("DeleteAccessKey", &[user, key])?;
    }
    for device in client.iam_list("ListMFADevices", &[user], "MFADevices")? {
        let device = ("SerialNumber", text(&device, "SerialNumber")?);
        client.iam("DeactivateMFADevice", &[user, device])?;
        client.iam("DeleteVirtualMFADevice", &[device])?;
    }
    for group in client.iam_list("ListGroupsForUser", &[user], "Groups")? {
        let group = ("GroupName", text(&group, "GroupName")?);
        client.iam("RemoveUserFromGroup", &[user, group])?;
    }
    identity::strip(client, Kind::User, name)
}
