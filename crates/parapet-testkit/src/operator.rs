//! What an operator does to an installation, by the AWS CLI: cameras, packages, instances.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::demo::Demo;
use crate::wait_for;

/// Longest time a step may take with other tests on the same two cores.
const STEP: Duration = Duration::from_mins(1);

/// Whoever works on a [`Demo`]'s installation.
#[derive(Debug)]
pub struct Operator<'a> {
    demo: &'a Demo,
    /// Twelve digits.
    pub account: String,
    /// The appliance.
    pub device: String,
    /// A directory of the test's own.
    pub work: &'a Path,
}

/// A node package in the making.
#[derive(Debug)]
pub struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// `nodePackage.interfaces`: the one interface, which has the asset `asset`.
    pub interface: Value,
    /// `container` or `model`.
    pub kind: &'a str,
    /// `descriptor.json`.
    pub descriptor: Value,
    /// What the asset holds, a `tar.gz`.
    pub archive: &'a Path,
}

impl<'a> Operator<'a> {
    /// Asks who and on what.
    pub fn of(demo: &'a Demo, work: &'a Path) -> Result<Self> {
        let identity = demo.aws(&["sts", "get-caller-identity"])?;
        let devices = demo.aws(&["panorama", "list-devices"])?;
        Ok(Self {
            demo,
            account: text(&identity, "Account")?,
            device: text(&devices["Devices"][0], "DeviceId")?,
            work,
        })
    }

    /// Registers a camera, named as its package and node, and waits for it.
    pub fn add_camera(&self, name: &str, url: &str, login: Option<(&str, &str)>) -> Result<()> {
        let mut parameters = json!({ "StreamUrl": url });
        if let Some((user, password)) = login {
            parameters["Username"] = json!(user);
            parameters["Password"] = json!(password);
        }
        let file = self.write(&format!("{name}.parameters.json"), &parameters)?;
        let job = self.demo.aws(&[
            "panorama",
            "create-node-from-template-job",
            "--template-type",
            "RTSP_CAMERA_STREAM",
            "--output-package-name",
            name,
            "--output-package-version",
            "1.0",
            "--node-name",
            name,
            "--template-parameters",
            &file,
        ])?;
        let path = format!("/packages/template-job/{}", text(&job, "JobId")?);
        wait_for(&format!("camera {name}"), STEP, || {
            let job = self.get(&path)?;
            ensure!(job["Status"] == "SUCCEEDED", "the job is {job}");
            Ok(())
        })
    }

    /// Uploads and registers a package, version 1.0, and waits for it.
    pub fn add_package(&self, package: &Package<'_>) -> Result<()> {
        let name = package.name;
        let descriptor = self.work.join(format!("{name}.descriptor.json"));
        fs::write(&descriptor, package.descriptor.to_string()).context("write a descriptor")?;
        let archive = format!("{}.tar.gz", sha256(package.archive)?);
        let described = format!("{}.json", sha256(&descriptor)?);
        let manifest = json!({"nodePackage": {
            "envelopeVersion": "2021-01-01",
            "name": name,
            "version": "1.0",
            "description": "made by a test",
            "assets": [{"name": "asset", "implementations": [{
                "type": package.kind, "assetUri": archive, "descriptorUri": described,
            }]}],
            "interfaces": [package.interface],
        }});
        let manifest_file = self.work.join(format!("{name}.package.json"));
        fs::write(&manifest_file, manifest.to_string()).context("write a package")?;
        let patch = sha256(&manifest_file)?;

        let made = self
            .demo
            .aws(&["panorama", "create-package", "--package-name", name])?;
        let place = &made["StorageLocation"];
        let (bucket, id) = (text(place, "Bucket")?, text(&made, "PackageId")?);
        let binaries = text(place, "BinaryPrefixLocation")?;
        let manifests = text(place, "ManifestPrefixLocation")?;
        let files = [
            (format!("{binaries}/{archive}"), package.archive),
            (format!("{binaries}/{described}"), &descriptor),
            (format!("{manifests}/1.0/{patch}.json"), &manifest_file),
        ];
        for (key, file) in files {
            let (file, key) = (file.display().to_string(), key.as_str());
            self.demo.aws(&[
                "s3api",
                "put-object",
                "--bucket",
                &bucket,
                "--key",
                key,
                "--body",
                &file,
            ])?;
        }
        self.demo.aws(&[
            "panorama",
            "register-package-version",
            "--package-id",
            &id,
            "--package-version",
            "1.0",
            "--patch-version",
            &patch,
            "--mark-latest",
        ])?;
        let path = format!("/packages/metadata/{id}/versions/1.0?PatchVersion={patch}");
        wait_for(&format!("package {name}"), STEP, || {
            let version = self.get(&path)?;
            let status = &version["Status"];
            ensure!(status == "REGISTER_COMPLETED", "the version is {version}");
            Ok(())
        })
    }

    /// The name of a package's or camera's node interface in graphs of this account.
    #[must_use]
    pub fn interface(&self, package: &str, interface: &str) -> String {
        format!("{}::{package}.{interface}", self.account)
    }

