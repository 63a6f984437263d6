//! What is held in memory, against a store that changes under it.

use std::collections::BTreeMap;

use parapet_auth::session::{
    OpenSession, RingKey, SessionClaims, SessionPolicies, SessionRing, Subject,
};
use parapet_auth::{Decision, authorize};

use super::*;
use crate::store::access_keys::{AccessKey, KeyStatus, LastUse};
use crate::store::principal_tags::{self, Tagged};
use crate::store::roles::Role;
use crate::store::users::User;
use crate::store::{Holder, Micros, Tx, attachments, groups, inline_policies};

const ACCOUNT: &str = "123456789012";
const LIST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"panorama:List*","Resource":"*"}]}"#;
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"}]}"#;

struct Bench {
    directory: Directory,
    store: Store,
    _data: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&data.path().join("parapet.db")).expect("a store");
        let bench = Self {
            directory: Directory::new(store.clone(), ACCOUNT.to_owned()),
            store,
            _data: data,
        };
        bench
            .write(|tx| {
                users::insert(tx, ACCOUNT, &user("AIDAANN", "ann"))?;
                access_keys::insert(tx, &key("AKIAANN", "AIDAANN"))?;
                roles::insert(tx, ACCOUNT, &role())
            })
            .await;
        bench
    }

    /// Writes as another process would: the directory is not told.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.store.write(work).await.expect("written")
    }

    async fn may(&self, key: &str, action: &str) -> Decision {
        let key = self.directory.key(key).await.expect("loaded");
        authorize(&key.expect("a key").caller, action, "*")
    }
}

fn user(id: &str, name: &str) -> User {
    User {
        id: id.to_owned(),
        name: name.to_owned(),
        path: "/".to_owned(),
        boundary: None,
        not_before: None,
        created: Micros(1),
    }
}

fn key(id: &str, user: &str) -> AccessKey {
    AccessKey {
        account: ACCOUNT.to_owned(),
        id: id.to_owned(),
        user: user.to_owned(),
        wrapped: vec![1],
        status: KeyStatus::Active,
        last_use: None,
        created: Micros(1),
    }
}

fn role() -> Role {
    Role {
        id: "AROAREADER".to_owned(),
        name: "reader".to_owned(),
        path: "/service-role/".to_owned(),
        description: None,
        trust_json: TRUST.to_owned(),
        max_session_s: 3600,
        boundary: None,
        not_before: None,
        linked_service: None,
        created: Micros(1),
    }
}

fn session(issued: i64, subject: Subject) -> OpenSession {
    let ring = SessionRing::new(RingKey::new(1, [7; 32]).expect("a key"), Vec::new());
    let claims = SessionClaims {
        access_key: "ASIATEST".to_owned(),
        account: ACCOUNT.to_owned(),
        subject,
        issued_us: issued,
        expires: i64::MAX,
        mfa: None,
        policies: SessionPolicies::default(),
        tags: BTreeMap::from([("Team".to_owned(), "red".to_owned())]),
        transitive: Vec::new(),
        source_identity: None,
        opened_by: String::new(),
        federation: None,
    };
    let sealed = ring.seal(&claims, [0; 12]).expect("sealed");
    ring.open(&sealed.token, 0).expect("opened")
}

fn of_role(issued: i64) -> OpenSession {
    session(
        issued,
        Subject::Role {
            id: "AROAREADER".to_owned(),
            name: "reader".to_owned(),
            session: "s".to_owned(),
        },
    )
}

#[tokio::test]
async fn a_user_may_what_its_own_and_its_groups_policies_say() {
    let bench = Bench::new().await;
    assert!(
        !bench
            .may("AKIAANN", "panorama:ListDevices")
            .await
            .is_allowed()
    );
    bench
        .write(|tx| {
            let group = groups::Group {
                id: "AGPA1".to_owned(),
                name: "viewers".to_owned(),
                path: "/".to_owned(),
                created: Micros(2),
            };
            groups::insert(tx, ACCOUNT, &group)?;
            groups::add_member(tx, ACCOUNT, "AGPA1", "AIDAANN")?;
            inline_policies::put(tx, ACCOUNT, &Holder::group("AGPA1"), "list", LIST)
        })
        .await;
    bench.directory.changed();
    assert!(
        bench
            .may("AKIAANN", "panorama:ListDevices")
            .await
            .is_allowed()
    );
    assert!(
        !bench
            .may("AKIAANN", "panorama:DeleteDevice")
            .await
            .is_allowed()
    );
}

