//! Sessions of users, and who somebody is.

use super::*;
use crate::random;
use crate::store::mfa_devices::{self, MfaDevice, seed_label};

const SERIAL: &str = "arn:aws:iam::123456789012:mfa/ann";
const SEED: &[u8] = b"12345678901234567890";

/// The code that ann's device shows now.
fn code() -> String {
    let now = Micros::now().0 / 1_000_000;
    (0..1_000_000)
        .map(|number| format!("{number:06}"))
        .find(|code| parapet_auth::totp::verify(SEED, code, now, Some(now / 30 - 1)).is_ok())
        .expect("a code")
}

async fn with_device(bench: &Bench, owner: &str) {
    let label = seed_label(ACCOUNT, SERIAL);
    let nonce = random::bytes().expect("randomness");
    let wrapped = bench
        .ctx
        .master_key
        .wrap(&label, SEED, nonce)
        .expect("a seed");
    let owner = format!("AIDA{owner}");
    bench
        .write(move |tx| {
            let device = MfaDevice {
                serial: SERIAL.to_owned(),
                wrapped,
                enabled: None,
                last_step: None,
                created: Micros::now(),
            };
            mfa_devices::insert(tx, ACCOUNT, &device)?;
            mfa_devices::enable(tx, ACCOUNT, SERIAL, &owner, Micros::now())
        })
        .await;
}

#[tokio::test]
async fn anybody_may_ask_who_they_are() {
    let bench = Bench::new().await;
    bench
        .user(
            "nobody",
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#,
        )
        .await;
    let answer = bench
        .ask(&bench.key_of("nobody").await, "GetCallerIdentity", &[])
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text("Arn"), "arn:aws:iam::123456789012:user/nobody");
    assert_eq!(answer.text("Account"), ACCOUNT);
    assert_eq!(answer.text("UserId"), "AIDAnobody");
}

#[tokio::test]
async fn a_users_session_is_the_user_for_a_while() {
    let bench = Bench::new().await;
    let answer = bench
        .ask(
            &bench.ann().await,
            "GetSessionToken",
            &[("DurationSeconds", "900")],
        )
        .await;
    let open = bench.open(&answer);
    assert!(open.claims.access_key.starts_with("ASIA"));
    assert_eq!(open.claims.access_key.len(), 20);
    assert_eq!(open.claims.expires - open.claims.issued_us / 1_000_000, 900);
    assert_eq!(open.claims.mfa, None);
    let session = bench.session(&answer).await.expect("a caller");
    let who = bench.ask(&session, "GetCallerIdentity", &[]).await;
    assert_eq!(who.text("Arn"), "arn:aws:iam::123456789012:user/ann");
    assert!(may(&session, "sts:AssumeRole") == may(&bench.ann().await, "sts:AssumeRole"));
}

#[tokio::test]
async fn a_session_opens_no_session_of_its_user() {
    let bench = Bench::new().await;
    let answer = bench.ask(&bench.ann().await, "GetSessionToken", &[]).await;
    let session = bench.session(&answer).await.expect("a caller");
    let again = bench.ask(&session, "GetSessionToken", &[]).await;
    assert_eq!(again.code(), "AccessDenied");
    let info = bench
        .ask(
            &session,
            "GetAccessKeyInfo",
            &[("AccessKeyId", "AKIAANNANNANNANNANN")],
        )
        .await;
    assert_eq!(info.code(), "AccessDenied");
}

#[tokio::test]
async fn durations_are_held_to_their_limits() {
    let bench = Bench::new().await;
    for duration in ["899", "129601", "-1", "soon"] {
        let answer = bench
            .ask(
                &bench.ann().await,
                "GetSessionToken",
                &[("DurationSeconds", duration)],
            )
            .await;
        assert_eq!(answer.code(), "ValidationError", "{duration}");
    }
}

#[tokio::test]
async fn a_code_makes_a_session_with_a_second_factor_once() {
    let bench = Bench::new().await;
    with_device(&bench, "ann").await;
    let code = code();
    let fields = [("SerialNumber", SERIAL), ("TokenCode", code.as_str())];
    let answer = bench
        .ask(&bench.ann().await, "GetSessionToken", &fields)
        .await;
    assert!(bench.open(&answer).claims.mfa.is_some());
    let again = bench
        .ask(&bench.ann().await, "GetSessionToken", &fields)
        .await;
    assert_eq!(again.code(), "AccessDenied");
}