    /// A node of a graph.
    #[must_use]
    pub fn node(&self, name: &str, package: &str, interface: &str) -> Value {
        json!({"name": name, "interface": self.interface(package, interface),
               "overridable": false, "launch": "onAppStart"})
    }

    /// A graph of packages of this account.
    #[must_use]
    pub fn graph(&self, packages: &[&str], nodes: &[Value], edges: &[(&str, &str)]) -> Value {
        let packages: Vec<Value> = packages
            .iter()
            .map(|name| json!({"name": format!("{}::{name}", self.account), "version": "1.0"}))
            .collect();
        let edges: Vec<Value> = edges
            .iter()
            .map(|(producer, consumer)| json!({"producer": producer, "consumer": consumer}))
            .collect();
        json!({"nodeGraph": {"envelopeVersion": "2021-01-01", "packages": packages,
                             "nodes": nodes, "edges": edges}})
    }

    /// `CreateApplicationInstance`; the answer is its ID.
    pub fn deploy(&self, name: &str, graph: &Value) -> Result<String> {
        let (ended, said) = self.try_deploy(name, graph)?;
        ensure!(ended, "deploy {name}: {said}");
        let made: Value = serde_json::from_str(&said).context("read what aws prints")?;
        text(&made, "ApplicationInstanceId")
    }

    /// The same, whatever comes of it: whether it was accepted, and what the CLI said.
    pub fn try_deploy(&self, name: &str, graph: &Value) -> Result<(bool, String)> {
        let payload = json!({ "PayloadData": graph.to_string() });
        let file = self.write(&format!("{name}.payload.json"), &payload)?;
        let output = self.demo.aws_output(&[
            "panorama",
            "create-application-instance",
            "--name",
            name,
            "--default-runtime-context-device",
            &self.device,
            "--manifest-payload",
            &file,
        ])?;
        let accepted = output.status.success();
        let said = if accepted {
            output.stdout
        } else {
            output.stderr
        };
        Ok((accepted, String::from_utf8_lossy(&said).trim().to_owned()))
    }

    /// `RemoveApplicationInstance`.
    pub fn remove(&self, instance: &str) -> Result<()> {
        let operation = "remove-application-instance";
        let named = ["panorama", operation, "--application-instance-id", instance];
        self.demo.aws(&named).map(drop)
    }

    /// Waits until `DescribeApplicationInstance` says what is expected of these members.
    pub fn wait_instance(&self, instance: &str, expected: &[(&str, &str)]) -> Result<Value> {
        wait_for(&format!("{instance} to be {expected:?}"), STEP, || {
            let described = self.get(&format!("/application-instances/{instance}"))?;
            for (member, value) in expected {
                ensure!(described[*member] == **value, "it is {described}");
            }
            Ok(described)
        })
        .with_context(|| self.demo.log_tail())
    }

    /// `CurrentStatus` and `StatusReason` of a node, which the CLI does not show.
    pub fn node_status(&self, instance: &str, node: &str) -> Result<(String, String)> {
        let path = format!("/application-instances/{instance}/node-instances");
        let answer = self.get(&path)?;
        let nodes = answer["NodeInstances"].as_array();
        let found = nodes
            .into_iter()
            .flatten()
            .find(|found| found["NodeInstanceId"] == node)
            .with_context(|| format!("no node {node}: {answer}"))?;
        let reason = found["StatusReason"].as_str().unwrap_or_default();
        Ok((text(found, "CurrentStatus")?, reason.to_owned()))
    }

    /// Waits until a node has this status and a reason that begins with `<node>: <code>: `; the
    /// answer is the rest.
    pub fn wait_node_error(&self, instance: &str, node: &str, code: &str) -> Result<String> {
        let begin = format!("{node}: {code}: ");
        wait_for(&format!("{node} to fail with {code}"), STEP, || {
            let (status, reason) = self.node_status(instance, node)?;
            match reason.strip_prefix(&begin) {
                Some(rest) if status == "ERROR" => Ok(rest.to_owned()),
                _ => bail!("it is {status}: {reason}"),
            }
        })
    }

    /// A signed GET; members that the CLI's model does not know are in the answer.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = self.demo.signed_get(path, &[])?;
        ensure!(answer.status == 200, "GET {path}: {answer:?}");
        Ok(answer.body)
    }

    fn write(&self, name: &str, value: &Value) -> Result<String> {
        let path: PathBuf = self.work.join(name);
        fs::write(&path, value.to_string()).with_context(|| format!("write {name}"))?;
        Ok(format!("file://{}", path.display()))
    }
}

/// A text member of an answer.
fn text(answer: &Value, member: &str) -> Result<String> {
    let text = answer[member].as_str().map(str::to_owned);
    text.with_context(|| format!("no {member} in {answer}"))
}

fn sha256(file: &Path) -> Result<String> {
    let output = Command::new("sha256sum")
        .arg("--")
        .arg(file)
        .output()
        .context("run sha256sum")?;
    let digest = String::from_utf8_lossy(&output.stdout);
    let digest = digest.get(..64).map(str::to_owned);
    digest.with_context(|| format!("hash {}", file.display()))
}
