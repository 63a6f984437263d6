//! `SimulatePrincipalPolicy` and `SimulateCustomPolicy`: what policies would say.
//!
//! The engine is the one that decides real requests. Only the keys that the request gives are
//! known, as with AWS: nothing is taken from the caller's own circumstances.

use parapet_auth::policy::{Context, Simulated, StatementRef, simulate};
use parapet_auth::{Attached, Grants, PolicyKind};

use super::paging::Page;
use super::subject::missing;
use super::{Answer, Call, documents, names};
use crate::directory::DirectoryError;
use crate::query::{Code, Failure, Text, Xml};
use crate::store::{HolderKind, groups, users};

/// Most answers of one simulation: actions times resources.
const ANSWERS: usize = 2_000;
/// Most policies of one list.
const POLICIES: usize = 20;
const ACTION: Text = Text::any(3, 128);
const RESOURCE: Text = Text::any(1, 2048);
const CONTEXT_KEY: Text = Text::any(5, 256);
const CONTEXT_VALUE: Text = Text::any(0, 2048);

#[expect(
    clippy::unused_async,
    reason = "the table of operations takes futures; this one reads nothing"
)]
pub(super) async fn custom_policy(call: &Call) -> Answer {
    call.authorize(&call.ask("*"))?;
    let identity = policies(call, "PolicyInputList", "PolicyInputList")?;
    if identity.is_empty() {
        return Err(Failure::input(
            "PolicyInputList is empty: give at least one policy.",
        ));
    }
    let grants = Grants::Policies {
        identity,
        boundary: boundary(call)?,
        session: None,
    };
    answer(call, &grants)
}

pub(super) async fn principal_policy(call: &Call) -> Answer {
    let source = call.form.required("PolicySourceArn", &names::ARN)?;
    call.authorize(&call.ask(&source))?;
    let grants = source_grants(call, &source).await?;
    let Grants::Policies {
        mut identity,
        boundary: held,
        ..
    } = grants
    else {
        return Err(Failure::input("Nothing restricts the account's root."));
    };
    identity.extend(policies(call, "PolicyInputList", "PolicyInputList")?);
    let grants = Grants::Policies {
        identity,
        boundary: boundary(call)?.or(held),
        session: None,
    };
    answer(call, &grants)
}

/// What speaks for the user, group or role with this ARN.
async fn source_grants(call: &Call, source: &str) -> Result<Grants, Failure> {
    let prefix = format!("arn:aws:iam::{}:", call.account);
    let resource = source.strip_prefix(&prefix).ok_or_else(|| {
        Failure::input("PolicySourceArn must be the ARN of a user, group or role of this account.")
    })?;
    let (kind, path) = resource.split_once('/').unwrap_or((resource, ""));
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let account = call.account.clone();
    let directory = &call.ctx().directory;
    let broken = |error: DirectoryError| Failure::internal(error);
    match kind {
        "user" => {
            let wanted = name.clone();
            let user = call
                .read(move |connection| Ok(users::by_name(connection, &account, &wanted)?))
                .await?
                .ok_or_else(|| missing(HolderKind::User, &name))?;
            let entry = directory.user(&user.id).await.map_err(broken)?;
            let entry = entry.ok_or_else(|| missing(HolderKind::User, &name))?;
            Ok((*entry.grants).clone())
        }
        "role" => {
            let entry = directory.role(&name).await.map_err(broken)?;
            let entry = entry.ok_or_else(|| missing(HolderKind::Role, &name))?;
            Ok((*entry.grants).clone())
        }
        "group" => {
            let wanted = name.clone();
            let found = call
                .read(move |connection| {
                    let Some(group) = groups::by_name(connection, &account, &wanted)? else {
                        return Ok(None);
                    };
                    crate::directory::group_policies(connection, &account, &group)
                        .map(Some)
                        .map_err(Failure::internal)
                })
                .await?;
            let identity = found.ok_or_else(|| missing(HolderKind::Group, &name))?;
            Ok(Grants::identity(identity))
        }
        _ => Err(Failure::input(
            "PolicySourceArn must be the ARN of a user, group or role of this account.",
        )),
    }
}

