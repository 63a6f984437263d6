//! IAM's XML as the JSON that the AWS command prints of it.
//!
//! An element with elements is an object, one with `member`s a list, the rest is text; a few names
//! are numbers, truth values, lists that may be empty, or policy documents, which come
//! percent-encoded (RFC 3986). Pure. Declarations of types and entities are refused: no answer has
//! one, and those are what makes XML dangerous.

use anyhow::{Context as _, Result, bail, ensure};
use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use serde_json::{Map, Value};

/// Deepest nesting: the deepest answer of IAM has 9.
const DEPTH: usize = 16;
/// Elements that are lists also when nothing is in them.
const LISTS: &[&str] = &[
    "AccessKeyMetadata",
    "AttachedPolicies",
    "EvaluationResults",
    "Groups",
    "MFADevices",
    "MatchedStatements",
    "MissingContextValues",
    "Policies",
    "PolicyGroups",
    "PolicyNames",
    "PolicyRoles",
    "PolicyUsers",
    "Roles",
    "Tags",
    "Users",
    "Versions",
];
const NUMBERS: &[&str] = &[
    "AttachmentCount",
    "MaxSessionDuration",
    "PermissionsBoundaryUsageCount",
];
const TRUTHS: &[&str] = &[
    "AllowedByPermissionsBoundary",
    "IsAttachable",
    "IsDefaultVersion",
    "IsTruncated",
];
const DOCUMENTS: &[&str] = &["AssumeRolePolicyDocument", "Document", "PolicyDocument"];

/// An element under way.
#[derive(Default)]
struct Open {
    name: String,
    text: String,
    children: Vec<(String, Value)>,
}

impl Open {
    fn named(name: &[u8]) -> Result<Self> {
        let name = std::str::from_utf8(name).context("its names are no UTF-8")?;
        Ok(Self {
            name: name.to_owned(),
            ..Self::default()
        })
    }

    fn close(self) -> Value {
        let name = self.name.as_str();
        if !self.children.is_empty() {
            if self.children.iter().all(|(child, _)| child == "member") {
                return self.children.into_iter().map(|(_, value)| value).collect();
            }
            return Value::Object(self.children.into_iter().collect::<Map<_, _>>());
        }
        let text = self.text.as_str();
        if text.is_empty() && LISTS.contains(&name) {
            return Value::Array(Vec::new());
        }
        if NUMBERS.contains(&name)
            && let Ok(number) = text.parse::<u64>()
        {
            return Value::from(number);
        }
        if TRUTHS.contains(&name)
            && let Ok(truth) = text.parse::<bool>()
        {
            return Value::from(truth);
        }
        if DOCUMENTS.contains(&name)
            && let Ok(document) = percent_decode_str(text).decode_utf8()
            && let Ok(document) = serde_json::from_str(&document)
        {
            return document;
        }
        Value::from(text)
    }
}

/// The root element's value.
pub(super) fn read(text: &str) -> Result<Value> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Open> = vec![Open::default()];
    loop {
        let event = reader.read_event().context("it is no XML")?;
        let top = open.last_mut().context("its elements do not match")?;
        match event {
            Event::Start(start) => {
                ensure!(open.len() <= DEPTH, "it is nested too deeply");
                open.push(Open::named(start.local_name().as_ref())?);
            }
            Event::Empty(empty) => {
                let empty = Open::named(empty.local_name().as_ref())?;
                top.children.push((empty.name.clone(), empty.close()));
            }
            Event::End(_) => {
                let done = open.pop().context("its elements do not match")?;
                let parent = open.last_mut().context("its elements do not match")?;
                parent.children.push((done.name.clone(), done.close()));
            }
            Event::Text(part) => top.text.push_str(&part.decode().context("read its text")?),
            Event::CData(part) => top.text.push_str(&part.decode().context("read its text")?),
            Event::GeneralRef(reference) => {
                if let Some(c) = reference.resolve_char_ref().context("read its text")? {
                    top.text.push(c);
                } else {
                    let name = reference.decode().context("read its text")?;
                    let text = resolve_predefined_entity(&name)
                        .with_context(|| format!("it has the entity {name:?}"))?;
                    top.text.push_str(text);
                }
            }
            Event::Decl(_) | Event::Comment(_) => {}
            Event::PI(_) | Event::DocType(_) => bail!("it declares what no answer declares"),
            Event::Eof => break,
        }
    }
    let mut root = open.pop().context("it is empty")?;
    ensure!(
        open.is_empty() && root.children.len() == 1,
        "it is not one whole element"
    );
    let (_, value) = root.children.pop().context("it is empty")?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_reads_as_the_aws_command_prints_it() -> Result<()> {
        let text = "<?xml version=\"1.0\"?>\n<ListRolesResponse xmlns=\"https://iam.amazonaws.com/\">\
             <ListRolesResult>\n<Roles><member><RoleName>a&lt;b&#38;c</RoleName>\
             <MaxSessionDuration>3600</MaxSessionDuration>\
             <AssumeRolePolicyDocument>%7B%22Version%22%3A%222012-10-17%22%7D\
             </AssumeRolePolicyDocument><Tags/></member></Roles>\
             <IsTruncated>false</IsTruncated></ListRolesResult>\
             <ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></ListRolesResponse>";
        assert_eq!(
            read(text)?,
            json!({
                "ListRolesResult": {
                    "Roles": [{
                        "RoleName": "a<b&c",
                        "MaxSessionDuration": 3600,
                        "AssumeRolePolicyDocument": { "Version": "2012-10-17" },
                        "Tags": [],
                    }],
                    "IsTruncated": false,
                },
                "ResponseMetadata": { "RequestId": "id" },
            })
        );
        Ok(())
    }

    #[test]
    fn a_user_named_like_a_truth_value_stays_a_text() -> Result<()> {
        let text = "<R><UserName>true</UserName><Path>7</Path></R>";
        assert_eq!(read(text)?, json!({ "UserName": "true", "Path": "7" }));
        Ok(())
    }

    #[test]
    fn an_empty_list_is_a_list_and_an_empty_text_a_text() -> Result<()> {
        let text = "<R><Users></Users><Description></Description></R>";
        assert_eq!(read(text)?, json!({ "Users": [], "Description": "" }));
        Ok(())
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(40), "</a>".repeat(40));
        for text in [
            "",
            "no xml",
            "<a><b></a></b>",
            "<a>",
            "<a/><b/>",
            "<a>&secret;</a>",
            "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
            "<?php ?><a/>",
            deep.as_str(),
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
