use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://login.example.org/realm";

/// An issuer with one P-256 key.
struct Issuer {
    pair: EcdsaKeyPair,
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        Self { pair }
    }

    fn jwk(&self, kid: &str) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        })
    }

    fn keys(&self) -> KeySet {
        KeySet::parse(&json!({ "keys": [self.jwk("one")] }).to_string()).unwrap()
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", encode(header), encode(claims));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), text.as_bytes())
            .unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": "one", "typ": "JWT" })
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "ann", "aud": ["other", "parapet"],
        "exp": NOW + 300, "iat": NOW, "nbf": NOW,
    })
}

fn with(mut value: Value, name: &str, new: Value) -> Value {
    value[name] = new;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

fn verify(token: &str, keys: &KeySet) -> Result<WebIdentity, WebIdentityError> {
    Unverified::parse(token)?.verify(
        keys,
        &Expected {
            issuer: ISSUER,
            audiences: &["parapet".to_owned()],
            now: NOW,
        },
    )
}

#[test]
fn a_token_of_the_registered_issuer_is_believed() {
    let issuer = Issuer::new();
    let claims = with(
        with(claims(), "amr", json!("otp")),
        "https://aws.amazon.com/tags",
        json!({ "principal_tags": { "team": ["doors"] }, "transitive_tag_keys": ["team"] }),
    );
    let identity = verify(&issuer.token(&header(), &claims), &issuer.keys()).unwrap();
    assert_eq!(identity.subject, "ann");
    assert_eq!(identity.audience, "parapet");
    assert_eq!(identity.methods, ["otp"]);
    assert_eq!(identity.tags["team"], "doors");
    assert_eq!(identity.transitive, ["team"]);
}

/// RFC 7515, appendix A.2: its key, header, claims and signature.
#[test]
fn the_rs256_example_of_rfc_7515_verifies() {
    let keys = KeySet::parse(
        &json!({ "keys": [{
            "kty": "RSA", "e": "AQAB",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        }]})
        .to_string(),
    )
    .unwrap();
    let signed = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = URL_SAFE_NO_PAD
        .decode("cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw")
        .unwrap();
    let mut found = keys.candidates(None, Algorithm::Rs256);
    let key = found.next().unwrap();
    assert!(key.verifies(Algorithm::Rs256, signed.as_bytes(), &signature));
    assert!(!key.verifies(Algorithm::Rs384, signed.as_bytes(), &signature));
    assert!(!key.verifies(Algorithm::Es256, signed.as_bytes(), &signature));
}

/// RFC 7515, appendix A.3.
#[test]
fn the_es256_example_of_rfc_7515_verifies() {
    let keys = KeySet::parse(
        &json!({ "keys": [{
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }]})
        .to_string(),
    )
    .unwrap();
    let signed = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = URL_SAFE_NO_PAD
        .decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
        .unwrap();
    let mut found = keys.candidates(None, Algorithm::Es256);
    assert!(
        found
            .next()
            .unwrap()
            .verifies(Algorithm::Es256, signed.as_bytes(), &signature)
    );
}

#[test]
fn only_the_listed_algorithms_exist() {
    let issuer = Issuer::new();
    for alg in ["none", "None", "HS256", "PS256", "EdDSA", "RS1", ""] {
        let token = issuer.token(&with(header(), "alg", json!(alg)), &claims());
        assert_eq!(
            verify(&token, &issuer.keys()).err(),
            Some(WebIdentityError::Algorithm(alg.to_owned()))
        );
    }
    // Another algorithm than the key's.
    let token = issuer.token(&with(header(), "alg", json!("RS256")), &claims());
    assert_eq!(
        verify(&token, &issuer.keys()).err(),
        Some(WebIdentityError::NoKey)
    );
    let unsigned = format!("{}.{}.", encode(&header()), encode(&claims()));
    assert_eq!(
        verify(&unsigned, &issuer.keys()).err(),
        Some(WebIdentityError::Signature)
    );
}

#[test]
fn a_token_chooses_no_key_of_its_own() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    for (name, value) in [
        ("jwk", stranger.jwk("one")),
        ("jku", json!("https://stranger.example/keys")),
        ("x5u", json!("https://stranger.example/chain")),
    ] {
        let token = stranger.token(&with(header(), name, value), &claims());
        assert_eq!(
            verify(&token, &issuer.keys()).err(),
            Some(WebIdentityError::Signature),
            "{name}"
        );
    }
    let token = issuer.token(&with(header(), "kid", json!("two")), &claims());
    assert_eq!(
        verify(&token, &issuer.keys()).err(),
        Some(WebIdentityError::NoKey)
    );
    let token = issuer.token(&with(header(), "crit", json!(["b64"])), &claims());
    assert!(matches!(
        verify(&token, &issuer.keys()),
        Err(WebIdentityError::Malformed(_))
    ));
}

