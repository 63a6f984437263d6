//! `Attach…Policy`, `Detach…Policy`, `ListAttached…Policies` of users, groups and roles.

use super::paging::Page;
use super::policies::missing;
use super::{Answer, Call, managed, names, quotas};
use crate::query::{Code, Failure, Xml};
use crate::store::{HolderKind, attachments, policies};

pub(super) async fn attach(call: &Call, kind: HolderKind) -> Answer {
    let arn = call.form.required("PolicyArn", &names::ARN)?;
    let subject = call
        .subject(kind, |ask| ask.with("iam:PolicyARN", &arn))
        .await?;
    if managed::find(&arn).is_some_and(|owned| owned.policy.is_service_linked()) {
        return Err(Failure::refused(
            Code::PolicyNotAttachable,
            format!("Cannot attach {arn}: it is for a service-linked role only."),
        ));
    }
    let account = call.account.clone();
    call.write(move |tx| {
        Call::still(tx, &account, &subject)?;
        if managed::find(&arn).is_none() && policies::by_arn(tx, &account, &arn)?.is_none() {
            return Err(missing(&arn));
        }
        let have = attachments::of(tx, &account, &subject.holder)?;
        if !have.contains(&arn) {
            let quota = match kind {
                HolderKind::User => "PoliciesPerUser",
                HolderKind::Group => "PoliciesPerGroup",
                HolderKind::Role => "PoliciesPerRole",
            };
            quotas::room(quota, have.len() as u64, quotas::ATTACHED)?;
        }
        Ok(attachments::attach(tx, &account, &subject.holder, &arn)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn detach(call: &Call, kind: HolderKind) -> Answer {
    let arn = call.form.required("PolicyArn", &names::ARN)?;
    let subject = call
        .subject(kind, |ask| ask.with("iam:PolicyARN", &arn))
        .await?;
    let account = call.account.clone();
    call.write(move |tx| {
        if attachments::detach(tx, &account, &subject.holder, &arn)? {
            return Ok(());
        }
        Err(Failure::not_found(format!("Policy {arn} was not found.")))
    })
    .await?;
    Ok(None)
}

pub(super) async fn list(call: &Call, kind: HolderKind) -> Answer {
    let subject = call.subject(kind, |ask| ask).await?;
    let prefix = names::path_prefix(&call.form)?;
    let page = Page::of(call, &[&subject.holder.id, &prefix])?;
    let account = call.account.clone();
    let found = call
        .read(move |connection| Ok(attachments::of(connection, &account, &subject.holder)?))
        .await?;
    let found = found
        .into_iter()
        .filter(|arn| path(arn).starts_with(&prefix))
        .collect();
    let (found, more) = page.cut(found, Clone::clone);
    let mut xml = Xml::default();
    xml.list("AttachedPolicies", &found, |xml, arn| {
        xml.text("PolicyName", name(arn));
        xml.text("PolicyArn", arn);
    });
    let last = found.last().cloned();
    page.end(call, &mut xml, last, more)?;
    Ok(Some(xml))
}

/// The name of the policy with this ARN.
pub(super) fn name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// The path of the policy with this ARN.
fn path(arn: &str) -> &str {
    let resource = arn.split_once(":policy").map_or("/", |(_, rest)| rest);
    resource.rfind('/').map_or("/", |end| &resource[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_holds_path_and_name() {
        for (arn, its_path, its_name) in [
            ("arn:aws:iam::aws:policy/A", "/", "A"),
            ("arn:aws:iam::1:policy/x/y/B", "/x/y/", "B"),
        ] {
            assert_eq!((path(arn), name(arn)), (its_path, its_name));
        }
    }
}
