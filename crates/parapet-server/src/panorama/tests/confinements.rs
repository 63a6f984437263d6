//! What an instance may use and reach: decided through the service `parapet`, carried out by the
//! device.

use super::deployment::{bench, overrides, request};
use super::*;
use crate::fleet::Announcement;

const ROLE: &str = "arn:aws:iam::123456789012:role/counter";

/// With one port open.
fn with_port(key: &DeviceKey, host_port: u16) -> Value {
    let mut opened = overrides();
    opened["nodeGraphOverrides"]["networkRoutingRules"] =
        json!([{ "node": "code_node", "containerPort": 80, "hostPort": host_port }]);
    let mut request = request(key);
    request["ManifestOverridesPayload"]["PayloadData"] = json!(opened.to_string());
    request
}

fn decision() -> Value {
    json!({
        "Limits": { "MemoryBytes": 1_u64 << 30, "CpuMillis": 1500 },
        "Egress": { "Learn": true, "Hosts": ["s3.example:443", "*.iot.example:8883"] },
        "Ports": [{ "HostPort": 8080, "Sources": ["10.1.0.0/16"] }],
        "Emulate": true,
    })
}

impl Bench {
    async fn decide(&self, id: &str, decision: Value, revision: Option<u64>) -> Answer {
        let mut body = json!({ "Confinement": decision });
        if let Some(revision) = revision {
            body["Revision"] = json!(revision);
        }
        self.call("PUT", &format!("/parapet/confinements/{id}"), body)
            .await
    }

    async fn decided(&self, id: &str) -> Value {
        self.get(&format!("/parapet/confinements/{id}")).await.ok()
    }
}

#[tokio::test]
async fn a_decision_is_in_the_devices_next_document() {
    let (bench, key) = bench().await;
    let mut asked = with_port(&key, 8080);
    asked["RuntimeRoleArn"] = json!(ROLE);
    let id = bench.deploy(asked).await;
    let before = bench.document(&key).await.expect("a document");
    let strict = &before.instances[0].applications[0].confinement;
    assert_eq!(strict.ports[0].sources, []);
    assert!(strict.gpu, "the package asks for an accelerator");
    assert!(strict.egress.role && strict.egress.hosts.is_empty() && !strict.egress.learn);

    let mut waiter = bench.ctx.wake.subscribe(&key);
    let answer = bench.decide(&id, decision(), Some(0)).await.ok();
    assert_eq!(answer["Revision"], 1);
    assert_eq!(*waiter.borrow_and_update(), Announcement::Generation(2));
    let document = bench.document(&key).await.expect("a document");
    let confinement = &document.instances[0].applications[0].confinement;
    assert_eq!(confinement.limits.memory_bytes, Some(1 << 30));
    assert_eq!(confinement.limits.cpu_millis, Some(1500));
    let hosts: Vec<_> = confinement
        .egress
        .hosts
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(hosts, ["s3.example:443", "*.iot.example:8883"]);
    assert!(confinement.egress.learn && confinement.egress.role);
    assert!(confinement.gpu && confinement.emulate);
    let port = &confinement.ports[0];
    assert_eq!((port.host, port.container), (8080, 80));
    assert_eq!(port.sources[0].to_string(), "10.1.0.0/16");

    let shown = bench.decided(&id).await;
    assert_eq!(shown["Confinement"], decision());
    assert_eq!(shown["RuntimeRoleArn"], ROLE);
    assert_eq!(
        shown["OpenPorts"],
        json!([{ "NodeName": "code_node", "HostPort": 8080, "ContainerPort": 80 }])
    );
    // The same again is a new revision and no new document.
    let again = shown["Confinement"].clone();
    assert_eq!(bench.decide(&id, again, Some(1)).await.ok()["Revision"], 2);
    assert_eq!(bench.document(&key).await, Some(document));
}

