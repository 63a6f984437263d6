//! Sessions of roles for somebody whom an identity provider vouches for.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::store::oidc_providers::{self, OidcProvider};

const ISSUER: &str = "https://login.example.org/realm";
const PROVIDER: &str = "arn:aws:iam::123456789012:oidc-provider/login.example.org/realm";
const VISITOR: &str = "arn:aws:iam::123456789012:role/visitor";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/login.example.org/realm"},
    "Action":"sts:AssumeRoleWithWebIdentity",
    "Condition":{"StringEquals":{"login.example.org/realm:aud":"parapet"},
                 "StringLike":{"login.example.org/realm:sub":"camera-*"}}}]}"#;

struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new() -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document =
            EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).expect("a key");
        Self(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).expect("a key"))
    }

    fn keys(&self) -> String {
        let point = self.0.public_key().as_ref();
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "kid": "one",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        }]})
        .to_string()
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "kid": "one" }).to_string();
        let text = [header, claims.to_string()]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let signature = self.0.sign(&SystemRandom::new(), text.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.expect("a signature"));
        format!("{text}.{signature}")
    }
}

fn claims() -> Value {
    let now = Micros::now().0 / 1_000_000;
    json!({ "iss": ISSUER, "sub": "camera-7", "aud": "parapet", "exp": now + 300, "iat": now })
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// A server that knows the issuer's keys from a file, with a registered provider.
async fn bench(issuer: &Issuer) -> Bench {
    let keys = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(keys.path(), issuer.keys()).expect("keys");
    let bench = Bench::with(|config| {
        let file = keys.path().to_owned();
        config.oidc.keys.insert(ISSUER.to_owned(), file);
    })
    .await;
    bench.role("visitor", TRUST, READ).await;
    bench
        .write(|tx| {
            let provider = OidcProvider {
                arn: PROVIDER.to_owned(),
                url: "login.example.org/realm".to_owned(),
                client_ids: vec!["parapet".to_owned(), "another".to_owned()],
                thumbprints: Vec::new(),
                keys_json: None,
                created: Micros::now(),
            };
            oidc_providers::insert(tx, ACCOUNT, &provider)
        })
        .await;
    // Read once while the file is there.
    let first = ask(&bench, &issuer.token(&claims())).await;
    assert_eq!(first.status, 200, "{first:?}");
    bench
}

async fn ask(bench: &Bench, token: &str) -> Answer {
    bench
        .ask_unsigned(&[
            ("RoleArn", VISITOR),
            ("RoleSessionName", "seven"),
            ("WebIdentityToken", token),
        ])
        .await
}

#[tokio::test]
async fn a_token_of_a_registered_issuer_opens_a_session() {
    let issuer = Issuer::new();
    let bench = bench(&issuer).await;
    let answer = ask(&bench, &issuer.token(&claims())).await;
    assert_eq!(answer.text("SubjectFromWebIdentityToken"), "camera-7");
    assert_eq!(answer.text("Provider"), PROVIDER);
    assert_eq!(answer.text("Audience"), "parapet");
    let federation = bench.open(&answer).claims.federation.expect("a provider");
    assert_eq!(federation.subject, "camera-7");
    let session = bench.session(&answer).await.expect("a caller");
    assert!(may(&session, "panorama:ListDevices"));
    assert!(!may(&session, "iam:CreateUser"));
}

#[tokio::test]
async fn what_the_issuer_does_not_vouch_for_is_refused() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let bench = bench(&issuer).await;
    let now = Micros::now().0 / 1_000_000;
    for (token, code) in [
        (stranger.token(&claims()), "InvalidIdentityToken"),
        (
            issuer.token(&changed("iss", json!("https://stranger.example"))),
            "InvalidIdentityToken",
        ),
        (
            issuer.token(&changed("iss", json!("http://login.example.org/realm"))),
            "InvalidIdentityToken",
        ),
        (
            issuer.token(&changed("aud", json!("elsewhere"))),
            "InvalidIdentityToken",
        ),
        (
            issuer.token(&changed("exp", json!(now - 1))),
            "ExpiredTokenException",
        ),
        (
            issuer.token(&changed("exp", Value::Null)),
            "InvalidIdentityToken",
        ),
        (
            issuer.token(&changed("sub", json!("x".repeat(300)))),
            "IDPRejectedClaim",
        ),
        // Registered, but not what the trust policy asks for.
        (
            issuer.token(&changed("aud", json!("another"))),
            "AccessDenied",
        ),
        (
            issuer.token(&changed("sub", json!("gate-7"))),
            "AccessDenied",
        ),
        ("not.a.token".to_owned(), "InvalidIdentityToken"),
    ] {
        assert_eq!(ask(&bench, &token).await.code(), code, "{token}");
    }
}

#[tokio::test]
async fn a_role_that_does_not_trust_the_provider_is_not_opened() {
    let issuer = Issuer::new();
    let bench = bench(&issuer).await;
    for role in ["reader", "missing"] {
        let arn = format!("arn:aws:iam::123456789012:role/{role}");
        let token = issuer.token(&claims());
        let answer = bench
            .ask_unsigned(&[
                ("RoleArn", arn.as_str()),
                ("RoleSessionName", "seven"),
                ("WebIdentityToken", token.as_str()),
            ])
            .await;
        assert_eq!(answer.code(), "AccessDenied", "{role}");
        assert_eq!(
            answer.text("Message"),
            "Not authorized to perform sts:AssumeRoleWithWebIdentity"
        );
    }
}

#[tokio::test]
async fn an_issuer_whose_keys_cannot_be_had_is_told_apart() {
    let issuer = Issuer::new();
    let bench = bench(&issuer).await;
    bench
        .write(|tx| {
            let provider = OidcProvider {
                arn: "arn:aws:iam::123456789012:oidc-provider/localhost".to_owned(),
                url: "localhost".to_owned(),
                client_ids: vec!["parapet".to_owned()],
                thumbprints: Vec::new(),
                keys_json: None,
                created: Micros::now(),
            };
            oidc_providers::insert(tx, ACCOUNT, &provider)
        })
        .await;
    let token = issuer.token(&changed("iss", json!("https://localhost")));
    assert_eq!(ask(&bench, &token).await.code(), "IDPCommunicationError");
}

/// A token by itself says nothing; `handle_unsigned` does nothing else.
#[tokio::test]
async fn no_other_action_is_done_without_a_signature() {
    assert!(crate::sts::is_unsigned_action(
        b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
    ));
    for body in [
        &b"Action=AssumeRole"[..],
        b"Action=GetSessionToken",
        b"Action=AssumeRole&Action=AssumeRoleWithWebIdentity",
        b"action=AssumeRoleWithWebIdentity",
        b"",
        b"{\"Action\":\"AssumeRoleWithWebIdentity\"}",
    ] {
        assert!(!crate::sts::is_unsigned_action(body), "{body:?}");
    }
}