/// Attack P6: a boundary takes away whatever else is attached.
#[tokio::test]
async fn a_boundary_bounds_what_an_administrator_may() {
    let bench = Bench::new().await;
    bench
        .write(|tx| {
            attachments::attach(
                tx,
                ACCOUNT,
                &Holder::user("AIDAANN"),
                "arn:aws:iam::aws:policy/AdministratorAccess",
            )?;
            let bound = crate::store::policies::ManagedPolicy {
                id: "ANPA1".to_owned(),
                arn: format!("arn:aws:iam::{ACCOUNT}:policy/bound"),
                name: "bound".to_owned(),
                path: "/".to_owned(),
                description: None,
                default_version: 1,
                last_version: 1,
                created: Micros(2),
                updated: Micros(2),
            };
            crate::store::policies::insert(tx, ACCOUNT, &bound)?;
            let version = crate::store::policies::PolicyVersion {
                version: 1,
                document: LIST.to_owned(),
                created: Micros(2),
            };
            crate::store::policies::insert_version(tx, ACCOUNT, "ANPA1", &version)?;
            let ann = User {
                boundary: Some(bound.arn),
                ..user("AIDAANN", "ann")
            };
            users::update(tx, ACCOUNT, &ann)
        })
        .await;
    assert!(
        bench
            .may("AKIAANN", "panorama:ListDevices")
            .await
            .is_allowed()
    );
    assert!(
        !bench
            .may("AKIAANN", "panorama:DeleteDevice")
            .await
            .is_allowed()
    );
}

#[tokio::test]
async fn what_another_process_changed_is_seen_at_the_next_look() {
    let bench = Bench::new().await;
    let before = bench
        .directory
        .key("AKIAANN")
        .await
        .expect("loaded")
        .expect("a key");
    let again = bench
        .directory
        .key("AKIAANN")
        .await
        .expect("held")
        .expect("a key");
    assert!(
        Arc::ptr_eq(&before, &again),
        "loaded twice without a change"
    );
    bench
        .write(|tx| access_keys::set_status(tx, ACCOUNT, "AKIAANN", KeyStatus::Inactive))
        .await;
    bench.directory.poll().await.expect("looked");
    let after = bench
        .directory
        .key("AKIAANN")
        .await
        .expect("loaded")
        .expect("a key");
    assert!(before.is_active && !after.is_active);
}

#[tokio::test]
async fn recording_a_use_drops_nothing() {
    let bench = Bench::new().await;
    let before = bench
        .directory
        .key("AKIAANN")
        .await
        .expect("loaded")
        .expect("a key");
    for at in [5_000_000, 5_000_001] {
        bench.directory.used(KeyUse {
            key: "AKIAANN",
            service: "panorama",
            region: "us-west-2",
            at: Micros(at),
        });
    }
    let noted = LastUse {
        at: Micros(5_000_000),
        service: "panorama".to_owned(),
        region: "us-west-2".to_owned(),
    };
    assert_eq!(bench.directory.last_use("AKIAANN"), Some(noted.clone()));
    bench.directory.flush_uses().await.expect("written");
    assert_eq!(bench.directory.last_use("AKIAANN"), None);
    bench.directory.poll().await.expect("looked");
    let after = bench
        .directory
        .key("AKIAANN")
        .await
        .expect("held")
        .expect("a key");
    assert!(
        Arc::ptr_eq(&before, &after),
        "a recorded use counts as a change"
    );
    let stored = bench
        .store
        .read::<_, StoreError, _>(|c| access_keys::get(c, "AKIAANN"))
        .await
        .expect("read");
    assert_eq!(stored.and_then(|key| key.last_use), Some(noted));
}

