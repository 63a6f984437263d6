//! What the control plane refuses, with a word on what to do.

use std::fmt;

use serde_json::Value;

use super::items;

/// A refusal of a service that speaks JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    status: reqwest::StatusCode,
    message: String,
}

impl Refused {
    /// From an answer: its members, or all of its text where it is no JSON.
    pub(super) fn new(status: reqwest::StatusCode, answer: &Value, text: &str) -> Self {
        // Which members are wrong says more than that some are.
        let fields: Vec<String> = items(answer, "Fields")
            .filter_map(|field| {
                let (name, message) = (field["Name"].as_str()?, field["Message"].as_str()?);
                Some(format!("{name} {message}"))
            })
            .collect();
        let message = match answer["Message"].as_str().or(answer["message"].as_str()) {
            _ if !fields.is_empty() => fields.join("; "),
            Some(message) => message.to_owned(),
            None => text.chars().take(500).collect(),
        };
        Self { status, message }
    }

    /// Whether somebody else changed the same at the same time.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status == reqwest::StatusCode::CONFLICT
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the control plane refused ({}): {}",
            self.status, self.message
        )
    }
}

/// A refusal of IAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// AWS's code: `NoSuchEntity`.
    pub(crate) code: String,
    /// AWS's words.
    pub(crate) message: String,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the control plane refused ({}): {}",
            self.code,
            self.message.trim_end_matches('.')
        )?;
        match self.remedy() {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl Refusal {
    /// What usually helps.
    fn remedy(&self) -> Option<&'static str> {
        Some(match self.code.as_str() {
            "AccessDenied" => {
                "ask somebody with iam rights, or use another profile with --profile; `parapet \
                 policy simulate` tells which policy is in the way"
            }
            "InvalidClientTokenId" => {
                "is it the key of this control plane, and active? The files in DIR/admin have \
                 that of admin; with all keys lost run `parapet server recover --data DIR` on \
                 its host"
            }
            "ExpiredToken" | "ExpiredTokenException" => "get new temporary credentials",
            "SignatureDoesNotMatch" => "compare the secret, and the clocks of both machines",
            "NoSuchEntity" => "the `list` verbs tell what there is",
            "EntityAlreadyExists" => "take another name, or delete that one first",
            "DeleteConflict" => "`show` tells what hangs on it, `delete --force` takes it away too",
            "LimitExceeded" => "delete what is not needed any more; docs/iam.md has the quotas",
            "Throttling" => "wait a second and try again",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_refused_and_what_helps() {
        let refusal = Refusal {
            code: "NoSuchEntity".to_owned(),
            message: "The user with name ann cannot be found.".to_owned(),
        };
        assert_eq!(
            refusal.to_string(),
            "the control plane refused (NoSuchEntity): The user with name ann cannot be found; \
             the `list` verbs tell what there is"
        );
    }
}
