//! The verbs of `parapet key` for users' access keys.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::output::Table;
use super::save::Profile;
use super::{Asking, Output};
use crate::api::{Client, text};

/// Arguments of `parapet key create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    parapet key create ann --save ann     into ~/.aws, the secret is not shown\n  \
    parapet key create ann --output json  for a program that keeps secrets\n\n\
    The secret can be had this once: the control plane keeps it sealed and never tells it again. \
    A user has two keys at most, so that one can follow the other.")]
pub(crate) struct Create {
    /// Whose
    user: String,
    /// Write it into the AWS credentials file under this new profile instead of showing it
    #[arg(long, value_name = "PROFILE")]
    save: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `parapet key list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Whose [default: everybody's]
    user: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `parapet key activate`, `deactivate` and `delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// AKIA…
    id: String,
    /// Whose [default: asked of the control plane]
    #[arg(long)]
    user: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Activate,
    Deactivate,
    Delete,
}

/// Makes a key.
pub(crate) fn create(arguments: &Create) -> Result<()> {
    let client = arguments.asking.client()?;
    let profile = arguments.save.as_deref().map(Profile::new).transpose()?;
    let mut answer = client.iam("CreateAccessKey", &[("UserName", &arguments.user)])?;
    let id = text(&answer["AccessKey"], "AccessKeyId")?.to_owned();
    if let Some(profile) = profile {
        let secret = text(&answer["AccessKey"], "SecretAccessKey")?;
        let saved = profile.write(&id, secret, client.settings());
        let file = match saved {
            Ok(file) => file.display().to_string(),
            Err(error) => return Err(give_up(&client, &arguments.user, &id, error)),
        };
        if let Some(key) = answer["AccessKey"].as_object_mut() {
            key.remove("SecretAccessKey");
        }
        let name = arguments.save.as_deref().unwrap_or_default();
        eprintln!("wrote the profile {name} into {file}: use it with --profile {name}");
    } else if arguments.asking.output == Output::Table {
        eprintln!("The secret is shown this once: keep it now.");
    }
    arguments.asking.output.print(&answer, || {
        let key = &answer["AccessKey"];
        let mut table = Table::default();
        for (heading, member) in [
            ("User", "UserName"),
            ("Access key", "AccessKeyId"),
            ("Secret", "SecretAccessKey"),
        ] {
            if let Some(value) = key[member].as_str() {
                table.row([heading, value]);
            }
        }
        table
    })
}

/// A key whose secret nobody has is of no use: takes it back.
fn give_up(client: &Client, user: &str, id: &str, error: anyhow::Error) -> anyhow::Error {
    let parameters = [("UserName", user), ("AccessKeyId", id)];
    match client.iam("DeleteAccessKey", &parameters) {
        Ok(_) => error.context(format!("save the key {id}, which is deleted again")),
        Err(_) => error.context(format!(
            "save the key {id}: nobody has its secret, `parapet key delete {id}` takes it away"
        )),
    }
}

/// Shows keys, never a secret.
pub(crate) fn list(arguments: &List) -> Result<()> {
    let client = arguments.asking.client()?;
    let users = match &arguments.user {
        Some(user) => vec![user.clone()],
        None => client
            .iam_list("ListUsers", &[], "Users")?
            .iter()
            .map(|user| text(user, "UserName").map(str::to_owned))
            .collect::<Result<_>>()?,
    };
    let mut keys = Vec::new();
    for user in &users {
        keys.extend(of_user(&client, user)?);
    }
    let members = [
        "UserName",
        "AccessKeyId",
        "Status",
        "CreateDate",
        "LastUsedDate",
        "ServiceName",
    ];
    let table = || {
        let headings = [
            "USER",
            "ACCESS KEY",
            "STATUS",
            "CREATED",
            "LAST USED",
            "FOR",
        ];
        let mut table = Table::with_headings(&headings);
        table.members(&keys, &members);
        table
    };
    let value = json!({ "AccessKeys": keys });
    arguments.asking.output.print(&value, table)
}

/// The keys of a user, each with its last use.
pub(super) fn of_user(client: &Client, user: &str) -> Result<Vec<Value>> {
    let mut keys = client.iam_list("ListAccessKeys", &[("UserName", user)], "AccessKeyMetadata")?;
    for key in &mut keys {
        let id = text(key, "AccessKeyId")?.to_owned();
        let used = client.iam("GetAccessKeyLastUsed", &[("AccessKeyId", &id)])?;
        let used = used["AccessKeyLastUsed"].as_object();
        if let (Some(key), Some(used)) = (key.as_object_mut(), used) {
            key.extend(used.clone());
        }
    }
    Ok(keys)
}

/// Changes one.
pub(crate) fn change(arguments: &One, change: Change) -> Result<()> {
    let client = arguments.asking.client()?;
    let id = arguments.id.as_str();
    let user = if let Some(user) = &arguments.user {
        user.clone()
    } else {
        let found = client
            .iam("GetAccessKeyLastUsed", &[("AccessKeyId", id)])
            .with_context(|| format!("find out whose {id} is"))?;
        text(&found, "UserName")?.to_owned()
    };
    let named = [("UserName", user.as_str()), ("AccessKeyId", id)];
    let with = |status| [named[0], named[1], ("Status", status)];
    let told = match change {
        Change::Activate => {
            client.iam("UpdateAccessKey", &with("Active"))?;
            "is active"
        }
        Change::Deactivate => {
            client.iam("UpdateAccessKey", &with("Inactive"))?;
            "is inactive; `parapet key activate` takes it back"
        }
        Change::Delete => {
            client.iam("DeleteAccessKey", &named)?;
            "is deleted"
        }
    };
    eprintln!("the key {id} of {user} {told}");
    if change != Change::Activate {
        eprintln!("Sessions that it opened end too with `parapet user revoke-sessions {user}`.");
    }
    Ok(())
}
