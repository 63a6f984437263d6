//! Temporary credentials through the real door: what a session signs is believed, and everything
//! else about it is not. Attack A9, and pitfall 1.4/15.

use std::time::{SystemTime, UNIX_EPOCH};

use parapet_auth::sigv4::{SignRequest, sign};
use parapet_server::store::{Micros, Store, StoreError};
use serde_json::json;

use crate::plane::Plane;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Credentials as an answer gives them, or a client has them.
#[derive(Debug, Clone)]
struct Credentials {
    key: String,
    secret: String,
    token: Option<String>,
}

fn element(xml: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let rest = xml.split_once(&open).map(|(_, rest)| rest);
    let text = rest.and_then(|rest| rest.split_once(&close));
    text.unwrap_or_else(|| panic!("no {name} in {xml}"))
        .0
        .to_owned()
}

impl Credentials {
    /// The first user's own.
    fn of_admin(plane: &Plane) -> Self {
        let file = plane.file("credentials");
        let value = |name: &str| {
            let line = file.lines().find(|line| line.starts_with(name));
            let (_, value) = line.expect(name).split_once(" = ").expect("a value");
            value.to_owned()
        };
        Self {
            key: value("aws_access_key_id"),
            secret: value("aws_secret_access_key"),
            token: None,
        }
    }

    /// A session of the first user's.
    async fn session(plane: &Plane) -> Self {
        Self::session_of(plane, 43_200).await
    }

    /// One that lives so many seconds.
    async fn session_of(plane: &Plane, seconds: u32) -> Self {
        let admin = Self::of_admin(plane);
        let action = format!("Action=GetSessionToken&DurationSeconds={seconds}");
        let (mut status, mut xml) = admin.ask(plane, &action).await;
        // The same request in the same second is a replay; SDKs sign again, and so does this.
        while status == 400 && element(&xml, "Code") == "Throttling" {
            (status, xml) = admin.ask(plane, &action).await;
        }
        assert_eq!(status, 200, "{xml}");
        Self {
            key: element(&xml, "AccessKeyId"),
            secret: element(&xml, "SecretAccessKey"),
            token: Some(element(&xml, "SessionToken")),
        }
    }

    /// A signed request; `late` headers are added after signing.
    async fn send(
        &self,
        plane: &Plane,
        service: &str,
        target: &str,
        body: &str,
        late: &[(&str, &str)],
    ) -> (u16, String) {
        let host = plane.server.api_addr.to_string();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock");
        let mut headers = vec![("host", host.as_str())];
        if service == "sts" || service == "iam" {
            headers.push(FORM);
        }
        if let Some(token) = &self.token {
            headers.push(("x-amz-security-token", token));
        }
        let method = if body.is_empty() { "GET" } else { "POST" };
        let added = sign(&SignRequest {
            method,
            target,
            headers: &headers,
            body: body.as_bytes(),
            access_key: &self.key,
            secret_key: &self.secret,
            region: "us-west-2",
            service,
            now: now.as_secs(),
        })
        .expect("a signature");
        let mut request = plane
            .client(None)
            .request(
                method.parse().expect("a method"),
                format!("https://{host}{target}"),
            )
            .body(body.to_owned());
        for (name, value) in headers.iter().skip(1).chain(late) {
            request = request.header(*name, *value);
        }
        for (name, value) in added {
            request = request.header(name, value);
        }
        let answer = request.send().await.expect("an answer");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a body"),
        )
    }

    async fn ask(&self, plane: &Plane, action: &str) -> (u16, String) {
        let body = format!("{action}&Version=2011-06-15");
        self.send(plane, "sts", "/", &body, &[]).await
    }

    async fn devices(&self, plane: &Plane) -> u16 {
        self.send(plane, "panorama", "/devices", "", &[]).await.0
    }
}

#[tokio::test]
async fn a_session_signs_for_every_service() {
    let plane = Plane::start().await;
    let session = Credentials::session(&plane).await;
    assert!(session.key.starts_with("ASIA"), "{}", session.key);
    let (status, xml) = session.ask(&plane, "Action=GetCallerIdentity").await;
    assert_eq!(status, 200, "{xml}");
    assert!(element(&xml, "Arn").ends_with(":user/admin"), "{xml}");
    assert_eq!(session.devices(&plane).await, 200);
    // IAM only with a second factor.
    let (status, xml) = session
        .send(&plane, "iam", "/", "Action=ListUsers", &[])
        .await;
    assert_eq!(
        (status, element(&xml, "Code").as_str()),
        (403, "AccessDenied")
    );
}

