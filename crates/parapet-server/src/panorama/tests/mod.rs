//! The operations as a client meets them: signed requests are simulated after the signature, with
//! a real store, real contents and real keys in a temporary directory.

mod cameras;
mod confinements;
mod deployment;
mod devices;
mod packages;

use std::collections::BTreeMap;
use std::sync::Arc;

use parapet_auth::{Attached, Caller, Grants, Policy, PolicyKind, Principal, PrincipalKind};
use parapet_device::{DesiredDocument, Generation, Reported};
use serde_json::{Value, json};

use super::handle;
use crate::audit::Opening;
use crate::call::{Call, Incoming};
use crate::config::ServerConfig;
use crate::context::{Context, Endpoints};
use crate::fleet::{DeviceKey, report};
use crate::registry::storage;
use crate::store::objects::{self, Object};
use crate::store::{Micros, StoreError, desired};

const ACCOUNT: &str = "123456789012";

/// A control plane without its listeners.
struct Bench {
    ctx: Arc<Context>,
    admin: Caller,
    data: tempfile::TempDir,
}

/// An answer.
struct Answer {
    status: u16,
    error: Option<String>,
    body: Value,
}

impl Answer {
    /// The body of a success.
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{:?} {}", self.error, self.body);
        self.body
    }

    /// Status and type of an error, and its body.
    fn refused(self) -> (u16, String, Value) {
        let error = self
            .error
            .unwrap_or_else(|| panic!("not refused: {}", self.body));
        (self.status, error, self.body)
    }
}

