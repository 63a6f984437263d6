//! `parapet user`, `role` and `policy`, and the access keys of `parapet key`: who may do what.
//!
//! All of it goes over IAM's API, signed like anybody's calls; policies are read here too before
//! they are sent, so that a fault is shown where it stands. [`identity`] is what users and roles have
//! in common, [`document`] reads policies, [`save`] writes AWS profiles, [`output`] prints.

pub(crate) mod access_key;
mod document;
mod identity;
pub(crate) mod output;
pub(crate) mod policy;
pub(crate) mod role;
mod save;
mod simulate;
pub(crate) mod user;

use anyhow::{Context as _, Result};

use crate::api::{Access, Client};
use output::Output;

/// How to ask, and how to print.
#[derive(Debug, clap::Args)]
pub(crate) struct Asking {
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    #[command(flatten)]
    access: Access,
}

impl Asking {
    pub(crate) fn client(&self) -> Result<Client> {
        Client::new(&self.access)
    }
}

/// A tag on the command line: `KEY=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// Parameters of a form: what is there, under its name.
fn given<'a>(parameters: &[(&'a str, Option<&'a str>)]) -> Vec<(&'a str, &'a str)> {
    let there = parameters.iter();
    there
        .filter_map(|(name, value)| Some((*name, (*value)?)))
        .collect()
}

/// Tags as IAM takes them.
fn tags(tags: &[(String, String)]) -> Vec<(String, String)> {
    let numbered = tags.iter().enumerate();
    numbered
        .flat_map(|(index, (key, value))| {
            let at = format!("Tags.member.{}", index + 1);
            [
                (format!("{at}.Key"), key.clone()),
                (format!("{at}.Value"), value.clone()),
            ]
        })
        .collect()
}

/// The ARN of a policy that is named by ARN or name.
fn policy_arn(client: &Client, named: &str) -> Result<String> {
    if named.starts_with("arn:") {
        return Ok(named.to_owned());
    }
    let all = client.iam_list("ListPolicies", &[], "Policies")?;
    let mut found = all
        .iter()
        .filter(|policy| policy["PolicyName"] == named)
        .filter_map(|policy| policy["Arn"].as_str());
    let first = found.next().with_context(|| {
        format!("there is no policy {named:?}: `parapet policy list` tells which there are")
    })?;
    if let Some(second) = found.next() {
        anyhow::bail!("{named:?} may be {first} or {second}: give the ARN");
    }
    Ok(first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_numbered_from_one() {
        let given = [
            ("site".to_owned(), "north".to_owned()),
            ("a".to_owned(), String::new()),
        ];
        let text: Vec<String> = tags(&given)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            text,
            [
                "Tags.member.1.Key=site",
                "Tags.member.1.Value=north",
                "Tags.member.2.Key=a",
                "Tags.member.2.Value=",
            ]
        );
    }

    #[test]
    fn a_pair_needs_a_key_and_its_value_may_hold_anything() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("=b").is_err());
        assert!(pair("a").is_err());
    }
}