#[tokio::test]
async fn unknown_keys_are_told_from_memory_until_something_changes() {
    let bench = Bench::new().await;
    assert!(
        bench
            .directory
            .key("AKIANONE")
            .await
            .expect("looked")
            .is_none()
    );
    bench
        .write(|tx| access_keys::insert(tx, &key("AKIANONE", "AIDAANN")))
        .await;
    // Held: the directory was not told.
    assert!(
        bench
            .directory
            .key("AKIANONE")
            .await
            .expect("held")
            .is_none()
    );
    bench.directory.changed();
    assert!(
        bench
            .directory
            .key("AKIANONE")
            .await
            .expect("loaded")
            .is_some()
    );
}

/// Attack A9: a token issued before the role's sessions were revoked.
#[tokio::test]
async fn sessions_older_than_a_revocation_are_void() {
    let bench = Bench::new().await;
    let caller = bench.directory.session(&of_role(10)).await.expect("asked");
    let caller = caller.expect("a caller");
    assert_eq!(
        caller.principal.arn(),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/reader/s")
    );
    bench
        .write(|tx| {
            let revoked = Role {
                not_before: Some(Micros(20)),
                ..role()
            };
            roles::update(tx, ACCOUNT, &revoked)
        })
        .await;
    bench.directory.poll().await.expect("looked");
    for (issued, refused) in [(10, Some(SessionRefusal::Revoked)), (20, None)] {
        let outcome = bench
            .directory
            .session(&of_role(issued))
            .await
            .expect("asked");
        assert_eq!(outcome.err(), refused, "issued at {issued}");
    }
}

/// Attack A9: a role that was made anew under the same name is another role.
#[tokio::test]
async fn a_session_ends_with_its_role() {
    let bench = Bench::new().await;
    bench
        .write(|tx| {
            roles::delete(tx, ACCOUNT, "AROAREADER")?;
            let again = Role {
                id: "AROAOTHER".to_owned(),
                ..role()
            };
            roles::insert(tx, ACCOUNT, &again)
        })
        .await;
    let outcome = bench.directory.session(&of_role(10)).await.expect("asked");
    assert_eq!(outcome.err(), Some(SessionRefusal::Gone));
}

#[tokio::test]
async fn a_sessions_tag_counts_in_place_of_the_roles_whatever_its_case() {
    let bench = Bench::new().await;
    bench
        .write(|tx| {
            let tags = BTreeMap::from([
                ("team".to_owned(), "blue".to_owned()),
                ("site".to_owned(), "north".to_owned()),
            ]);
            principal_tags::put(tx, ACCOUNT, Tagged::Role, "AROAREADER", &tags)
        })
        .await;
    let caller = bench.directory.session(&of_role(10)).await.expect("asked");
    let expected = BTreeMap::from([
        ("Team".to_owned(), "red".to_owned()),
        ("site".to_owned(), "north".to_owned()),
    ]);
    assert_eq!(*caller.expect("a caller").tags, expected);
}

#[tokio::test]
async fn a_session_of_a_user_may_what_the_user_may() {
    let bench = Bench::new().await;
    bench
        .write(|tx| inline_policies::put(tx, ACCOUNT, &Holder::user("AIDAANN"), "list", LIST))
        .await;
    let subject = Subject::User {
        id: "AIDAANN".to_owned(),
    };
    let caller = bench
        .directory
        .session(&session(10, subject))
        .await
        .expect("asked");
    let caller = caller.expect("a caller");
    assert!(authorize(&caller, "panorama:ListNodes", "*").is_allowed());
    assert_eq!(&*caller.access_key, "ASIATEST");
}

/// A policy left out could be one that denies.
#[tokio::test]
async fn a_policy_that_cannot_be_read_denies_everything() {
    let bench = Bench::new().await;
    bench
        .write(|tx| inline_policies::put(tx, ACCOUNT, &Holder::user("AIDAANN"), "odd", "{}"))
        .await;
    let outcome = bench.directory.key("AKIAANN").await;
    assert!(
        matches!(outcome, Err(DirectoryError::Policy { .. })),
        "{outcome:?}"
    );
}
