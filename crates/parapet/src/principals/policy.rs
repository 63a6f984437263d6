//! `parapet policy`: documents that say what is allowed, and what they would say.

use std::path::PathBuf;

use anyhow::Result;
use parapet_auth::PolicyKind;
use serde_json::{Value, json};

use super::output::{Table, cell};
use super::simulate::{self, Simulate};
use super::{Asking, document, given, pair, policy_arn, tags};
use crate::api::{Client, items, text};

/// What can be done with policies.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  \
    parapet policy check --file cameras.json\n  \
    parapet policy create cameras --file cameras.json\n  \
    parapet user attach ann cameras\n  \
    parapet policy new-version cameras --file cameras.json\n  \
    parapet policy simulate --user ann --action panorama:DeleteDevice\n\n\
    docs/policies.md says what a policy may say.")]
pub(crate) enum Verb {
    /// Make a managed policy, which may be attached to users and roles
    Create(Create),
    /// Show which managed policies there are
    List(List),
    /// Show a managed policy: its document, its versions, whom it speaks for
    Show(Show),
    /// Delete a managed policy
    Delete(Delete),
    /// Put another document in a policy's place; up to five versions are kept
    NewVersion(NewVersion),
    /// Go back, or on, to another version
    UseVersion(Version),
    /// Delete a version that does not count
    DeleteVersion(Version),
    /// Read a document without sending it anywhere
    Check(Check),
    /// Tell what policies would say, and which statement says it
    Simulate(Simulate),
}

/// Arguments of `parapet policy create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Letters, digits and +=,.@_-
    name: String,
    /// The document; it is checked before it is sent
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Begins and ends with a slash: /team/
    #[arg(long)]
    path: Option<String>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// A tag; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    tag: Vec<(String, String)>,
    #[command(flatten)]
    asking: Asking,
}

/// Whose policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scope {
    /// All
    All,
    /// Those that come with Parapet under AWS's names
    Aws,
    /// Those that were made here
    Local,
}

/// Arguments of `parapet policy list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Whose
    #[arg(long, value_enum, default_value_t = Scope::All)]
    scope: Scope,
    /// Only those that are attached to somebody
    #[arg(long)]
    attached: bool,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `parapet policy show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The policy, by name or ARN
    policy: String,
    /// The document of this version [default: the one that counts]
    #[arg(long, value_name = "vN")]
    version_id: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `parapet policy delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// The policy, by name or ARN
    policy: String,
    /// Take it from everybody and delete its other versions first
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `parapet policy new-version`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewVersion {
    /// The policy, by name or ARN
    policy: String,
    /// The document; it is checked before it is sent
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Keep it for later: the present version goes on to count
    #[arg(long)]
    keep_default: bool,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `parapet policy use-version` and `delete-version`.
#[derive(Debug, clap::Args)]
pub(crate) struct Version {
    /// The policy, by name or ARN
    policy: String,
    /// v1, v2 and so on
    #[arg(value_name = "VERSION")]
    id: String,
    #[command(flatten)]
    asking: Asking,
}

/// What kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A managed policy or a boundary
    Managed,
    /// A user's own
    User,
    /// A role's own
    Role,
    /// A group's own
    Group,
    /// Who may assume a role
    Trust,
    /// What narrows a session
    Session,
}

/// Arguments of `parapet policy check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The document
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// What it is to be
    #[arg(long, value_enum, default_value_t = Kind::Managed)]
    kind: Kind,
}

/// Carries it out; `false` when a simulation is not as expected.
pub(crate) fn run(verb: &Verb) -> Result<bool> {
    match verb {
        Verb::Create(create) => self::create(create)?,
        Verb::List(list) => self::list(list)?,
        Verb::Show(show) => self::show(show)?,
        Verb::Delete(delete) => self::delete(delete)?,
        Verb::NewVersion(version) => new_version(version)?,
        Verb::UseVersion(version) => use_version(version)?,
        Verb::DeleteVersion(version) => delete_version(version)?,
        Verb::Check(check) => self::check(check)?,
        Verb::Simulate(simulate) => return simulate::run(simulate),
    }
    Ok(true)
}

