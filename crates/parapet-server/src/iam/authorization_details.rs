//! `GetAccountAuthorizationDetails`: everybody with all that speaks for them.

use rusqlite::Connection;

use super::attached_policies::name as policy_name;
use super::call::Tags;
use super::managed::{self, Owned};
use super::paging::Page;
use super::permissions_boundaries::write_boundary;
use super::policies::{Uses, write_local, write_owned};
use super::roles::write_role;
use super::tags::write_tags;
use super::users::write_user;
use super::{Answer, Call, documents};
use crate::query::{Failure, Text, Xml};
use crate::store::groups::Group;
use crate::store::policies::{ManagedPolicy, PolicyVersion};
use crate::store::principal_tags::{self, Tagged};
use crate::store::roles::Role;
use crate::store::users::User;
use crate::store::{
    Holder, Micros, Names, StoreError, attachments, groups, inline_policies, policies, roles, users,
};

/// The kinds that may be asked for.
const KINDS: [&str; 5] = [
    "User",
    "Group",
    "Role",
    "LocalManagedPolicy",
    "AWSManagedPolicy",
];

/// One line, in the order of kinds and names.
enum Line {
    User(User),
    Group(Group),
    Role(Role),
    Local(ManagedPolicy),
    Aws(&'static Owned),
}

impl Line {
    fn order(&self) -> String {
        match self {
            Self::User(user) => format!("0{}", user.name),
            Self::Group(group) => format!("1{}", group.name),
            Self::Role(role) => format!("2{}", role.name),
            Self::Local(policy) => format!("3{}", policy.arn),
            Self::Aws(owned) => format!("4{}", owned.arn),
        }
    }
}

/// The four lists of the answer.
#[derive(Default)]
struct Lists {
    users: Vec<Xml>,
    groups: Vec<Xml>,
    roles: Vec<Xml>,
    policies: Vec<Xml>,
}

pub(super) async fn get(call: &Call) -> Answer {
    let wanted = call.form.list("Filter", &Text::any(1, 64))?;
    if let Some(odd) = wanted.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(Failure::validation(format!(
            "1 validation error detected: Value '{odd}' at 'filter' failed to satisfy constraint: \
             Member must satisfy enum value set: [{}]",
            KINDS.join(", ")
        )));
    }
    let filter = wanted.join(" ");
    let page = Page::of(call, &[&filter])?;
    call.authorize(&call.ask("*"))?;
    let (account, cut) = (call.account.clone(), page.clone());
    let (lists, last, more) = call
        .read(move |connection| {
            let lines = all(connection, &account, &wanted)?;
            let (lines, more) = cut.cut(lines, Line::order);
            let mut lists = Lists::default();
            for line in &lines {
                write(connection, &account, line, &mut lists)?;
            }
            Ok((lists, lines.last().map(Line::order), more))
        })
        .await?;
    let mut xml = Xml::default();
    for (name, members) in [
        ("UserDetailList", lists.users),
        ("GroupDetailList", lists.groups),
        ("RoleDetailList", lists.roles),
        ("Policies", lists.policies),
    ] {
        xml.list(name, members, |xml, member| xml.append(&member));
    }
    page.end(call, &mut xml, last, more)?;
    Ok(Some(xml))
}

fn all(connection: &Connection, account: &str, wanted: &[String]) -> Result<Vec<Line>, StoreError> {
    let is_wanted = |kind: &str| wanted.is_empty() || wanted.iter().any(|it| it == kind);
    let (mut lines, names) = (Vec::new(), Names::all());
    if is_wanted("User") {
        let found = users::list(connection, account, &names)?;
        lines.extend(found.rows.into_iter().map(Line::User));
    }
    if is_wanted("Group") {
        let found = groups::list(connection, account, &names)?;
        lines.extend(found.rows.into_iter().map(Line::Group));
    }
    if is_wanted("Role") {
        let found = roles::list(connection, account, &names)?;
        lines.extend(found.rows.into_iter().map(Line::Role));
    }
    if is_wanted("LocalManagedPolicy") {
        let found = policies::all(connection, account)?;
        lines.extend(found.into_iter().map(Line::Local));
    }
    if is_wanted("AWSManagedPolicy") {
        lines.extend(managed::all().iter().map(Line::Aws));
    }
    Ok(lines)
}