#[test]
fn without_a_kid_only_a_single_key_is_meant() {
    let issuer = Issuer::new();
    let token = issuer.token(&without(header(), "kid"), &claims());
    assert!(verify(&token, &issuer.keys()).is_ok());
    let two = json!({ "keys": [issuer.jwk("one"), issuer.jwk("two")] });
    let two = KeySet::parse(&two.to_string()).unwrap();
    assert_eq!(verify(&token, &two).err(), Some(WebIdentityError::NoKey));
}

#[test]
fn every_claim_that_matters_is_checked() {
    let issuer = Issuer::new();
    let refused = |claims: &Value| {
        verify(&issuer.token(&header(), claims), &issuer.keys()).expect_err("refused")
    };
    for missing in ["iss", "sub", "aud", "exp", "iat"] {
        assert!(
            matches!(
                refused(&without(claims(), missing)),
                WebIdentityError::Claims(_)
            ),
            "{missing}"
        );
    }
    for (name, value, error) in [
        (
            "iss",
            json!("https://login.example.org/realm/"),
            WebIdentityError::Issuer,
        ),
        (
            "iss",
            json!("https://stranger.example"),
            WebIdentityError::Issuer,
        ),
        ("aud", json!("other"), WebIdentityError::Audience),
        ("azp", json!("other"), WebIdentityError::Audience),
        ("exp", json!(NOW), WebIdentityError::Expired),
        ("iat", json!(NOW + 61), WebIdentityError::NotYet("iat")),
        ("nbf", json!(NOW + 61), WebIdentityError::NotYet("nbf")),
    ] {
        assert_eq!(refused(&with(claims(), name, value)), error, "{name}");
    }
    for (name, value) in [
        ("exp", json!("4102444800")),
        ("exp", json!(1.0e300)),
        ("exp", json!(-1)),
        ("exp", Value::Null),
        ("aud", json!([])),
        ("sub", json!("")),
        ("sub", json!("x".repeat(256))),
        (
            "https://aws.amazon.com/tags",
            json!({ "principal_tags": { "a": ["b", "c"] } }),
        ),
        (
            "https://aws.amazon.com/tags",
            json!({ "transitive_tag_keys": ["a"] }),
        ),
    ] {
        assert!(
            matches!(
                refused(&with(claims(), name, value.clone())),
                WebIdentityError::Claims(_) | WebIdentityError::Rejected(_)
            ),
            "{name} {value}"
        );
    }
}

#[test]
fn a_changed_token_is_refused_at_every_byte() {
    let issuer = Issuer::new();
    let token = issuer.token(&header(), &claims());
    for index in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(verify(&changed, &issuer.keys()).is_err(), "byte {index}");
    }
    for text in ["", ".", "..", "...", "a.b.c", "a.b.c.d"] {
        assert!(verify(text, &issuer.keys()).is_err(), "{text}");
    }
    assert!(verify(&"x".repeat(20_001), &issuer.keys()).is_err());
}

#[test]
fn a_claim_that_stands_twice_is_refused() {
    let twice = format!(
        r#"{{"iss":"{ISSUER}","iss":"https://stranger.example","sub":"a","aud":"parapet","exp":{},"iat":{NOW}}}"#,
        NOW + 300
    );
    let text = format!("{}.{}", encode(&header()), URL_SAFE_NO_PAD.encode(twice));
    assert!(matches!(
        Unverified::parse(&format!("{text}.AAAA")).err(),
        Some(WebIdentityError::Claims(_))
    ));
}

#[test]
fn a_set_of_keys_is_bounded_and_holds_public_keys_for_signatures_only() {
    let issuer = Issuer::new();
    for set in [
        "{}".to_owned(),
        r#"{"keys":[]}"#.to_owned(),
        r#"{"keys":[{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}]}"#.to_owned(),
        json!({ "keys": [with(issuer.jwk("one"), "use", json!("enc"))] }).to_string(),
        json!({ "keys": [with(issuer.jwk("one"), "alg", json!("ES512"))] }).to_string(),
        json!({ "keys": [with(issuer.jwk("one"), "x", json!("AAAA"))] }).to_string(),
        json!({ "keys": vec![issuer.jwk("one"); 65] }).to_string(),
        " ".repeat(70_000),
    ] {
        assert!(
            KeySet::parse(&set).is_err(),
            "{}",
            &set[..set.len().min(80)]
        );
    }
}