/// Policies in a list of the request, named by list and number as AWS names them.
fn policies(call: &Call, list: &str, name: &str) -> Result<Vec<Attached>, Failure> {
    let documents = call.form.list(list, &names::DOCUMENT)?;
    if documents.len() > POLICIES {
        return Err(Failure::input(format!(
            "{list} holds more than {POLICIES} policies."
        )));
    }
    let numbered = documents.iter().enumerate();
    numbered
        .map(|(index, document)| {
            let policy = documents::check(document, PolicyKind::InlineRole)?;
            Ok(Attached::new(format!("{name}.{}", index + 1), policy))
        })
        .collect()
}

fn boundary(call: &Call) -> Result<Option<Attached>, Failure> {
    let list = "PermissionsBoundaryPolicyInputList";
    let mut given = policies(call, list, list)?;
    if given.len() > 1 {
        return Err(Failure::refused(
            Code::LimitExceeded,
            "There is one permissions boundary at most.",
        ));
    }
    Ok(given.pop())
}

/// The keys that the request gives.
fn context(call: &Call) -> Result<Context, Failure> {
    let mut context = Context::new();
    let form = &call.form;
    for number in 1..=form.structures("ContextEntries") {
        let at = format!("ContextEntries.member.{number}");
        let key = form.required(&format!("{at}.ContextKeyName"), &CONTEXT_KEY)?;
        let values = form.list(&format!("{at}.ContextKeyValues"), &CONTEXT_VALUE)?;
        context.set_all(&key, values);
    }
    Ok(context)
}

fn answer(call: &Call, grants: &Grants) -> Answer {
    let form = &call.form;
    if form.raw("ResourcePolicy").is_some() {
        return Err(Failure::input(
            "ResourcePolicy: no resource of this server has a policy of its own.",
        ));
    }
    let actions = form.list("ActionNames", &ACTION)?;
    let resources = form.list("ResourceArns", &RESOURCE)?;
    if actions.is_empty() {
        return Err(Failure::input("ActionNames is empty: give at least one."));
    }
    if actions.len() * resources.len().max(1) > ANSWERS {
        return Err(Failure::input(format!(
            "ActionNames times ResourceArns is more than {ANSWERS}; ask in parts."
        )));
    }
    let page = Page::of(call, &[&actions.join(" "), &resources.join(" ")])?;
    let found = simulate(grants, &actions, &resources, &context(call)?);
    let numbered: Vec<(usize, Simulated)> = found.into_iter().enumerate().collect();
    let order = |(number, _): &(usize, Simulated)| format!("{number:06}");
    let (found, more) = page.cut(numbered, order);
    let mut xml = Xml::default();
    xml.list("EvaluationResults", &found, |xml, (_, it)| {
        xml.text("EvalActionName", &it.action);
        xml.text("EvalResourceName", &it.resource);
        xml.text("EvalDecision", it.decision.simulator_name());
        xml.list("MatchedStatements", &it.matched, write_statement);
        xml.texts("MissingContextValues", &it.missing_context);
        if let Some(allows) = it.boundary_allows {
            xml.element("PermissionsBoundaryDecisionDetail", |xml| {
                xml.text("AllowedByPermissionsBoundary", allows);
            });
        }
    });
    page.end(call, &mut xml, found.last().map(order), more)?;
    Ok(Some(xml))
}

fn write_statement(xml: &mut Xml, statement: &StatementRef) {
    xml.text("SourcePolicyId", &statement.policy);
    let kind = if statement.policy.contains("PolicyInputList") {
        "IAM Policy"
    } else {
        "user-managed"
    };
    xml.text("SourcePolicyType", kind);
    // Beyond AWS, whose positions in the text are of little use to people: which statement it is.
    xml.text("SourceStatement", statement);
}
