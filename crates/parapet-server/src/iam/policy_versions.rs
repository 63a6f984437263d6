//! `CreatePolicyVersion`, `GetPolicyVersion`, `ListPolicyVersions`, `SetDefaultPolicyVersion`,
//! `DeletePolicyVersion`. A managed policy has five versions at most, one of which speaks.

use parapet_auth::PolicyKind;
use rusqlite::Connection;

use super::paging::Page;
use super::policies::{Managed, missing};
use super::{Answer, Call, documents, names, quotas};
use crate::query::{Code, Failure, Xml};
use crate::store::Micros;
use crate::store::policies::{self, ManagedPolicy, PolicyVersion};

fn write_version(xml: &mut Xml, version: &PolicyVersion, default: u32) {
    xml.text("VersionId", format_args!("v{}", version.version));
    xml.text("IsDefaultVersion", version.version == default);
    xml.text("CreateDate", version.created.rfc3339());
}

/// The one version of a policy of AWS.
fn of_aws(document: &str) -> PolicyVersion {
    PolicyVersion {
        version: 1,
        document: document.to_owned(),
        created: Micros(0),
    }
}

pub(super) async fn create(call: &Call) -> Answer {
    let (policy, _) = call.own_policy().await?;
    let document = documents::parameter(&call.form, "PolicyDocument", PolicyKind::Managed)?;
    let is_default = call.form.flag("SetAsDefault")?.unwrap_or(false);
    let account = call.account.clone();
    let (version, default) = call
        .write(move |tx| {
            let mut policy = current(tx, &account, &policy)?;
            let have = policies::versions(tx, &account, &policy.id)?.len() as u64;
            if have >= quotas::VERSIONS {
                return Err(Failure::refused(
                    Code::LimitExceeded,
                    "A managed policy can have up to 5 versions. Before you create a new version, \
                     you must delete an existing version.",
                ));
            }
            let now = Micros::now();
            policy.last_version += 1;
            policy.updated = now;
            if is_default {
                policy.default_version = policy.last_version;
            }
            let version = PolicyVersion {
                version: policy.last_version,
                document,
                created: now,
            };
            policies::insert_version(tx, &account, &policy.id, &version)?;
            policies::update(tx, &account, &policy)?;
            Ok((version, policy.default_version))
        })
        .await?;
    let mut xml = Xml::default();
    xml.element("PolicyVersion", |xml| write_version(xml, &version, default));
    Ok(Some(xml))
}

pub(super) async fn get(call: &Call) -> Answer {
    let policy = call.policy().await?;
    let number = number(call)?;
    let (version, default) = match policy {
        Managed::Aws(owned) if number == 1 => (Some(of_aws(owned.policy.document)), 1),
        Managed::Aws(_) => (None, 1),
        Managed::Local(policy, _) => {
            let (account, id) = (call.account.clone(), policy.id);
            let version = call
                .read(move |connection| Ok(policies::version(connection, &account, &id, number)?))
                .await?;
            (version, policy.default_version)
        }
    };
    let version = version.ok_or_else(|| no_version(number))?;
    let mut xml = Xml::default();
    xml.element("PolicyVersion", |xml| {
        xml.text("Document", documents::escaped(&version.document));
        write_version(xml, &version, default);
    });
    Ok(Some(xml))
}

pub(super) async fn list(call: &Call) -> Answer {
    let policy = call.policy().await?;
    let (found, default) = match policy {
        Managed::Aws(owned) => (vec![of_aws(owned.policy.document)], 1),
        Managed::Local(policy, _) => {
            let (account, id) = (call.account.clone(), policy.id);
            let found = call
                .read(move |connection| Ok(policies::versions(connection, &account, &id)?))
                .await?;
            (found, policy.default_version)
        }
    };
    let arn = call.form.raw("PolicyArn").unwrap_or_default();
    let page = Page::of(call, &[arn])?;
    // The newest first.
    let order = |version: &PolicyVersion| format!("{:010}", u32::MAX - version.version);
    let (found, more) = page.cut(found, order);
    let mut xml = Xml::default();
    xml.list("Versions", &found, |xml, version| {
        write_version(xml, version, default);
    });
    page.end(call, &mut xml, found.last().map(order), more)?;
    Ok(Some(xml))
}

pub(super) async fn set_default(call: &Call) -> Answer {
    let (policy, _) = call.own_policy().await?;
    let number = number(call)?;
    let account = call.account.clone();
    call.write(move |tx| {
        let mut policy = current(tx, &account, &policy)?;
        if policies::version(tx, &account, &policy.id, number)?.is_none() {
            return Err(no_version(number));
        }
        policy.default_version = number;
        policy.updated = Micros::now();
        Ok(policies::update(tx, &account, &policy)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn delete(call: &Call) -> Answer {
    let (policy, _) = call.own_policy().await?;
    let number = number(call)?;
    let account = call.account.clone();
    call.write(move |tx| {
        let policy = current(tx, &account, &policy)?;
        if policies::version(tx, &account, &policy.id, number)?.is_none() {
            return Err(no_version(number));
        }
        if policy.default_version == number {
            return Err(Failure::refused(
                Code::DeleteConflict,
                "Cannot delete the default version of a policy.",
            ));
        }
        Ok(policies::delete_version(tx, &account, &policy.id, number)?)
    })
    .await?;
    Ok(None)
}

fn number(call: &Call) -> Result<u32, Failure> {
    let text = call.form.required("VersionId", &names::VERSION)?;
    names::version(&text).ok_or_else(|| Failure::input("The VersionId is not one."))
}

/// The policy as it is now, if it is still the same.
fn current(
    connection: &Connection,
    account: &str,
    policy: &ManagedPolicy,
) -> Result<ManagedPolicy, Failure> {
    policies::by_arn(connection, account, &policy.arn)?
        .filter(|now| now.id == policy.id)
        .ok_or_else(|| missing(&policy.arn))
}

fn no_version(number: u32) -> Failure {
    Failure::not_found(format!("The policy has no version v{number}."))
}
