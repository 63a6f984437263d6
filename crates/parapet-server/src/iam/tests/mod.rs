//! The operations as a client meets them, after the signature: forms in, XML out, with a real store
//! and real keys in a temporary directory.

mod groups;
mod keys;
mod mfa;
mod policies;
mod providers;
mod refusals;
mod roles;
mod simulate;
mod users;

use std::sync::Arc;

use http::StatusCode;
use parapet_auth::Caller;

use super::{OPERATIONS, handle};
use crate::audit::Opening;
use crate::call::{Call, Incoming};
use crate::config::ServerConfig;
use crate::context::{Context, Endpoints};

pub(super) const ACCOUNT: &str = "123456789012";
pub(super) const ADMINISTRATOR: &str = "arn:aws:iam::aws:policy/AdministratorAccess";
pub(super) const READ: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"panorama:Describe*","Resource":"*"}]}"#;
pub(super) const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"panorama.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// A control plane without its listeners.
struct Bench {
    ctx: Arc<Context>,
    admin: Caller,
    _data: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: String,
}

impl Reply {
    /// The body of a success.
    fn ok(self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }

    /// Code and message of a refusal.
    fn refused(self) -> (String, String) {
        assert_ne!(self.status, StatusCode::OK, "not refused: {}", self.body);
        (one(&self.body, "Code"), one(&self.body, "Message"))
    }

    /// The code of a refusal.
    fn code(self) -> String {
        self.refused().0
    }
}

/// The texts of all elements of this name.
fn all(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open)
        .skip(1)
        .map(|rest| {
            let end = rest
                .find(&close)
                .unwrap_or_else(|| panic!("{name} in {xml}"));
            rest[..end].to_owned()
        })
        .collect()
}

/// The text of the one element of this name.
fn one(xml: &str, name: &str) -> String {
    let found = all(xml, name);
    assert_eq!(found.len(), 1, "{name} in {xml}");
    found.into_iter().next().expect("one")
}

impl Bench {
    async fn new() -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut config = ServerConfig::new(data.path().join("data"));
        config.account_id = Some(ACCOUNT.to_owned());
        config.master_key_in_data = true;
        let endpoints = Endpoints {
            api: "https://127.0.0.1:1".to_owned(),
            device: "https://127.0.0.1:2".to_owned(),
        };
        let ctx = Context::open(&config, endpoints).await.expect("a context");
        let key = {
            let keys = ctx
                .store
                .read::<_, crate::store::StoreError, _>(crate::store::access_keys::ids)
                .await
                .expect("keys");
            keys.into_iter().next().expect("the first key")
        };
        let admin = ctx.directory.key(&key).await.expect("loaded");
        Self {
            admin: admin.expect("the admin").caller.clone(),
            ctx: Arc::new(ctx),
            _data: data,
        }
    }

    async fn call_as(&self, who: &Caller, action: &str, parameters: &[(&str, &str)]) -> Reply {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action)
            .append_pair("Version", "2010-05-08")
            .extend_pairs(parameters);
        let body = form.finish();
        let incoming = Incoming {
            method: "POST",
            raw_path: "/",
            query: "",
            body: body.as_bytes(),
            request_id: "request-of-a-test",
        };
        let call = self.made_by(who);
        let answer = handle(&call, incoming).await;
        Reply {
            status: answer.status(),
            body: String::from_utf8(answer.body().to_vec()).expect("text"),
        }
    }

    /// A call as the front makes it, but for the signature that tells a repetition.
    fn made_by(&self, who: &Caller) -> Call {
        let mut circumstances = parapet_auth::policy::Context::new();
        who.describe(&mut circumstances);
        Call {
            ctx: Arc::clone(&self.ctx),
            caller: who.clone(),
            scope: self.ctx.scope.clone(),
            circumstances: Arc::new(circumstances),
            draft: self.ctx.audit.begin(&Opening {
                request_id: "request-of-a-test",
                source: std::net::Ipv4Addr::LOCALHOST.into(),
                user_agent: None,
                tls: None,
                host: None,
            }),
            once: Arc::default(),
        }
    }

    async fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Reply {
        self.call_as(&self.admin, action, parameters).await
    }

    /// Makes a user with this policy and a key; who signs with that key.
    async fn person(&self, name: &str, document: &str) -> Caller {
        self.call("CreateUser", &[("UserName", name)]).await.ok();
        self.put_policy(name, document).await;
        let key = self
            .call("CreateAccessKey", &[("UserName", name)])
            .await
            .ok();
        self.caller(&one(&key, "AccessKeyId")).await
    }

    async fn put_policy(&self, user: &str, document: &str) {
        let parameters = [
            ("UserName", user),
            ("PolicyName", "own"),
            ("PolicyDocument", document),
        ];
        self.call("PutUserPolicy", &parameters).await.ok();
    }

    /// Who signs with this key now.
    async fn caller(&self, key: &str) -> Caller {
        let key = self.ctx.directory.key(key).await.expect("loaded");
        key.expect("a key").caller.clone()
    }
}

fn allow(action: &str, resource: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}]}}"#
    )
}

#[test]
fn every_operation_is_in_the_table_once_and_under_its_own_action() {
    let mut names: Vec<_> = OPERATIONS.iter().map(|it| it.name).collect();
    for operation in OPERATIONS {
        assert_eq!(operation.action, format!("iam:{}", operation.name));
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), OPERATIONS.len());
}

/// Attack P1, for all of IAM: without a policy nothing is done and nothing is told.
#[tokio::test]
async fn nobody_does_anything_without_a_policy() {
    let bench = Bench::new().await;
    let nobody = bench
        .person("nobody", &allow("panorama:ListDevices", "*"))
        .await;
    let parameters = [
        ("UserName", "admin"),
        ("GroupName", "g"),
        ("RoleName", "r"),
        ("PolicyName", "p"),
        ("PolicyArn", ADMINISTRATOR),
        ("PolicyDocument", READ),
        ("AssumeRolePolicyDocument", TRUST),
        ("AWSServiceName", "panorama.amazonaws.com"),
        ("AccessKeyId", "AKIAAAAAAAAAAAAAAAAA"),
        ("Status", "Active"),
        ("VersionId", "v1"),
        ("PermissionsBoundary", ADMINISTRATOR),
        ("Tags.member.1.Key", "k"),
        ("Tags.member.1.Value", "v"),
        ("TagKeys.member.1", "k"),
        ("Url", "https://id.example.test"),
        ("ClientID", "c"),
        (
            "OpenIDConnectProviderArn",
            "arn:aws:iam::123456789012:oidc-provider/id.example.test",
        ),
        ("VirtualMFADeviceName", "m"),
        ("SerialNumber", "arn:aws:iam::123456789012:mfa/m"),
        ("AuthenticationCode1", "123456"),
        ("AuthenticationCode2", "123456"),
        ("AccountAlias", "alias"),
        ("PolicySourceArn", "arn:aws:iam::123456789012:user/admin"),
        ("ActionNames.member.1", "panorama:ListDevices"),
        ("PolicyInputList.member.1", READ),
        ("DeletionTaskId", "task/x"),
        ("Description", "d"),
    ];
    for operation in OPERATIONS {
        let (code, message) = bench
            .call_as(&nobody, operation.name, &parameters)
            .await
            .refused();
        assert_eq!(code, "AccessDenied", "{}: {message}", operation.name);
        assert!(
            message.contains(&format!("to perform: {} on", operation.action)),
            "{message}"
        );
    }
}
