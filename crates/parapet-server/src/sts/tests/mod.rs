//! The operations as a client meets them after its signature: a real store, directory and ring,
//! callers that the directory makes, and sessions whose tokens are opened again.

mod of_roles;
mod of_strangers;
mod of_users;

use std::collections::BTreeMap;
use std::sync::Arc;

use parapet_auth::policy::{Context as Circumstances, Question, decide};
use parapet_auth::session::OpenSession;
use parapet_auth::{Caller, Policy};

use super::{Stranger, handle, handle_unsigned};
use crate::audit::Opening;
use crate::call::{Call, Incoming, Once};
use crate::config::ServerConfig;
use crate::context::{Context, Endpoints};
use crate::directory::SessionRefusal;
use crate::store::access_keys::{self, AccessKey, KeyStatus};
use crate::store::roles::{self, Role};
use crate::store::users::{self, User};
use crate::store::{Holder, Micros, StoreError, inline_policies};

const ACCOUNT: &str = "123456789012";

/// A control plane without its listeners, with user `ann` and role `reader`.
struct Bench {
    ctx: Arc<Context>,
    data: tempfile::TempDir,
}

/// An answer: its status and its XML.
#[derive(Debug)]
struct Answer {
    status: u16,
    xml: String,
}

/// What a form says; a later value of a name counts.
type Fields<'a> = &'a [(&'a str, &'a str)];

impl Answer {
    /// The text of the first element of this name.
    fn text(&self, name: &str) -> &str {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let found = self.xml.split_once(&open).map(|(_, rest)| rest);
        let found = found.and_then(|rest| rest.split_once(&close));
        found
            .unwrap_or_else(|| panic!("no {name} in {}", self.xml))
            .0
    }

    /// The code of an error.
    fn code(&self) -> &str {
        assert_ne!(self.status, 200, "{}", self.xml);
        self.text("Code")
    }
}

const ASSUME_READER: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],
    "Resource":"arn:aws:iam::123456789012:role/*"}]}"#;
const READ: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":"panorama:*","Resource":"*"}]}"#;
const TRUST_ACCOUNT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Principal":{"AWS":"arn:aws:iam::123456789012:root"},
    "Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}]}"#;
const READER: &str = "arn:aws:iam::123456789012:role/reader";

