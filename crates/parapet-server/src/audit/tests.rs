//! The trail as a whole: what is durable with what, and what survives floods and lost callers.

use std::net::Ipv4Addr;

use super::*;

fn scope() -> Scope {
    Scope {
        account: "123456789012".to_owned(),
        region: "us-west-2".to_owned(),
    }
}

struct Bench {
    store: Store,
    audit: Audit,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("parapet.db")).expect("open");
        Self {
            audit: Audit::start(store.clone(), &scope()),
            store,
            _folder: folder,
        }
    }

    fn draft(&self, request_id: &str) -> Arc<Draft> {
        let draft = self.audit.begin(&Opening {
            request_id,
            source: Ipv4Addr::LOCALHOST.into(),
            user_agent: Some("tests"),
            tls: Some(("TLSv1.3", "TLS_AES_256_GCM_SHA384")),
            host: Some("127.0.0.1:8443"),
        });
        draft.operation("panorama", "CreatePackage", Access::Write);
        draft
    }

    /// All records, after what is in the queue.
    async fn end(&self) -> Vec<Record> {
        self.audit.stop().await;
        let rows = self
            .store
            .read(|connection| {
                let mut statement =
                    connection.prepare("SELECT record FROM audit_records ORDER BY sequence")?;
                let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
                Ok::<_, StoreError>(rows.collect::<Result<Vec<_>, _>>()?)
            })
            .await
            .expect("read");
        rows.iter()
            .map(|text| serde_json::from_str(text).expect("a record"))
            .collect()
    }

    async fn change(&self, draft: &Arc<Draft>, id: &'static str) -> Result<(), StoreError> {
        self.audit
            .write(draft, move |tx| {
                tx.execute_batch("CREATE TABLE IF NOT EXISTS changes (id TEXT)")?;
                tx.execute("INSERT INTO changes VALUES (?1)", [id])?;
                Ok(())
            })
            .await
    }
}

#[tokio::test]
async fn a_change_and_its_record_are_there_together_and_once() {
    let bench = Bench::new();
    let draft = bench.draft("request-1");
    bench.change(&draft, "a").await.expect("a change");
    bench
        .change(&draft, "b")
        .await
        .expect("another of the call");
    bench
        .audit
        .record(&draft, &Outcome::Success)
        .await
        .expect("recorded");
    drop(draft);
    let records = bench.end().await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].request_id.as_deref(), Some("request-1"));
    assert_eq!(records[0].error_code, None);
    assert_eq!(records[0].event_source, "panorama.amazonaws.com");
}

#[tokio::test]
async fn a_change_that_fails_after_its_record_leaves_only_the_record_of_its_failure() {
    let bench = Bench::new();
    let draft = bench.draft("request-1");
    let inner = Arc::clone(&draft);
    let refused = bench
        .store
        .write(move |tx| {
            inner.commit(tx, &Outcome::Success)?;
            Err::<(), _>(StoreError::Closed)
        })
        .await;
    draft.settle(refused.is_ok());
    bench
        .audit
        .record(
            &draft,
            &Outcome::failure("InternalServerException", "failed"),
        )
        .await
        .expect("recorded");
    let records = bench.end().await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(
        records[0].error_code.as_deref(),
        Some("InternalServerException")
    );
}

#[tokio::test]
async fn a_call_that_fails_after_its_change_has_two_records() {
    let bench = Bench::new();
    let draft = bench.draft("request-1");
    bench.change(&draft, "a").await.expect("a change");
    bench
        .audit
        .record(
            &draft,
            &Outcome::failure("InternalServerException", "failed"),
        )
        .await
        .expect("recorded");
    let records = bench.end().await;
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[0].error_code, None);
    assert_eq!(
        records[1].additional_event_data["supplements"],
        records[0].event_id
    );
}

#[tokio::test]
async fn a_call_whose_caller_went_away_is_recorded() {
    let bench = Bench::new();
    drop(bench.draft("request-1"));
    let records = bench.end().await;
    assert_eq!(records[0].error_code.as_deref(), Some("ClientDisconnected"));
}

