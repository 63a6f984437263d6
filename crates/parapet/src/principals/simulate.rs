//! `parapet policy simulate`: the engine's word on a question, and the statement it rests on.

use std::path::PathBuf;

use anyhow::Result;
use parapet_auth::PolicyKind;
use serde_json::{Value, json};

use super::output::{Table, cell};
use super::{Asking, document, pair};
use crate::api::{Client, items, text};

/// Arguments of `parapet policy simulate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    parapet policy simulate --user ann --action panorama:DeleteDevice\n  \
    parapet policy simulate --role app --action s3:GetObject --resource 'arn:aws:s3:::models/*'\n  \
    parapet policy simulate --user ann --file new.json --action iam:CreateUser --expect denied\n  \
    parapet policy simulate --file new.json --action s3:* --context aws:SourceIp=10.0.0.7\n\n\
    Nothing of your own circumstances is taken into account, only what --context gives.")]
pub(crate) struct Simulate {
    /// Whose policies
    #[arg(long, required_unless_present_any = ["role", "file"], conflicts_with = "role")]
    user: Option<String>,
    /// Whose policies
    #[arg(long)]
    role: Option<String>,
    /// A policy besides, or alone: what would it change?
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What to ask: panorama:CreatePackage; may be given more than once
    #[arg(long, required = true)]
    action: Vec<String>,
    /// On what; may be given more than once [default: *]
    #[arg(long, value_name = "ARN")]
    resource: Vec<String>,
    /// A condition key and its value; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,
    /// End with 1 unless every decision is this
    #[arg(long, value_enum)]
    expect: Option<Expected>,
    #[command(flatten)]
    asking: Asking,
}

/// What a decision should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Expected {
    /// A statement allows it and none denies it
    Allowed,
    /// A statement denies it, or none allows it
    Denied,
}

/// Asks and prints; `false` when it is not as expected.
pub(super) fn run(arguments: &Simulate) -> Result<bool> {
    let document = match &arguments.file {
        Some(file) => Some(document::read(file, PolicyKind::InlineRole)?),
        None => None,
    };
    let client = arguments.asking.client()?;
    let source = source(&client, arguments)?;
    let mut form = numbered("ActionNames", &arguments.action);
    form.extend(numbered("ResourceArns", &arguments.resource));
    form.extend(context(&arguments.context));
    if let Some(document) = document {
        form.push(("PolicyInputList.member.1".to_owned(), document));
    }
    let action = match source {
        Some(arn) => {
            form.push(("PolicySourceArn".to_owned(), arn));
            "SimulatePrincipalPolicy"
        }
        None => "SimulateCustomPolicy",
    };
    let parameters: Vec<(&str, &str)> = form
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let results = client.iam_list(action, &parameters, "EvaluationResults")?;
    let is_expected = results.iter().all(|result| match arguments.expect {
        None => true,
        Some(Expected::Allowed) => result["EvalDecision"] == "allowed",
        Some(Expected::Denied) => result["EvalDecision"] != "allowed",
    });
    let value = json!({ "EvaluationResults": results });
    arguments.asking.output.print(&value, || table(&results))?;
    Ok(is_expected)
}

fn table(results: &[Value]) -> Table {
    let mut table = Table::with_headings(&["ACTION", "RESOURCE", "DECISION", "BECAUSE OF"]);
    for result in results {
        let mut reasons: Vec<String> = items(result, "MatchedStatements")
            .map(|statement| cell(&statement["SourceStatement"]))
            .collect();
        let boundary = &result["PermissionsBoundaryDecisionDetail"];
        if boundary["AllowedByPermissionsBoundary"] == false {
            reasons.push("the permissions boundary, which does not allow it".to_owned());
        }
        if reasons.is_empty() {
            reasons.push("no statement that allows it".to_owned());
        }
        for key in items(result, "MissingContextValues") {
            reasons.push(format!("(policies ask for {}: give --context)", cell(key)));
        }
        let decision = match result["EvalDecision"].as_str() {
            Some("allowed") => "allowed",
            Some("explicitDeny") => "denied by a statement",
            _ => "denied",
        };
        table.row([
            cell(&result["EvalActionName"]),
            cell(&result["EvalResourceName"]),
            decision.to_owned(),
            reasons.join("; "),
        ]);
    }
    table
}

/// The ARN whose policies are asked.
fn source(client: &Client, arguments: &Simulate) -> Result<Option<String>> {
    let (action, member, parameter, name) = match (&arguments.user, &arguments.role) {
        (Some(name), _) => ("GetUser", "User", "UserName", name),
        (None, Some(name)) => ("GetRole", "Role", "RoleName", name),
        (None, None) => return Ok(None),
    };
    let found = client.iam(action, &[(parameter, name)])?;
    Ok(Some(text(&found[member], "Arn")?.to_owned()))
}

fn numbered(list: &str, values: &[String]) -> Vec<(String, String)> {
    let values = values.iter().enumerate();
    values
        .map(|(index, value)| (format!("{list}.member.{}", index + 1), value.clone()))
        .collect()
}

/// Condition keys as the simulator takes them: each key once, with all its values.
fn context(pairs: &[(String, String)]) -> Vec<(String, String)> {
    let mut keys: Vec<(&str, Vec<String>)> = Vec::new();
    for (key, value) in pairs {
        match keys.iter_mut().find(|(known, _)| known == key) {
            Some((_, values)) => values.push(value.clone()),
            None => keys.push((key, vec![value.clone()])),
        }
    }
    let mut form = Vec::new();
    for (index, (key, values)) in keys.into_iter().enumerate() {
        let at = format!("ContextEntries.member.{}", index + 1);
        let kind = if values.len() == 1 {
            "string"
        } else {
            "stringList"
        };
        form.push((format!("{at}.ContextKeyName"), key.to_owned()));
        form.push((format!("{at}.ContextKeyType"), kind.to_owned()));
        form.extend(numbered(&format!("{at}.ContextKeyValues"), &values));
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_key_that_is_given_twice_has_two_values() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let pairs = [
            pair("aws:SourceIp", "10.0.0.1"),
            pair("aws:TagKeys", "a"),
            pair("aws:TagKeys", "b"),
        ];
        let form: Vec<String> = context(&pairs)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            form,
            [
                "ContextEntries.member.1.ContextKeyName=aws:SourceIp",
                "ContextEntries.member.1.ContextKeyType=string",
                "ContextEntries.member.1.ContextKeyValues.member.1=10.0.0.1",
                "ContextEntries.member.2.ContextKeyName=aws:TagKeys",
                "ContextEntries.member.2.ContextKeyType=stringList",
                "ContextEntries.member.2.ContextKeyValues.member.1=a",
                "ContextEntries.member.2.ContextKeyValues.member.2=b",
            ]
        );
    }

    #[test]
    fn a_decision_is_told_with_its_statement_or_what_is_missing() {
        let results = [
            json!({
                "EvalActionName": "s3:GetObject", "EvalResourceName": "*",
                "EvalDecision": "explicitDeny",
                "MatchedStatements": [{ "SourceStatement": "statement \"No\" of a policy" }],
            }),
            json!({
                "EvalActionName": "s3:PutObject", "EvalResourceName": "*",
                "EvalDecision": "implicitDeny", "MatchedStatements": [],
                "MissingContextValues": ["aws:SourceIp"],
            }),
        ];
        let told = table(&results).to_string();
        assert!(
            told.contains("denied by a statement  statement \"No\" of a policy"),
            "{told}"
        );
        assert!(told.contains("no statement that allows it; (policies ask for aws:SourceIp"));
    }
}