fn write(
    connection: &Connection,
    account: &str,
    line: &Line,
    lists: &mut Lists,
) -> Result<(), StoreError> {
    let mut xml = Xml::default();
    match line {
        Line::User(user) => {
            write_user(&mut xml, account, user);
            let holder = Holder::user(&user.id);
            write_inline(connection, account, &holder, "UserPolicyList", &mut xml)?;
            let names = groups::of_user(connection, account, &user.id)?;
            xml.texts("GroupList", names.iter().map(|group| &group.name));
            write_attached(connection, account, &holder, &mut xml)?;
            write_boundary(&mut xml, user.boundary.as_deref());
            write_tags(
                &mut xml,
                &tags(connection, account, Tagged::User, &user.id)?,
            );
            lists.users.push(xml);
        }
        Line::Group(group) => {
            super::groups::write_group(&mut xml, account, group);
            let holder = Holder::group(&group.id);
            write_inline(connection, account, &holder, "GroupPolicyList", &mut xml)?;
            write_attached(connection, account, &holder, &mut xml)?;
            lists.groups.push(xml);
        }
        Line::Role(role) => {
            write_role(&mut xml, account, role);
            xml.texts("InstanceProfileList", [""; 0]);
            let holder = Holder::role(&role.id);
            write_inline(connection, account, &holder, "RolePolicyList", &mut xml)?;
            write_attached(connection, account, &holder, &mut xml)?;
            write_boundary(&mut xml, role.boundary.as_deref());
            write_tags(
                &mut xml,
                &tags(connection, account, Tagged::Role, &role.id)?,
            );
            lists.roles.push(xml);
        }
        Line::Local(policy) => {
            write_local(
                &mut xml,
                policy,
                Uses::of(connection, account, &policy.arn)?,
            );
            let versions = policies::versions(connection, account, &policy.id)?;
            write_versions(&mut xml, &versions, policy.default_version);
            lists.policies.push(xml);
        }
        Line::Aws(owned) => {
            write_owned(&mut xml, owned, Uses::of(connection, account, &owned.arn)?);
            let version = PolicyVersion {
                version: 1,
                document: owned.policy.document.to_owned(),
                created: Micros(0),
            };
            write_versions(&mut xml, &[version], 1);
            lists.policies.push(xml);
        }
    }
    Ok(())
}

fn tags(
    connection: &Connection,
    account: &str,
    kind: Tagged,
    id: &str,
) -> Result<Tags, StoreError> {
    principal_tags::get(connection, account, kind, id)
}

fn write_inline(
    connection: &Connection,
    account: &str,
    holder: &Holder,
    list: &str,
    xml: &mut Xml,
) -> Result<(), StoreError> {
    let found = inline_policies::of(connection, account, holder)?;
    xml.list(list, &found, |xml, (name, document)| {
        xml.text("PolicyName", name);
        xml.text("PolicyDocument", documents::escaped(document));
    });
    Ok(())
}

fn write_attached(
    connection: &Connection,
    account: &str,
    holder: &Holder,
    xml: &mut Xml,
) -> Result<(), StoreError> {
    let found = attachments::of(connection, account, holder)?;
    xml.list("AttachedManagedPolicies", &found, |xml, arn| {
        xml.text("PolicyName", policy_name(arn));
        xml.text("PolicyArn", arn);
    });
    Ok(())
}

fn write_versions(xml: &mut Xml, versions: &[PolicyVersion], default: u32) {
    xml.list("PolicyVersionList", versions, |xml, version| {
        xml.text("Document", documents::escaped(&version.document));
        xml.text("VersionId", format_args!("v{}", version.version));
        xml.text("IsDefaultVersion", version.version == default);
        xml.text("CreateDate", version.created.rfc3339());
    });
}
