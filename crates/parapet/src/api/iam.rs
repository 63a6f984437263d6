//! IAM's Query protocol: a form goes out, XML comes back, lists come in pages.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Answer, Client, Refusal, Request, xml};

/// As the protocol asks for it.
const VERSION: &str = "2010-05-08";
/// Pages of a list, at most: more than any account's quota fills.
const PAGES: usize = 1_000;
/// Items of a page: the most that there may be.
const PAGE: &str = "1000";

impl Client {
    /// Calls an operation of IAM; gives what its result element holds.
    pub(crate) fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action);
        form.append_pair("Version", VERSION);
        form.extend_pairs(parameters);
        let answer = self.send(Request {
            service: "iam",
            method: "POST",
            path: "/",
            content_type: "application/x-www-form-urlencoded; charset=utf-8",
            body: form.finish().into_bytes(),
        })?;
        result(action, &answer)
    }

    /// All pages of a list; `member` is the list's name in the answer.
    pub(crate) fn iam_list(
        &self,
        action: &str,
        parameters: &[(&str, &str)],
        member: &str,
    ) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut marker: Option<String> = None;
        for _ in 0..PAGES {
            let mut asked = parameters.to_vec();
            asked.push(("MaxItems", PAGE));
            if let Some(marker) = &marker {
                asked.push(("Marker", marker));
            }
            let mut page = self.iam(action, &asked)?;
            if let Value::Array(items) = take(&mut page, member) {
                found.extend(items);
            }
            marker = page["Marker"].as_str().map(str::to_owned);
            if marker.is_none() {
                return Ok(found);
            }
        }
        bail!("read the answers of {action}: there are more than {PAGES} pages")
    }
}

fn result(action: &str, answer: &Answer) -> Result<Value> {
    let read = xml::read(&answer.text);
    if answer.status.is_success() {
        let mut value = read.with_context(|| format!("read the answer of {action}"))?;
        return Ok(take(&mut value, &format!("{action}Result")));
    }
    let error = match read {
        Ok(mut value) => take(&mut value, "Error"),
        Err(_) => Value::Null,
    };
    let (Some(code), Some(message)) = (error["Code"].as_str(), error["Message"].as_str()) else {
        let shown: String = answer.text.chars().take(500).collect();
        bail!("the control plane refused ({}): {shown}", answer.status)
    };
    Err(Refusal {
        code: code.to_owned(),
        message: message.to_owned(),
    }
    .into())
}

fn take(value: &mut Value, member: &str) -> Value {
    value.get_mut(member).map(Value::take).unwrap_or_default()
}

/// A member of an answer that must be there and be text.
pub(crate) fn text<'v>(value: &'v Value, member: &str) -> Result<&'v str> {
    value[member]
        .as_str()
        .with_context(|| format!("read the answer: it has no {member}"))
}

/// A member that is a list; none when it is missing.
pub(crate) fn items<'v>(value: &'v Value, member: &str) -> impl Iterator<Item = &'v Value> {
    value[member].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16, text: &str) -> Result<Answer> {
        Ok(Answer {
            status: reqwest::StatusCode::from_u16(status)?,
            text: text.to_owned(),
        })
    }

    #[test]
    fn an_error_becomes_its_code_and_its_words() -> Result<()> {
        let text = "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error>\
                    <Type>Sender</Type><Code>DeleteConflict</Code><Message>must detach all \
                    policies first.</Message></Error><RequestId>id</RequestId></ErrorResponse>";
        let refused = result("DeleteUser", &answer(409, text)?).err();
        let refused = refused.context("refused")?;
        let refusal = refused.downcast_ref::<Refusal>().context("a refusal")?;
        assert_eq!(refusal.code, "DeleteConflict");
        assert!(refused.to_string().contains("--force"), "{refused}");
        Ok(())
    }

    #[test]
    fn an_answer_is_what_its_result_holds_and_may_hold_nothing() -> Result<()> {
        let text = "<GetUserResponse><GetUserResult><User><UserName>ann</UserName></User>\
                    </GetUserResult></GetUserResponse>";
        let found = result("GetUser", &answer(200, text)?)?;
        assert_eq!(found, json!({ "User": { "UserName": "ann" } }));
        let text = "<DeleteUserResponse><ResponseMetadata><RequestId>id</RequestId>\
                    </ResponseMetadata></DeleteUserResponse>";
        assert_eq!(result("DeleteUser", &answer(200, text)?)?, Value::Null);
        Ok(())
    }

    #[test]
    fn an_answer_that_is_no_xml_is_shown_bounded() -> Result<()> {
        let refused = result("GetUser", &answer(503, &"x".repeat(10_000))?).err();
        assert!(refused.context("refused")?.to_string().len() < 700);
        Ok(())
    }
}