#[tokio::test]
async fn who_decides_on_an_old_view_is_told_and_changes_nothing() {
    let (bench, key) = bench().await;
    let id = bench.deploy(request(&key)).await;
    let hosts = |host: &str| json!({ "Egress": { "Hosts": [host] } });
    bench
        .decide(&id, hosts("one.example:443"), Some(0))
        .await
        .ok();
    let (status, error, body) = bench
        .decide(&id, hosts("two.example:443"), Some(0))
        .await
        .refused();
    assert_eq!((status, error.as_str()), (409, "ConflictException"));
    assert!(text(&body["Message"]).contains("revision 1"), "{body}");
    let shown = bench.decided(&id).await;
    assert_eq!(
        shown["Confinement"]["Egress"]["Hosts"],
        json!(["one.example:443"])
    );
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_its_member() {
    let (bench, key) = bench().await;
    let id = bench.deploy(with_port(&key, 8080)).await;
    for (decision, field) in [
        (
            json!({ "Ports": [{ "HostPort": 8081 }] }),
            "Confinement.Ports[0].HostPort",
        ),
        (
            json!({ "Egress": { "Hosts": ["169.254.169.254:80"] } }),
            "Confinement.Egress.Hosts[0]",
        ),
        (
            json!({ "Limits": { "CpuMillis": 0 } }),
            "Confinement.Limits.CpuMillis",
        ),
        (json!({ "Egres": {} }), "body"),
        (json!({ "Limits": { "Memory": 1 } }), "body"),
        (json!("all"), "body"),
    ] {
        let (status, error, body) = bench.decide(&id, decision, None).await.refused();
        assert_eq!(
            (status, error.as_str()),
            (400, "ValidationException"),
            "{body}"
        );
        assert_eq!(body["Fields"][0]["Name"], field, "{body}");
    }
    assert_eq!(bench.decided(&id).await["Revision"], 0);
    let (status, error, _) = bench
        .decide("applicationInstance-nobody", json!({}), None)
        .await
        .refused();
    assert_eq!((status, error.as_str()), (404, "ResourceNotFoundException"));
    bench
        .call(
            "DELETE",
            &format!("/application-instances/{id}"),
            Value::Null,
        )
        .await
        .ok();
    let (status, _, body) = bench.decide(&id, json!({}), None).await.refused();
    assert_eq!(status, 409, "{body}");
}

#[tokio::test]
async fn what_was_decided_stays_with_the_next_version_of_an_application() {
    let (bench, key) = bench().await;
    let first = bench.deploy(with_port(&key, 8080)).await;
    bench.decide(&first, decision(), None).await.ok();
    // The second does not open the port; what was decided about it is not forgotten.
    let mut second = request(&key);
    second["ApplicationInstanceIdToReplace"] = json!(first);
    let second = bench.deploy(second).await;
    assert_eq!(bench.decided(&second).await["Confinement"], decision());
    let document = bench.document(&key).await.expect("a document");
    let confinement = &document.instances[0].applications[0].confinement;
    assert_eq!(confinement.ports, []);
    assert_eq!(confinement.egress.hosts.len(), 2);
    bench.decide(&second, decision(), Some(1)).await.ok();

    bench
        .call(
            "DELETE",
            &format!("/application-instances/{second}"),
            Value::Null,
        )
        .await
        .ok();
    let mut third = with_port(&key, 8080);
    third["ApplicationInstanceIdToReplace"] = json!(second);
    bench.deploy(third).await;
    let document = bench.document(&key).await.expect("a document");
    let confinement = &document.instances[0].applications[0].confinement;
    assert_eq!(confinement.ports[0].sources.len(), 1);

    let stranger = bench.deploy(request(&key)).await;
    assert_eq!(bench.decided(&stranger).await["Revision"], 0);
}

#[tokio::test]
async fn whom_an_application_asked_for_is_shown_with_what_is_listed() {
    let (bench, key) = bench().await;
    let id = bench.deploy(request(&key)).await;
    bench.decide(&id, decision_without_port(), None).await.ok();
    let asked = |host: &str, port: u16, allowed: bool| json!({ "node": "code_node", "host": host, "port": port, "allowed": allowed, "count": 3 });
    bench
        .report(
            &key,
            1,
            2,
            json!([{ "id": id, "state": "RUNNING", "reason": null, "nodes": [], "asked": [
                asked("s3.example", 443, true),
                asked("a.iot.example", 8883, false),
                asked("evil.example", 443, false)] }]),
        )
        .await;
    let shown = bench.decided(&id).await;
    let listed: Vec<_> = shown["Asked"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|a| (text(&a["Host"]), a["Allowed"] == true, a["Listed"] == true))
        .collect();
    assert_eq!(
        listed,
        [
            ("s3.example", true, true),
            ("a.iot.example", false, true),
            ("evil.example", false, false)
        ]
    );
    assert!(shown["DeviceReportedTime"].is_number());
}

fn decision_without_port() -> Value {
    let mut decision = decision();
    decision["Ports"] = json!([]);
    decision
}

#[tokio::test]
async fn who_may_look_may_not_decide() {
    let (bench, key) = bench().await;
    let id = bench.deploy(request(&key)).await;
    let reader = caller(&[
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["panorama:*","parapet:GetInstanceConfinement"],"Resource":"*"}]}"#,
    ]);
    let target = format!("/parapet/confinements/{id}");
    bench
        .call_as(&reader, "GET", &target, &Value::Null)
        .await
        .ok();
    let body = json!({ "Confinement": decision_without_port() });
    let (status, error, _) = bench
        .call_as(&reader, "PUT", &target, &body)
        .await
        .refused();
    assert_eq!((status, error.as_str()), (403, "AccessDeniedException"));
    assert_eq!(bench.decided(&id).await["Revision"], 0);
}