fn caller(policies: &[&str]) -> Caller {
    let principal = Principal {
        account: ACCOUNT.to_owned(),
        kind: PrincipalKind::User {
            id: "AIDATEST".to_owned(),
            path: "/".to_owned(),
            name: "tester".to_owned(),
        },
    };
    let policies = policies.iter().map(|text| {
        let policy = Policy::parse(text, PolicyKind::Managed).expect("a policy");
        Attached::new("test", policy)
    });
    Caller::new(principal, "AKIATEST", Grants::identity(policies.collect()))
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
        Self {
            ctx: Arc::new(ctx),
            admin: caller(&[Policy::ADMINISTRATOR]),
            data,
        }
    }

    async fn call_as(&self, who: &Caller, method: &str, target: &str, body: &Value) -> Answer {
        let (raw_path, query) = target.split_once('?').unwrap_or((target, ""));
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let incoming = Incoming {
            method,
            raw_path,
            query,
            body: &bytes,
            request_id: "request-of-a-test",
        };
        let call = self.made_by(who);
        let is_ours = raw_path.starts_with("/parapet/");
        let response = if is_ours {
            crate::parapet::handle(&call, incoming).await
        } else {
            handle(&call, incoming).await
        };
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().expect("text").to_owned())
        };
        assert_eq!(header("content-type").as_deref(), Some("application/json"));
        let named = header("x-amzn-RequestId");
        assert_eq!(named.as_deref(), (!is_ours).then_some("request-of-a-test"));
        Answer {
            status: response.status().as_u16(),
            error: header("x-amzn-ErrorType"),
            body: serde_json::from_slice(response.body()).expect("JSON"),
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

    async fn call(&self, method: &str, target: &str, body: Value) -> Answer {
        self.call_as(&self.admin, method, target, &body).await
    }

    async fn get(&self, target: &str) -> Answer {
        self.call("GET", target, Value::Null).await
    }

    /// Puts an object as the S3 front does.
    async fn put(&self, key: &str, bytes: &[u8]) {
        let mut draft = self.ctx.blobs.begin().expect("a draft");
        draft.write(bytes).expect("room");
        let (digest, bytes) = draft.keep().expect("kept");
        let object = Object {
            key: key.to_owned(),
            sha256: digest.to_string(),
            bytes,
            etag: "0".repeat(32),
            content_type: None,
            modified: Micros::now(),
        };
        let scope = self.ctx.scope.clone();
        self.ctx
            .store
            .write::<_, StoreError, _>(move |tx| {
                objects::put(tx, &scope, &storage::bucket(&scope.account), &object)
            })
            .await
            .expect("stored");
    }

    /// Uploads and registers a package as panorama-cli does; the patch version.
    async fn package(
        &self,
        name: &str,
        manifest: &Value,
        files: &BTreeMap<&str, String>,
    ) -> String {
        let created = self
            .call("POST", "/packages", json!({ "PackageName": name }))
            .await
            .ok();
        let binaries = created["StorageLocation"]["BinaryPrefixLocation"].clone();
        let manifests = created["StorageLocation"]["ManifestPrefixLocation"].clone();
        for (file, content) in files {
            self.put(&format!("{}/{file}", text(&binaries)), content.as_bytes())
                .await;
        }
        let bytes = manifest.to_string();
        let patch = sha256(bytes.as_bytes());
        self.put(
            &format!("{}/1.0/{patch}.json", text(&manifests)),
            bytes.as_bytes(),
        )
        .await;
        let id = text(&created["PackageId"]);
        let target = format!("/packages/{id}/versions/1.0/patch/{patch}");
        self.call("PUT", &target, json!({ "MarkLatest": true }))
            .await
            .ok();
        let target = format!("/packages/metadata/{id}/versions/1.0?PatchVersion={patch}");
        let version = self.get(&target).await.ok();
        assert_eq!(version["Status"], "REGISTER_COMPLETED", "{version}");
        patch
    }

    /// A package with one code node.
    async fn code_package(&self) -> String {
        let manifest = json!({ "nodePackage": {
            "envelopeVersion": "2021-01-01", "name": "CODE", "version": "1.0",
            "assets": [{ "name": "code", "implementations": [{
                "type": "container", "assetUri": "a.tar.gz", "descriptorUri": "d.json",
                "requirements": [{ "type": "hardware_access", "inferenceAccelerators": [
                    { "deviceType": "nvhost_gpu",
                        "sharedResourcePolicy": { "policy": "allow_all" } }] }] }] }],
            "interfaces": [{ "name": "interface", "category": "business_logic", "asset": "code",
                "inputs": [
                    { "name": "video_in", "type": "media" },
                    { "name": "threshold", "type": "float32", "default": 0.5 }],
                "outputs": [{ "name": "video_out", "type": "media" }],
                "network": { "inboundPorts": [{ "port": 80 }] } }] } });
        let descriptor = json!({ "runtimeDescriptor": {
            "envelopeVersion": "2021-01-01",
            "entry": { "path": "python3", "name": "/panorama/app.py" } } });
        let files = BTreeMap::from([
            ("a.tar.gz", "an image".to_owned()),
            ("d.json", descriptor.to_string()),
        ]);
        self.package("CODE", &manifest, &files).await
    }

    /// A camera from the template.
    async fn camera(&self, name: &str, url: &str) {
        let job = self
            .call(
                "POST",
                "/packages/template-job",
                json!({
                    "TemplateType": "RTSP_CAMERA_STREAM", "OutputPackageName": name,
                    "OutputPackageVersion": "1.0", "NodeName": name,
                    "TemplateParameters": {
                        "StreamUrl": url, "Username": "viewer", "Password": "hunter2" },
                }),
            )
            .await
            .ok();
        let target = format!("/packages/template-job/{}", text(&job["JobId"]));
        let job = self.get(&target).await.ok();
        assert_eq!(job["Status"], "SUCCEEDED", "{job}");
    }

    async fn device(&self, name: &str) -> DeviceKey {
        let made = self
            .call("POST", "/devices", json!({ "Name": name }))
            .await
            .ok();
        DeviceKey {
            scope: self.ctx.scope.clone(),
            device: text(&made["DeviceId"]).to_owned(),
        }
    }

    /// The newest document of a device, as the gateway would hand it out.
    async fn document(&self, key: &DeviceKey) -> Option<DesiredDocument> {
        let wanted = key.clone();
        let stored = self
            .ctx
            .store
            .read::<_, StoreError, _>(move |c| desired::get(c, &wanted.scope, &wanted.device))
            .await
            .expect("read")?;
        Some(serde_json::from_str(&stored.document_json).expect("a document"))
    }

    /// What a device at `generation` reports of its instances.
    async fn report(&self, key: &DeviceKey, seq: u64, generation: u64, instances: Value) {
        let report = Self::reported(seq, generation, instances);
        self.take(key, report).await;
    }

    fn reported(seq: u64, generation: u64, instances: Value) -> Reported {
        Reported {
            version: parapet_device::PROTOCOL_VERSION,
            boot_id: "boot".to_owned(),
            seq,
            software: "0.1.0".to_owned(),
            observed_generation: Generation(generation),
            applied_generation: Generation(generation),
            instances: serde_json::from_value(instances).expect("instance reports"),
            network: None,
        }
    }

    async fn take(&self, key: &DeviceKey, report: Reported) {
        report::accept(&self.ctx.store, &self.ctx.presence, key, report)
            .await
            .expect("taken");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}
