//! `CreatePolicy`, `GetPolicy`, `ListPolicies`, `DeletePolicy`: managed policies.

use parapet_auth::PolicyKind;
use rusqlite::Connection;

use super::call::{Ask, Tags, unique_id};
use super::managed::{self, Owned};
use super::paging::Page;
use super::subject::taken;
use super::tags::write_tags;
use super::{Answer, Call, arn, documents, names, quotas};
use crate::query::{Code, Failure, Xml};
use crate::store::policies::{ManagedPolicy, PolicyVersion};
use crate::store::principal_tags::{self, Tagged};
use crate::store::{Micros, StoreError, attachments, policies, roles, users};

/// A managed policy, of the account or of AWS.
pub(super) enum Managed {
    /// Of the account, with its tags.
    Local(ManagedPolicy, Tags),
    /// Of AWS.
    Aws(&'static Owned),
}

/// How often a policy is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Uses {
    /// To how many it is attached.
    pub(super) attached: u64,
    /// How many it bounds.
    pub(super) bounds: u64,
}

impl Uses {
    pub(super) fn of(
        connection: &Connection,
        account: &str,
        arn: &str,
    ) -> Result<Self, StoreError> {
        let users = users::bounded_by(connection, account, arn)?.len();
        let roles = roles::bounded_by(connection, account, arn)?.len();
        Ok(Self {
            attached: attachments::count(connection, account, arn)?,
            bounds: (users + roles) as u64,
        })
    }
}

/// The members that every answer has.
pub(super) fn write_local(xml: &mut Xml, policy: &ManagedPolicy, uses: Uses) {
    xml.text("PolicyName", &policy.name);
    xml.text("PolicyId", &policy.id);
    xml.text("Arn", &policy.arn);
    xml.text("Path", &policy.path);
    xml.text(
        "DefaultVersionId",
        format_args!("v{}", policy.default_version),
    );
    write_uses(xml, uses, true);
    xml.text("CreateDate", policy.created.rfc3339());
    xml.text("UpdateDate", policy.updated.rfc3339());
}

/// The same of a policy of AWS, which is there from the first day.
pub(super) fn write_owned(xml: &mut Xml, owned: &Owned, uses: Uses) {
    xml.text("PolicyName", owned.policy.name);
    xml.text("PolicyId", &owned.id);
    xml.text("Arn", &owned.arn);
    xml.text("Path", owned.policy.path);
    xml.text("DefaultVersionId", "v1");
    write_uses(xml, uses, !owned.policy.is_service_linked());
    xml.text("CreateDate", Micros(0).rfc3339());
    xml.text("UpdateDate", Micros(0).rfc3339());
}

fn write_uses(xml: &mut Xml, uses: Uses, is_attachable: bool) {
    xml.text("AttachmentCount", uses.attached);
    xml.text("PermissionsBoundaryUsageCount", uses.bounds);
    xml.text("IsAttachable", is_attachable);
}

impl Call {
    /// The policy that `PolicyArn` names, if the caller may do the operation to it.
    pub(super) async fn policy(&self) -> Result<Managed, Failure> {
        let arn = self.form.required("PolicyArn", &names::ARN)?;
        if let Some(owned) = managed::find(&arn) {
            self.authorize(&self.ask(&arn))?;
            return Ok(Managed::Aws(owned));
        }
        let (account, wanted) = (self.account.clone(), arn.clone());
        let found = self
            .read(move |connection| {
                let Some(policy) = policies::by_arn(connection, &account, &wanted)? else {
                    return Ok(None);
                };
                let tags = principal_tags::get(connection, &account, Tagged::Policy, &policy.id)?;
                Ok(Some((policy, tags)))
            })
            .await?;
        let tags = found.as_ref().map(|(_, tags)| tags.clone());
        self.authorize(&self.ask(&arn).tagged(&tags.unwrap_or_default()))?;
        match found {
            Some((policy, tags)) => Ok(Managed::Local(policy, tags)),
            None => Err(missing(&arn)),
        }
    }

    /// The same; policies of AWS are refused, for nobody changes them.
    pub(super) async fn own_policy(&self) -> Result<(ManagedPolicy, Tags), Failure> {
        match self.policy().await? {
            Managed::Local(policy, tags) => Ok((policy, tags)),
            Managed::Aws(owned) => Err(Failure::refused(
                Code::UnmodifiableEntity,
                format!(
                    "The policy {} is owned by AWS and cannot be changed; make one of your own.",
                    owned.arn
                ),
            )),
        }
    }
}

/// There is no such policy.
pub(super) fn missing(arn: &str) -> Failure {
    let arn: String = arn.chars().take(512).collect();
    Failure::not_found(format!("Policy {arn} does not exist or is not attachable."))
}

