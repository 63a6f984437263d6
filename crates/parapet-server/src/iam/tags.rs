//! `Tag…`, `Untag…` and `List…Tags` of users, roles and managed policies.

use std::collections::BTreeSet;

use super::call::{Ask, Tags};
use super::paging::Page;
use super::policies::Managed;
use super::subject::modifiable;
use super::{Answer, Call, arn, names, quotas};
use crate::query::{Failure, Xml};
use crate::store::principal_tags::{self, Tagged};
use crate::store::{HolderKind, policies, roles, users};

/// The member of everything that has tags; left out where there are none, as AWS does.
pub(super) fn write_tags(xml: &mut Xml, tags: &Tags) {
    if !tags.is_empty() {
        write_list(xml, tags);
    }
}

fn write_list<'t>(xml: &mut Xml, tags: impl IntoIterator<Item = (&'t String, &'t String)>) {
    xml.list("Tags", tags, |xml, (key, value)| {
        xml.text("Key", key);
        xml.text("Value", value);
    });
}

/// What a request about tags names.
struct Found {
    id: String,
    tags: Tags,
}

/// Finds what is to be tagged and asks the caller's policies with `more`.
async fn found(
    call: &Call,
    kind: Tagged,
    more: impl FnOnce(Ask<'_>) -> Ask<'_> + Send,
) -> Result<Found, Failure> {
    match kind {
        Tagged::User => {
            let name = call.form.required("UserName", &names::USER)?;
            let (user, tags) = call.user_named(name, more).await?;
            Ok(Found { id: user.id, tags })
        }
        Tagged::Role => {
            // Tags of service-linked roles are the account's own.
            let name = call.form.required("RoleName", &names::ROLE)?;
            let (account, wanted) = (call.account.clone(), name.clone());
            let role = call
                .read(move |connection| {
                    let Some(role) = roles::by_name(connection, &account, &wanted)? else {
                        return Ok(None);
                    };
                    let tags = principal_tags::get(connection, &account, Tagged::Role, &role.id)?;
                    Ok(Some((role, tags)))
                })
                .await?;
            let path = role.as_ref().map_or("/", |(role, _)| role.path.as_str());
            let tags = role.as_ref().map(|(_, tags)| tags.clone());
            let resource = arn::role(&call.account, path, &name);
            call.authorize(&more(call.ask(&resource).tagged(&tags.unwrap_or_default())))?;
            let (role, tags) =
                role.ok_or_else(|| super::subject::missing(HolderKind::Role, &name))?;
            if call.operation.access == super::Access::Tagging {
                modifiable(&role)?;
            }
            Ok(Found { id: role.id, tags })
        }
        Tagged::Policy | Tagged::OidcProvider | Tagged::Mfa => {
            let arn = call.form.required("PolicyArn", &names::ARN)?;
            let policy = match call.policy().await? {
                Managed::Local(policy, tags) => Some((policy, tags)),
                Managed::Aws(_) => None,
            };
            let tags = policy.as_ref().map(|(_, tags)| tags.clone());
            call.authorize(&more(call.ask(&arn).tagged(&tags.unwrap_or_default())))?;
            match policy {
                Some((policy, tags)) => Ok(Found {
                    id: policy.id,
                    tags,
                }),
                None if call.operation.access == super::Access::List => Ok(Found {
                    id: String::new(),
                    tags: Tags::new(),
                }),
                None => Err(call
                    .own_policy()
                    .await
                    .err()
                    .unwrap_or_else(|| super::policies::missing(&arn))),
            }
        }
    }
}

pub(super) async fn tag(call: &Call, kind: Tagged) -> Answer {
    let given = call.form.tags("Tags")?;
    let found = found(call, kind, |ask| ask.tagging(&given)).await?;
    let account = call.account.clone();
    call.write(move |tx| {
        must_be_there(tx, &account, kind, &found.id)?;
        let have = principal_tags::get(tx, &account, kind, &found.id)?;
        let keys: BTreeSet<String> = have
            .keys()
            .chain(given.keys())
            .map(|key| key.to_lowercase())
            .collect();
        if keys.len() as u64 > quotas::TAGS {
            return Err(quotas::exceeded("TagsPerResource", quotas::TAGS));
        }
        Ok(principal_tags::put(tx, &account, kind, &found.id, &given)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn untag(call: &Call, kind: Tagged) -> Answer {
    let keys = call.form.tag_keys("TagKeys")?;
    let found = found(call, kind, |ask| ask.untagging(&keys)).await?;
    let account = call.account.clone();
    call.write(move |tx| {
        Ok(principal_tags::remove(
            tx, &account, kind, &found.id, &keys,
        )?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn list(call: &Call, kind: Tagged) -> Answer {
    let found = found(call, kind, |ask| ask).await?;
    let page = Page::of(call, &[&found.id])?;
    let tags = found.tags.into_iter().collect();
    let (tags, more) = page.cut(tags, |(key, _): &(String, String)| key.clone());
    let mut xml = Xml::default();
    write_list(&mut xml, tags.iter().map(|(key, value)| (key, value)));
    let last = tags.last().map(|(key, _)| key.clone());
    page.end(call, &mut xml, last, more)?;
    Ok(Some(xml))
}

/// Tags of something that has just gone away would outlive it.
fn must_be_there(
    connection: &rusqlite::Connection,
    account: &str,
    kind: Tagged,
    id: &str,
) -> Result<(), Failure> {
    let is_there = match kind {
        Tagged::User => users::by_id(connection, account, id)?.is_some(),
        Tagged::Role => roles::by_id(connection, account, id)?.is_some(),
        _ => policies::all(connection, account)?
            .iter()
            .any(|it| it.id == id),
    };
    if is_there {
        return Ok(());
    }
    Err(Failure::not_found("What is to be tagged cannot be found."))
}