#[tokio::test]
async fn a_session_is_nothing_without_its_own_token() {
    let plane = Plane::start().await;
    let session = Credentials::session(&plane).await;
    let other = Credentials::session(&plane).await;
    let admin = Credentials::of_admin(&plane);
    let token = session.token.clone().expect("a token");
    let altered = {
        let at = token.len() / 2;
        let new = if &token[at..=at] == "A" { "B" } else { "A" };
        format!("{}{new}{}", &token[..at], &token[at + 1..])
    };
    let with = |base: &Credentials, token: Option<String>| Credentials {
        token,
        ..base.clone()
    };
    for (what, credentials) in [
        ("no token", with(&session, None)),
        ("another's token", with(&session, other.token.clone())),
        ("an altered token", with(&session, Some(altered))),
        ("no token of ours", with(&session, Some("x".repeat(300)))),
        (
            "a token with a long-term key",
            with(&admin, Some(token.clone())),
        ),
    ] {
        let (status, xml) = credentials.ask(&plane, "Action=GetCallerIdentity").await;
        assert_eq!(status, 403, "{what}: {xml}");
        assert_eq!(element(&xml, "Code"), "InvalidClientTokenId", "{what}");
    }
    // Added after signing: a handler must never see it.
    let late = [("x-amz-security-token", token.as_str())];
    let bare = with(&session, None);
    let (status, _) = bare
        .send(&plane, "sts", "/", "Action=GetCallerIdentity", &late)
        .await;
    assert_eq!(status, 403);
    // The long-term secret does not sign for the session.
    let mixed = Credentials {
        secret: admin.secret.clone(),
        ..session.clone()
    };
    let (_, xml) = mixed.ask(&plane, "Action=GetCallerIdentity").await;
    assert_eq!(element(&xml, "Code"), "SignatureDoesNotMatch");
}

/// Another process revokes: within a second, and without a word to this server.
#[tokio::test]
async fn a_revocation_by_another_process_is_seen_within_a_second_or_little_more() {
    let plane = Plane::start().await;
    let session = Credentials::session(&plane).await;
    assert_eq!(session.devices(&plane).await, 200);
    let store = Store::open(&plane.data.path().join("parapet.db")).expect("the store");
    store
        .write::<_, StoreError, _>(|tx| {
            tx.execute("UPDATE users SET not_before_us = ?1", [Micros::now()])?;
            Ok(())
        })
        .await
        .expect("a revocation");
    let start = std::time::Instant::now();
    while session.devices(&plane).await == 200 {
        assert!(start.elapsed().as_secs() < 10, "the session is still good");
    }
    let (status, xml) = session.ask(&plane, "Action=GetCallerIdentity").await;
    assert_eq!(
        (status, element(&xml, "Code").as_str()),
        (403, "ExpiredToken")
    );
    // The user itself is not locked out.
    let again = Credentials::session(&plane).await;
    assert_eq!(again.devices(&plane).await, 200);
}

#[tokio::test]
async fn only_web_identities_come_without_a_signature() {
    let plane = Plane::start().await;
    let url = format!("https://{}/", plane.server.api_addr);
    let post = |body: String| {
        let request = plane.client(None).post(&url).header(FORM.0, FORM.1);
        async move {
            let answer = request.body(body).send().await.expect("an answer");
            (
                answer.status().as_u16(),
                answer.text().await.expect("a body"),
            )
        }
    };
    for action in [
        "GetCallerIdentity",
        "GetSessionToken",
        "AssumeRole",
        "ListUsers",
        "",
    ] {
        let (status, text) = post(format!("Action={action}&Version=2011-06-15")).await;
        assert_eq!(status, 403, "{action}: {text}");
    }
    let web = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=ann\
               &RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Freader&WebIdentityToken=";
    let (status, xml) = post(format!("{web}not.a.token")).await;
    assert_eq!(
        (status, element(&xml, "Code").as_str()),
        (400, "InvalidIdentityToken")
    );
    // Never more than 16 kB from somebody unknown.
    let (status, _) = post(format!("{web}{}", "x".repeat(17_000))).await;
    assert_eq!(status, 413);
}

/// What the original's console writes to revoke a role's or a user's sessions: a Deny of those whose
/// token is older. Two sessions of one second are told apart.
#[tokio::test]
async fn a_policy_denies_sessions_that_are_older_than_it_says() {
    let plane = Plane::start().await;
    let old = Credentials::session(&plane).await;
    assert_eq!(old.devices(&plane).await, 200);
    let moment = Micros::now().rfc3339_exact();
    // Another request than the first, which may thus come in the same second.
    let new = Credentials::session_of(&plane, 3_600).await;
    let document = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Action": ["*"], "Resource": ["*"],
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": moment}},
    }]});
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", "PutUserPolicy")
        .append_pair("Version", "2010-05-08")
        .append_pair("UserName", "admin")
        .append_pair("PolicyName", "AWSRevokeOlderSessions")
        .append_pair("PolicyDocument", &document.to_string());
    let admin = Credentials::of_admin(&plane);
    let (status, xml) = admin.send(&plane, "iam", "/", &form.finish(), &[]).await;
    assert_eq!(status, 200, "{xml}");
    assert_eq!(old.devices(&plane).await, 403);
    assert_eq!(new.devices(&plane).await, 200);
    // Long-term keys have no token: the condition is not met.
    assert_eq!(admin.devices(&plane).await, 200);
}