impl Bench {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(set: impl FnOnce(&mut ServerConfig)) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut config = ServerConfig::new(data.path().join("data"));
        config.account_id = Some(ACCOUNT.to_owned());
        config.master_key_in_data = true;
        set(&mut config);
        let endpoints = Endpoints {
            api: "https://127.0.0.1:1".to_owned(),
            device: "https://127.0.0.1:2".to_owned(),
        };
        let ctx = Context::open(&config, endpoints).await.expect("a context");
        let bench = Self {
            ctx: Arc::new(ctx),
            data,
        };
        bench.user("ann", ASSUME_READER).await;
        bench.role("reader", TRUST_ACCOUNT, READ).await;
        bench
    }

    /// Adds a user with key `AKIA<NAME>`.
    async fn user(&self, name: &str, policy: &str) {
        let (id, key) = (format!("AIDA{name}"), format!("AKIA{name}"));
        let (name, policy) = (name.to_owned(), policy.to_owned());
        Policy::parse(&policy, parapet_auth::PolicyKind::InlineUser).expect("a policy");
        self.write(move |tx| {
            let user = User {
                id: id.clone(),
                name,
                path: "/".to_owned(),
                boundary: None,
                not_before: None,
                created: Micros::now(),
            };
            users::insert(tx, ACCOUNT, &user)?;
            inline_policies::put(tx, ACCOUNT, &Holder::user(&id), "p", &policy)?;
            access_keys::insert(
                tx,
                &AccessKey {
                    account: ACCOUNT.to_owned(),
                    id: key,
                    user: id,
                    wrapped: vec![0],
                    status: KeyStatus::Active,
                    last_use: None,
                    created: Micros::now(),
                },
            )
        })
        .await;
    }

    /// Adds a role whose sessions live two hours at most.
    async fn role(&self, name: &str, trust: &str, policy: &str) {
        let (id, name) = (format!("AROA{name}"), name.to_owned());
        let (trust, policy) = (trust.to_owned(), policy.to_owned());
        self.write(move |tx| {
            let role = Role {
                id: id.clone(),
                name,
                path: "/".to_owned(),
                description: None,
                trust_json: trust,
                max_session_s: 7_200,
                boundary: None,
                not_before: None,
                linked_service: None,
                created: Micros::now(),
            };
            roles::insert(tx, ACCOUNT, &role)?;
            inline_policies::put(tx, ACCOUNT, &Holder::role(&id), "p", &policy)
        })
        .await;
    }

    /// Changes what a decision depends on, as an operation of IAM does.
    async fn write(
        &self,
        work: impl FnOnce(&crate::store::Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    ) {
        self.ctx.store.write(work).await.expect("a change");
        self.ctx.directory.changed();
    }

    async fn ann(&self) -> Caller {
        self.key_of("ann").await
    }

    async fn key_of(&self, name: &str) -> Caller {
        let found = self.ctx.directory.key(&format!("AKIA{name}")).await;
        found.expect("a directory").expect("a key").caller.clone()
    }

    fn call_by(&self, caller: &Caller) -> Call {
        let mut circumstances = Circumstances::new();
        circumstances.set("aws:SecureTransport", "true");
        caller.describe(&mut circumstances);
        Call {
            ctx: Arc::clone(&self.ctx),
            caller: caller.clone(),
            scope: self.ctx.scope.clone(),
            circumstances: Arc::new(circumstances),
            draft: self.ctx.audit.begin(&opening()),
            once: Arc::new(Once::default()),
        }
    }

    async fn ask(&self, caller: &Caller, action: &str, fields: Fields<'_>) -> Answer {
        let body = form(action, fields);
        let answer = handle(&self.call_by(caller), incoming(&body)).await;
        read(&answer)
    }

    async fn ask_unsigned(&self, fields: Fields<'_>) -> Answer {
        let body = form("AssumeRoleWithWebIdentity", fields);
        let draft = self.ctx.audit.begin(&opening());
        let stranger = Stranger {
            ctx: &self.ctx,
            circumstances: &Circumstances::new(),
            draft: &draft,
        };
        read(&handle_unsigned(&stranger, incoming(&body)).await)
    }

    /// Opens the token of an answer, as the front does.
    fn open(&self, answer: &Answer) -> OpenSession {
        assert_eq!(answer.status, 200, "{}", answer.xml);
        let now = Micros::now().0 / 1_000_000;
        let open = self
            .ctx
            .tokens
            .open(answer.text("SessionToken"), now)
            .expect("a token of ours");
        assert_eq!(open.claims.access_key, answer.text("AccessKeyId"));
        assert_eq!(open.secret.expose(), answer.text("SecretAccessKey"));
        open
    }

    /// Who asks with the credentials of an answer.
    async fn session(&self, answer: &Answer) -> Result<Caller, SessionRefusal> {
        let open = self.open(answer);
        self.ctx
            .directory
            .session(&open)
            .await
            .expect("a directory")
    }
}

fn opening() -> Opening<'static> {
    Opening {
        request_id: "request-of-a-test",
        source: std::net::Ipv4Addr::LOCALHOST.into(),
        user_agent: None,
        tls: None,
        host: None,
    }
}

fn form(action: &str, fields: Fields<'_>) -> String {
    let mut all = BTreeMap::from([("Action", action), ("Version", "2011-06-15")]);
    all.extend(fields.iter().copied());
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(all);
    form.finish()
}

fn incoming(body: &str) -> Incoming<'_> {
    Incoming {
        method: "POST",
        raw_path: "/",
        query: "",
        body: body.as_bytes(),
        request_id: "request-of-a-test",
    }
}

fn read(answer: &http::Response<bytes::Bytes>) -> Answer {
    Answer {
        status: answer.status().as_u16(),
        xml: String::from_utf8(answer.body().to_vec()).expect("text"),
    }
}

fn may(caller: &Caller, action: &str) -> bool {
    let mut context = Circumstances::new();
    caller.describe(&mut context);
    let question = Question {
        action,
        resource: "*",
        context: &context,
    };
    decide(&caller.grants, &question).is_allowed()
}