pub(super) async fn create(call: &Call) -> Answer {
    let name = call.form.required("PolicyName", &names::POLICY)?;
    let path = names::path(&call.form)?;
    let tags = call.form.tags("Tags")?;
    let arn = arn::policy(&call.account, &path, &name);
    call.authorize(&call.ask(&arn).tagging(&tags))?;
    if !tags.is_empty() {
        call.authorize(&Ask::new("iam:TagPolicy", &arn).tagging(&tags))?;
    }
    let now = Micros::now();
    let policy = ManagedPolicy {
        id: unique_id("ANPA")?,
        arn,
        name,
        path,
        description: call.form.optional("Description", &names::DESCRIPTION)?,
        default_version: 1,
        last_version: 1,
        created: now,
        updated: now,
    };
    let version = PolicyVersion {
        version: 1,
        document: documents::parameter(&call.form, "PolicyDocument", PolicyKind::Managed)?,
        created: now,
    };
    let account = call.account.clone();
    let (policy, tags) = call
        .write(move |tx| {
            if policies::is_taken(tx, &account, &policy.name)? {
                return Err(taken("A policy", &policy.name));
            }
            let have = policies::count(tx, &account)?;
            quotas::room("PoliciesPerAccount", have, quotas::POLICIES)?;
            policies::insert(tx, &account, &policy)?;
            policies::insert_version(tx, &account, &policy.id, &version)?;
            principal_tags::put(tx, &account, Tagged::Policy, &policy.id, &tags)?;
            Ok((policy, tags))
        })
        .await?;
    let mut xml = Xml::default();
    xml.element("Policy", |xml| {
        write_local(xml, &policy, Uses::default());
        xml.optional("Description", policy.description.as_deref());
        write_tags(xml, &tags);
    });
    Ok(Some(xml))
}

pub(super) async fn get(call: &Call) -> Answer {
    let policy = call.policy().await?;
    let arn = match &policy {
        Managed::Local(policy, _) => policy.arn.clone(),
        Managed::Aws(owned) => owned.arn.clone(),
    };
    let account = call.account.clone();
    let uses = call
        .read(move |connection| Ok(Uses::of(connection, &account, &arn)?))
        .await?;
    let mut xml = Xml::default();
    xml.element("Policy", |xml| match &policy {
        Managed::Local(policy, tags) => {
            write_local(xml, policy, uses);
            xml.optional("Description", policy.description.as_deref());
            write_tags(xml, tags);
        }
        Managed::Aws(owned) => {
            write_owned(xml, owned, uses);
            xml.text("Description", owned.policy.description);
            write_tags(xml, &Tags::new());
        }
    });
    Ok(Some(xml))
}

/// A line of the list.
enum Line {
    Local(ManagedPolicy),
    Aws(&'static Owned),
}

impl Line {
    fn arn(&self) -> &str {
        match self {
            Self::Local(policy) => &policy.arn,
            Self::Aws(owned) => &owned.arn,
        }
    }

    fn path(&self) -> &str {
        match self {
            Self::Local(policy) => &policy.path,
            Self::Aws(owned) => owned.policy.path,
        }
    }
}

pub(super) async fn list(call: &Call) -> Answer {
    let form = &call.form;
    let prefix = names::path_prefix(form)?;
    let scope = form
        .choice("Scope", &["All", "AWS", "Local"])?
        .unwrap_or("All");
    let only_used = form.flag("OnlyAttached")?.unwrap_or(false);
    let usage = form
        .choice(
            "PolicyUsageFilter",
            &["PermissionsPolicy", "PermissionsBoundary"],
        )?
        .unwrap_or_default();
    let page = Page::of(
        call,
        &[&prefix, scope, usage, if only_used { "used" } else { "" }],
    )?;
    call.authorize(&call.ask("*"))?;
    let account = call.account.clone();
    let found = call
        .read(move |connection| {
            let mut lines = Vec::new();
            if scope != "AWS" {
                lines.extend(
                    policies::all(connection, &account)?
                        .into_iter()
                        .map(Line::Local),
                );
            }
            if scope != "Local" {
                lines.extend(managed::all().iter().map(Line::Aws));
            }
            lines.retain(|line| line.path().starts_with(&prefix));
            let mut found = Vec::new();
            for line in lines {
                let uses = Uses::of(connection, &account, line.arn())?;
                let is_wanted = match (usage, only_used) {
                    ("PermissionsPolicy", _) | ("", true) => uses.attached > 0,
                    ("PermissionsBoundary", _) => uses.bounds > 0,
                    _ => true,
                };
                if is_wanted {
                    found.push((line, uses));
                }
            }
            Ok(found)
        })
        .await?;
    let (found, more) = page.cut(found, |(line, _)| line.arn().to_owned());
    let mut xml = Xml::default();
    xml.list("Policies", &found, |xml, (line, uses)| match line {
        Line::Local(policy) => write_local(xml, policy, *uses),
        Line::Aws(owned) => write_owned(xml, owned, *uses),
    });
    let last = found.last().map(|(line, _)| line.arn().to_owned());
    page.end(call, &mut xml, last, more)?;
    Ok(Some(xml))
}

pub(super) async fn delete(call: &Call) -> Answer {
    let (policy, _) = call.own_policy().await?;
    let account = call.account.clone();
    call.write(move |tx| {
        let conflict = |message: &str| Err(Failure::refused(Code::DeleteConflict, message));
        let uses = Uses::of(tx, &account, &policy.arn)?;
        if uses.attached > 0 {
            return conflict("Cannot delete a policy attached to entities.");
        }
        if uses.bounds > 0 {
            return conflict("Cannot delete a policy that is a permissions boundary of entities.");
        }
        if policies::versions(tx, &account, &policy.id)?.len() > 1 {
            return conflict(
                "This policy has more than one version. Before you delete a policy, you must \
                 delete the policy's versions. The default version is deleted with the policy.",
            );
        }
        principal_tags::forget(tx, &account, Tagged::Policy, &policy.id)?;
        Ok(policies::delete(tx, &account, &policy.id)?)
    })
    .await?;
    Ok(None)
}
