//! Who may call what, for every operation of every service, as a table to be read.
//!
//! Each operation of the services' own tables is called four times: without credentials, with a
//! signature made by a wrong secret, by a user who may everything but this one action, and by a
//! user who may this one action and nothing else. What comes back is a line of
//! `authorization.golden`: an operation that is missing there, or asks for another action than its
//! own, or lets somebody in, changes it. Lines whose middle columns are no refusals are the
//! exemptions (attacks P1 and API5). `UPDATE_GOLDEN=1` writes the file anew; read the difference.

mod requests;

use std::fmt::Write as _;

use parapet_server::{iam, parapet, s3, sts};
use serde_json::json;

use crate::plane::{Key, Plane, element};
use requests::Wanted;

/// A user whose policy is changed before each operation.
struct Person {
    name: &'static str,
    key: Key,
}

struct Matrix {
    plane: Plane,
    client: reqwest::Client,
    stranger: Person,
    specialist: Person,
    text: String,
}

#[tokio::test]
async fn every_operation_asks_for_its_own_action() {
    let mut matrix = Matrix::new().await;
    for operation in parapet_api::Operation::ALL {
        matrix
            .row(
                "panorama",
                operation.name(),
                operation.action(),
                &requests::panorama(*operation),
            )
            .await;
    }
    for operation in parapet::Operation::ALL {
        matrix
            .row(
                "parapet",
                operation.name(),
                operation.action(),
                &requests::parapet(*operation),
            )
            .await;
    }
    for operation in iam::OPERATIONS {
        matrix
            .row(
                "iam",
                operation.name,
                operation.action,
                &requests::iam(operation.name),
            )
            .await;
    }
    let account = matrix.account().await;
    for name in sts::OPERATIONS {
        matrix
            .row(
                "sts",
                name,
                &format!("sts:{name}"),
                &requests::sts(name, &account),
            )
            .await;
    }
    for operation in s3::Operation::ALL {
        let wanted = requests::s3(*operation, &account);
        matrix
            .row("s3", operation.name(), operation.action(), &wanted)
            .await;
    }
    for (method, path) in requests::UNSIGNED {
        matrix.unsigned(method, path).await;
    }
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/doors/authorization/authorization.golden");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &matrix.text).expect("written");
    }
    let expected = std::fs::read_to_string(&golden).expect("the golden file");
    for (found, wanted) in matrix.text.lines().zip(expected.lines()) {
        assert_eq!(found, wanted, "see tests/doors/authorization/mod.rs");
    }
    assert_eq!(matrix.text.lines().count(), expected.lines().count());
}

impl Matrix {
    async fn new() -> Self {
        let plane = Plane::start_with(|config| {
            // Wrong signatures come faster here than from any mistaken client.
            config.limits.failures.burst = 100_000;
        })
        .await;
        let person = async |name| Person {
            name,
            key: plane.user(name).await,
        };
        let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
        plane
            .iam(&[
                ("Action", "CreateRole"),
                ("RoleName", requests::TRUSTING),
                ("AssumeRolePolicyDocument", trust),
            ])
            .await;
        Self {
            stranger: person("stranger").await,
            specialist: person("specialist").await,
            client: plane.client(None),
            plane,
            text: String::from(
                "# operation | without credentials | wrong secret | everything but its action | \
                 nothing but its action\n",
            ),
        }
    }

    async fn account(&self) -> String {
        let identity =
            requests::form(&[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]);
        let (_, text) = self.send("sts", &identity, Some(&self.plane.admin())).await;
        element(&text, "Account").expect("an account").to_owned()
    }

    async fn row(&mut self, service: &str, name: &str, action: &str, wanted: &Wanted) {
        let statement = |element: &str| {
            json!({ "Version": "2012-10-17", "Statement": [
                { "Effect": "Allow", element: action, "Resource": "*" }] })
            .to_string()
        };
        for (person, element) in [(&self.stranger, "NotAction"), (&self.specialist, "Action")] {
            self.plane
                .iam(&[
                    ("Action", "PutUserPolicy"),
                    ("UserName", person.name),
                    ("PolicyName", "only"),
                    ("PolicyDocument", &statement(element)),
                ])
                .await;
        }
        let forged = Key {
            id: self.stranger.key.id.clone(),
            secret: "x".repeat(40),
        };
        let mut line = format!("{service}:{name}");
        let people = [
            None,
            Some(&forged),
            Some(&self.stranger.key),
            Some(&self.specialist.key),
        ];
        for person in people {
            let (status, text) = self.send(service, wanted, person).await;
            let code = code(&text);
            write!(
                line,
                " | {status}{}{code}",
                if code.is_empty() { "" } else { " " }
            )
            .expect("a text");
        }
        self.text.push_str(&line);
        self.text.push('\n');
    }

    async fn unsigned(&mut self, method: &str, path: &str) {
        let method: reqwest::Method = method.parse().expect("a method");
        let request = self.client.request(method.clone(), self.plane.url(path));
        let answer = request.send().await.expect("an answer");
        writeln!(self.text, "{method} {path} | {}", answer.status().as_u16()).expect("a text");
    }

    /// Status and body, the error's name in front of it where a header has it.
    async fn send(&self, service: &str, wanted: &Wanted, key: Option<&Key>) -> (u16, String) {
        let headers: Vec<(&str, &str)> =
            wanted.kind.iter().map(|it| ("content-type", *it)).collect();
        let (method, target, body) = (wanted.method, &wanted.target, wanted.body.as_bytes());
        let request = if let Some(key) = key {
            let client = &self.client;
            self.plane
                .signed_by(client, key, service, method, target, &headers, body)
        } else {
            let method = method.parse().expect("a method");
            let request = self.client.request(method, self.plane.url(target));
            headers
                .iter()
                .fold(request, |request, (name, value)| {
                    request.header(*name, *value)
                })
                .body(body.to_vec())
        };
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let named = answer
            .headers()
            .get("x-amzn-errortype")
            .map(|value| format!("<Code>{}</Code>", value.to_str().expect("text")));
        let text = answer.text().await.expect("a body");
        (status, named.unwrap_or_default() + &text)
    }
}

fn code(text: &str) -> &str {
    element(text, "Code").unwrap_or_default()
}