fn create(arguments: &Create) -> Result<()> {
    let document = document::read(&arguments.file, PolicyKind::Managed)?;
    let tags = tags(&arguments.tag);
    let mut parameters = given(&[
        ("PolicyName", Some(&arguments.name)),
        ("PolicyDocument", Some(&document)),
        ("Path", arguments.path.as_deref()),
        ("Description", arguments.description.as_deref()),
    ]);
    parameters.extend(
        tags.iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let answer = arguments
        .asking
        .client()?
        .iam("CreatePolicy", &parameters)?;
    arguments.asking.output.print(&answer, || {
        let mut table = Table::default();
        table.row(["Policy".to_owned(), cell(&answer["Policy"]["PolicyName"])]);
        table.row(["ARN".to_owned(), cell(&answer["Policy"]["Arn"])]);
        table
    })
}

fn list(arguments: &List) -> Result<()> {
    let client = arguments.asking.client()?;
    let scope = match arguments.scope {
        Scope::All => "All",
        Scope::Aws => "AWS",
        Scope::Local => "Local",
    };
    let attached = arguments.attached.then_some("true");
    let parameters = given(&[("Scope", Some(scope)), ("OnlyAttached", attached)]);
    let policies = client.iam_list("ListPolicies", &parameters, "Policies")?;
    let table = || {
        let mut table = Table::with_headings(&["POLICY", "VERSION", "ATTACHED", "BOUNDS", "ARN"]);
        let members = [
            "PolicyName",
            "DefaultVersionId",
            "AttachmentCount",
            "PermissionsBoundaryUsageCount",
            "Arn",
        ];
        table.members(&policies, &members);
        table
    };
    let value = json!({ "Policies": policies });
    arguments.asking.output.print(&value, table)
}

fn show(arguments: &Show) -> Result<()> {
    let client = arguments.asking.client()?;
    let arn = policy_arn(&client, &arguments.policy)?;
    let asked = ("PolicyArn", arn.as_str());
    let policy = client.iam("GetPolicy", &[asked])?["Policy"].take();
    let id = match &arguments.version_id {
        Some(version) => version.as_str(),
        None => text(&policy, "DefaultVersionId")?,
    };
    let version = client.iam("GetPolicyVersion", &[asked, ("VersionId", id)])?;
    let versions = client.iam_list("ListPolicyVersions", &[asked], "Versions")?;
    let whole = json!({
        "Policy": policy,
        "PolicyVersion": version["PolicyVersion"],
        "Versions": versions,
        "Entities": entities(&client, &arn)?,
    });
    arguments.asking.output.print(&whole, || table(&whole))?;
    if arguments.asking.output == super::Output::Table {
        println!("{:#}", whole["PolicyVersion"]["Document"]);
    }
    Ok(())
}

fn table(whole: &Value) -> Table {
    let policy = &whole["Policy"];
    let mut table = Table::default();
    for (heading, member) in [
        ("Policy", "PolicyName"),
        ("ARN", "Arn"),
        ("Description", "Description"),
        ("Changed", "UpdateDate"),
    ] {
        table.row([heading.to_owned(), cell(&policy[member])]);
    }
    for version in items(whole, "Versions") {
        let is_default = version["IsDefaultVersion"] == true;
        let counts = if is_default { ", counts" } else { "" };
        let id = cell(&version["VersionId"]);
        let line = format!("{id} of {}{counts}", cell(&version["CreateDate"]));
        table.row(["Version".to_owned(), line]);
    }
    for entity in items(whole, "Entities") {
        let line = ["Kind", "Name", "Usage"].map(|member| cell(&entity[member]));
        table.row(["Speaks for".to_owned(), line.join(" ")]);
    }
    table.row([
        "Document".to_owned(),
        cell(&whole["PolicyVersion"]["VersionId"]),
    ]);
    table
}

/// Whom a policy speaks for, and whom it bounds.
fn entities(client: &Client, arn: &str) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for (usage, told) in [
        ("PermissionsPolicy", "attached"),
        ("PermissionsBoundary", "boundary"),
    ] {
        for (filter, member, name) in [
            ("User", "PolicyUsers", "UserName"),
            ("Role", "PolicyRoles", "RoleName"),
            ("Group", "PolicyGroups", "GroupName"),
        ] {
            let asked = [
                ("PolicyArn", arn),
                ("EntityFilter", filter),
                ("PolicyUsageFilter", usage),
            ];
            for entity in client.iam_list("ListEntitiesForPolicy", &asked, member)? {
                let kind = filter.to_lowercase();
                found.push(json!({ "Kind": kind, "Name": entity[name], "Usage": told }));
            }
        }
    }
    Ok(found)
}