#[tokio::test]
async fn a_change_whose_caller_went_away_is_recorded_once() {
    let bench = Bench::new();
    let draft = bench.draft("request-1");
    // The writer works on something else until the caller is gone, however slow this thread is.
    let (go_on, held_up) = std::sync::mpsc::channel::<()>();
    let earlier = bench.store.write(move |_| {
        let _sender_gone = held_up.recv();
        Ok::<_, StoreError>(())
    });
    tokio::pin!(earlier);
    assert!(futures_util::poll!(earlier.as_mut()).is_pending());
    {
        let change = bench.change(&draft, "a");
        tokio::pin!(change);
        // The job is in the writer's queue when its caller goes away.
        assert!(futures_util::poll!(change.as_mut()).is_pending());
    }
    drop(draft);
    drop(go_on);
    earlier.await.expect("an earlier write");
    // The writer has run the change when it answers a later one.
    let flushed: Result<(), StoreError> = bench.store.write(|_| Ok(())).await;
    flushed.expect("a later write");
    let records = bench.end().await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].error_code, None);
}

#[tokio::test]
async fn failed_signatures_of_one_source_are_recorded_once_and_counted() {
    let bench = Bench::new();
    for n in 0..1_000 {
        let draft = bench.draft(&format!("request-{n}"));
        let outcome = Outcome::failure("InvalidSignatureException", "does not match");
        bench
            .audit
            .refuse(&draft, Refused::Signature, "AKIAEXAMPLE", &outcome);
    }
    let records = bench.end().await;
    let names: Vec<_> = records.iter().map(|r| r.event_name.as_str()).collect();
    assert_eq!(names, ["CreatePackage", "RepeatedSignatureFailures"]);
    assert_eq!(records[1].request_parameters["count"], 999);
    assert_eq!(records[1].source_ip_address, "127.0.0.1");
}

/// Prints what a record costs; `cargo test -p parapet-server -- --ignored --nocapture a_record_costs`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_record_costs_so_much() {
    const TASKS: usize = 64;
    const EACH: usize = 32;
    let bench = Arc::new(Bench::new());
    let draft = bench.draft("first");
    bench.change(&draft, "first").await.expect("a change");
    let calls = u32::try_from(TASKS * EACH).expect("few");
    let parameters = serde_json::json!({ "Name": "camera", "Description": "at the gate" });

    for is_audited in [false, true] {
        let began = std::time::Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let (bench, parameters) = (Arc::clone(&bench), parameters.clone());
            tasks.spawn(async move {
                for each in 0..EACH {
                    let insert = move |tx: &Tx<'_>| {
                        tx.execute(
                            "INSERT INTO changes VALUES (?1)",
                            [(task * EACH + each).to_string()],
                        )?;
                        Ok::<_, StoreError>(())
                    };
                    if is_audited {
                        let draft = bench.draft("request");
                        draft.parameters(&parameters);
                        draft.resource("arn:aws:panorama:us-west-2:123456789012:device/device-a");
                        bench.audit.write(&draft, insert).await.expect("written");
                    } else {
                        bench.store.write(insert).await.expect("written");
                    }
                }
            });
        }
        tasks.join_all().await;
        println!(
            "write, audited {is_audited}: {:?} each",
            began.elapsed() / calls
        );
    }

    let began = std::time::Instant::now();
    for _ in 0..calls {
        let draft = bench.draft("request");
        draft.parameters(&parameters);
        draft.resource("arn:aws:panorama:us-west-2:123456789012:device/device-a");
        let recorded = bench.audit.record(&draft, &Outcome::Success).await;
        recorded.expect("recorded");
    }
    println!(
        "read, until it is queued: {:?} each",
        began.elapsed() / calls
    );
    let records = bench.end().await.len();
    println!(
        "read, until it is durable: {:?} each",
        began.elapsed() / calls
    );
    assert_eq!(records, 1 + 2 * calls as usize);
}
