//! `Put…Policy`, `Get…Policy`, `List…Policies`, `Delete…Policy` of users, groups and roles.

use parapet_auth::{Policy, PolicyKind};

use super::paging::Page;
use super::{Answer, Call, documents, names, quotas};
use crate::query::{Failure, Xml};
use crate::store::{HolderKind, inline_policies};

pub(super) fn kind_of(kind: HolderKind) -> PolicyKind {
    match kind {
        HolderKind::User => PolicyKind::InlineUser,
        HolderKind::Group => PolicyKind::InlineGroup,
        HolderKind::Role => PolicyKind::InlineRole,
    }
}

pub(super) async fn put(call: &Call, kind: HolderKind) -> Answer {
    let subject = call.subject(kind, |ask| ask).await?;
    let name = call.form.required("PolicyName", &names::POLICY)?;
    let document = documents::parameter(&call.form, "PolicyDocument", kind_of(kind))?;
    let account = call.account.clone();
    call.write(move |tx| {
        Call::still(tx, &account, &subject)?;
        // The quota is for all inline policies of one identity together.
        let others: usize = inline_policies::of(tx, &account, &subject.holder)?
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(_, document)| Policy::characters(document))
            .sum();
        let most = kind_of(kind).quota();
        if others + Policy::characters(&document) > most {
            let quota = match kind {
                HolderKind::User => "UserPolicySize",
                HolderKind::Group => "GroupPolicySize",
                HolderKind::Role => "RolePolicySize",
            };
            return Err(quotas::exceeded(quota, most as u64));
        }
        Ok(inline_policies::put(
            tx,
            &account,
            &subject.holder,
            &name,
            &document,
        )?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn get(call: &Call, kind: HolderKind) -> Answer {
    let subject = call.subject(kind, |ask| ask).await?;
    let name = call.form.required("PolicyName", &names::POLICY)?;
    let (account, holder, wanted) = (call.account.clone(), subject.holder, name.clone());
    let found = call
        .read(move |connection| {
            Ok(inline_policies::get(
                connection, &account, &holder, &wanted,
            )?)
        })
        .await?;
    let document = found.ok_or_else(|| missing(kind, &name))?;
    let mut xml = Xml::default();
    let member = match kind {
        HolderKind::User => "UserName",
        HolderKind::Group => "GroupName",
        HolderKind::Role => "RoleName",
    };
    xml.text(member, &subject.name);
    xml.text("PolicyName", &name);
    xml.text("PolicyDocument", documents::escaped(&document));
    Ok(Some(xml))
}

pub(super) async fn list(call: &Call, kind: HolderKind) -> Answer {
    let subject = call.subject(kind, |ask| ask).await?;
    let page = Page::of(call, &[&subject.holder.id])?;
    let account = call.account.clone();
    let found = call
        .read(move |connection| Ok(inline_policies::of(connection, &account, &subject.holder)?))
        .await?;
    let found = found.into_iter().map(|(name, _)| name).collect();
    let (found, more) = page.cut(found, Clone::clone);
    let mut xml = Xml::default();
    xml.texts("PolicyNames", &found);
    let last = found.last().cloned();
    page.end(call, &mut xml, last, more)?;
    Ok(Some(xml))
}

pub(super) async fn delete(call: &Call, kind: HolderKind) -> Answer {
    let subject = call.subject(kind, |ask| ask).await?;
    let name = call.form.required("PolicyName", &names::POLICY)?;
    let account = call.account.clone();
    call.write(move |tx| {
        if inline_policies::delete(tx, &account, &subject.holder, &name)? {
            return Ok(());
        }
        Err(missing(kind, &name))
    })
    .await?;
    Ok(None)
}

fn missing(kind: HolderKind, name: &str) -> Failure {
    let what = kind.as_str();
    Failure::not_found(format!(
        "The {what} policy with name {name} cannot be found."
    ))
}