fn delete(arguments: &Delete) -> Result<()> {
    let client = arguments.asking.client()?;
    let arn = policy_arn(&client, &arguments.policy)?;
    let policy = ("PolicyArn", arn.as_str());
    if arguments.force {
        for entity in entities(&client, &arn)? {
            let (kind, name) = (text(&entity, "Kind")?, text(&entity, "Name")?);
            let (word, parameter) = match kind {
                "user" => ("User", "UserName"),
                "role" => ("Role", "RoleName"),
                _ => ("Group", "GroupName"),
            };
            // A boundary that goes away would leave more allowed than before: that is not done in
            // passing.
            anyhow::ensure!(
                entity["Usage"] == "attached",
                "delete {}: it bounds the {kind} {name}; `parapet {kind} set-boundary {name}` \
                 gives it another boundary, --none takes it away",
                arguments.policy
            );
            client.iam(&format!("Detach{word}Policy"), &[(parameter, name), policy])?;
        }
        for version in client.iam_list("ListPolicyVersions", &[policy], "Versions")? {
            if version["IsDefaultVersion"] != true {
                let version = ("VersionId", text(&version, "VersionId")?);
                client.iam("DeletePolicyVersion", &[policy, version])?;
            }
        }
    }
    client.iam("DeletePolicy", &[policy])?;
    eprintln!("deleted {}", arguments.policy);
    Ok(())
}

fn new_version(arguments: &NewVersion) -> Result<()> {
    let document = document::read(&arguments.file, PolicyKind::Managed)?;
    let client = arguments.asking.client()?;
    let arn = policy_arn(&client, &arguments.policy)?;
    let is_default = if arguments.keep_default {
        "false"
    } else {
        "true"
    };
    let parameters = [
        ("PolicyArn", arn.as_str()),
        ("PolicyDocument", &document),
        ("SetAsDefault", is_default),
    ];
    let answer = client.iam("CreatePolicyVersion", &parameters)?;
    arguments.asking.output.print(&answer, || {
        let version = &answer["PolicyVersion"];
        let mut table = Table::default();
        table.row(["Policy".to_owned(), arguments.policy.clone()]);
        table.row(["Version".to_owned(), cell(&version["VersionId"])]);
        table.row(["Counts".to_owned(), cell(&version["IsDefaultVersion"])]);
        table
    })
}

fn use_version(arguments: &Version) -> Result<()> {
    version(arguments, "SetDefaultPolicyVersion")?;
    eprintln!("{} of {} counts now", arguments.id, arguments.policy);
    Ok(())
}

fn delete_version(arguments: &Version) -> Result<()> {
    version(arguments, "DeletePolicyVersion")?;
    eprintln!("deleted {} of {}", arguments.id, arguments.policy);
    Ok(())
}

fn version(arguments: &Version, action: &str) -> Result<()> {
    let client = arguments.asking.client()?;
    let arn = policy_arn(&client, &arguments.policy)?;
    let parameters = [("PolicyArn", arn.as_str()), ("VersionId", &arguments.id)];
    client.iam(action, &parameters)?;
    Ok(())
}

fn check(arguments: &Check) -> Result<()> {
    let kind = match arguments.kind {
        Kind::Managed => PolicyKind::Managed,
        Kind::User => PolicyKind::InlineUser,
        Kind::Role => PolicyKind::InlineRole,
        Kind::Group => PolicyKind::InlineGroup,
        Kind::Trust => PolicyKind::Trust,
        Kind::Session => PolicyKind::Session,
    };
    document::read(&arguments.file, kind)?;
    eprintln!("{} is a policy", arguments.file.display());
    Ok(())
}