#[tokio::test]
async fn a_wrong_code_and_anothers_device_are_refused_and_the_device_rests_after_ten() {
    let bench = Bench::new().await;
    bench.user("other", READ).await;
    with_device(&bench, "other").await;
    let code = code();
    let fields = [("SerialNumber", SERIAL), ("TokenCode", code.as_str())];
    let answer = bench
        .ask(&bench.ann().await, "GetSessionToken", &fields)
        .await;
    assert_eq!(answer.code(), "AccessDenied");
    for fields in [
        &[("SerialNumber", SERIAL)][..],
        &[("TokenCode", "123456")],
        &[("SerialNumber", SERIAL), ("TokenCode", "12345")],
        &[("SerialNumber", SERIAL), ("TokenCode", "12345x")],
    ] {
        let answer = bench
            .ask(&bench.ann().await, "GetSessionToken", fields)
            .await;
        assert_eq!(answer.code(), "ValidationError", "{fields:?}");
    }
    let wrong = [("SerialNumber", SERIAL), ("TokenCode", "000000")];
    for _ in 0..9 {
        bench
            .ask(&bench.ann().await, "GetSessionToken", &wrong)
            .await;
    }
    let answer = bench
        .ask(&bench.ann().await, "GetSessionToken", &wrong)
        .await;
    assert!(
        answer.text("Message").contains("five minutes"),
        "{answer:?}"
    );
}

/// Attack A9: revoked. A new session counts at once.
#[tokio::test]
async fn sessions_from_before_a_revocation_are_void_and_later_ones_are_not() {
    let bench = Bench::new().await;
    let before = bench.ask(&bench.ann().await, "GetSessionToken", &[]).await;
    assert!(bench.session(&before).await.is_ok());
    bench
        .write(|tx| {
            tx.execute(
                "UPDATE users SET not_before_us = ?1 WHERE id = 'AIDAann'",
                [Micros::now()],
            )?;
            Ok(())
        })
        .await;
    assert_eq!(
        bench.session(&before).await.err(),
        Some(SessionRefusal::Revoked)
    );
    let after = bench.ask(&bench.ann().await, "GetSessionToken", &[]).await;
    assert!(bench.session(&after).await.is_ok());
}

#[tokio::test]
async fn the_session_of_a_user_that_is_gone_is_void() {
    let bench = Bench::new().await;
    let answer = bench.ask(&bench.ann().await, "GetSessionToken", &[]).await;
    bench
        .write(|tx| {
            tx.execute("DELETE FROM users WHERE id = 'AIDAann'", [])?;
            Ok(())
        })
        .await;
    assert_eq!(
        bench.session(&answer).await.err(),
        Some(SessionRefusal::Gone)
    );
}

/// A ring survives a restart, so that sessions do.
#[tokio::test]
async fn tokens_are_opened_by_the_next_server_on_the_same_data() {
    let bench = Bench::new().await;
    let answer = bench.ask(&bench.ann().await, "GetSessionToken", &[]).await;
    let again = crate::sts::Tokens::load(
        bench.ctx.store.clone(),
        ACCOUNT.to_owned(),
        &bench.ctx.master_key,
    )
    .await
    .expect("a ring");
    let now = Micros::now().0 / 1_000_000;
    assert!(again.open(answer.text("SessionToken"), now).is_ok());
    assert!(bench.data.path().exists());
}

#[tokio::test]
async fn the_ring_turns_after_a_day_and_older_tokens_still_open() {
    let bench = Bench::new().await;
    let before = bench.ask(&bench.ann().await, "GetSessionToken", &[]).await;
    let day = 25 * 3_600 * 1_000_000_i64;
    bench
        .write(move |tx| {
            tx.execute(
                "UPDATE session_keys SET created_us = created_us - ?1",
                [day],
            )?;
            Ok(())
        })
        .await;
    let aged = crate::sts::Tokens::load(
        bench.ctx.store.clone(),
        ACCOUNT.to_owned(),
        &bench.ctx.master_key,
    )
    .await
    .expect("a ring");
    let claims = bench.open(&before).claims;
    let sealed = aged
        .seal(&bench.ctx.master_key, &claims)
        .await
        .expect("a token");
    let keys = bench
        .ctx
        .store
        .read::<_, StoreError, _>(|connection| crate::store::session_keys::all(connection, ACCOUNT))
        .await
        .expect("keys");
    assert_eq!(keys.iter().map(|key| key.id).collect::<Vec<_>>(), [2, 1]);
    let now = Micros::now().0 / 1_000_000;
    assert!(aged.open(&sealed.token, now).is_ok());
    assert!(aged.open(before.text("SessionToken"), now).is_ok());
}
