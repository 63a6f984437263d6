//! Deployment, through the signed API only: what a person would type, in the same order.
//!
//! Each step looks before it acts, so that a second run on the same directory changes nothing.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::aws::{Aws, member};
use super::patience::Patience;
use super::place::{Place, write_private};
use super::project::{Package, Project, file_name};

/// Name of the demo's appliance.
const DEVICE_NAME: &str = "demo-appliance";

/// A camera to register.
pub(crate) struct Camera {
    /// Package and node name.
    pub(crate) name: String,
    /// `rtsp://host:port/path`, no credentials.
    pub(crate) url: String,
    /// User name and password.
    pub(crate) credentials: Option<(String, String)>,
}

/// The account the credentials belong to, asked until the control plane answers.
pub(crate) fn wait_for_account(aws: &Aws, patience: &Patience) -> Result<String> {
    let mut last = None;
    let account = patience.wait("the control plane", || {
        match aws.json(&["sts", "get-caller-identity"]) {
            Ok(identity) => Ok(Some(member(&identity, "Account")?.to_owned())),
            Err(error) => {
                last = Some(error);
                Ok(None)
            }
        }
    });
    account.map_err(|error| match last {
        Some(last) => error.context(last),
        None => error,
    })
}

/// The device record; with the enrolment archive when it has just been made.
pub(crate) struct Device {
    /// Its ID.
    pub(crate) id: String,
    /// Whether the archive has been written, to be used once.
    pub(crate) provisioned: bool,
}

/// The demo's device: as it is, or provisioned now with its archive written to `archive`.
pub(crate) fn device(aws: &Aws, archive: &Path, enrolled: bool) -> Result<Device> {
    let devices = aws.json(&["panorama", "list-devices", "--name-filter", DEVICE_NAME])?;
    for device in devices["Devices"].as_array().into_iter().flatten() {
        let id = member(device, "DeviceId")?.to_owned();
        if enrolled && device["Name"] == DEVICE_NAME {
            return Ok(Device {
                id,
                provisioned: false,
            });
        }
        // Its archive was never used and cannot be had again.
        aws.json(&["panorama", "delete-device", "--device-id", &id])?;
    }
    let made = aws.json(&[
        "panorama",
        "provision-device",
        "--name",
        DEVICE_NAME,
        "--description",
        "The demo's appliance",
    ])?;
    let zip = decode_base64(member(&made, "Certificates")?)?;
    write_private(archive, &zip)?;
    Ok(Device {
        id: member(&made, "DeviceId")?.to_owned(),
        provisioned: true,
    })
}

/// Registers the cameras that are not registered yet and waits for them. Gives those that were
/// there before: their address may be another by now.
pub(crate) fn cameras<'a>(
    aws: &Aws,
    cameras: &'a [Camera],
    patience: &Patience,
) -> Result<Vec<&'a Camera>> {
    let mut jobs = Vec::new();
    let mut known = Vec::new();
    for camera in cameras {
        let package = format!("packageName/{}", camera.name);
        if aws
            .json(&["panorama", "describe-package", "--package-id", &package])
            .is_ok()
        {
            known.push(camera);
            continue;
        }
        let mut parameters = json!({"StreamUrl": camera.url});
        if let Some((user, password)) = &camera.credentials {
            parameters["Username"] = json!(user);
            parameters["Password"] = json!(password);
        }
        // By file, not by argument: every user of the machine can read arguments.
        let file = tempfile::NamedTempFile::new().context("make a file for the parameters")?;
        write_private(file.path(), parameters.to_string().as_bytes())?;
        let parameters = format!("file://{}", file.path().display());
        let job = aws.json(&[
            "panorama",
            "create-node-from-template-job",
            "--template-type",
            "RTSP_CAMERA_STREAM",
            "--output-package-name",
            &camera.name,
            "--output-package-version",
            "1.0",
            "--node-name",
            &camera.name,
            "--template-parameters",
            &parameters,
        ])?;
        jobs.push(member(&job, "JobId")?.to_owned());
    }
    for job in jobs {
        patience.wait(&format!("camera job {job}"), || {
            let state = aws.json(&[
                "panorama",
                "describe-node-from-template-job",
                "--job-id",
                &job,
            ])?;
            match member(&state, "Status")? {
                "SUCCEEDED" => Ok(Some(())),
                "FAILED" => bail!("register a camera: {}", member(&state, "StatusMessage")?),
                _ => Ok(None),
            }
        })?;
    }
    Ok(known)
}

/// Gives a camera that is registered already its present address and credentials, in place.
pub(crate) fn set_camera(place: &Place, camera: &Camera) -> Result<()> {
    let password = tempfile::NamedTempFile::new().context("make a file for the password")?;
    let mut command = Command::new(place.libexec.join("parapet"));
    command.args([
        "camera",
        "set",
        &camera.name,
        "--url",
        &camera.url,
        "--data",
    ]);
    command.arg(place.server());
    if let Some((user, secret)) = &camera.credentials {
        write_private(password.path(), secret.as_bytes())?;
        command
            .args(["--username", user, "--password-file"])
            .arg(password.path());
    }
    let output = command.output().context("run parapet camera set")?;
    anyhow::ensure!(
        output.status.success(),
        "change camera {}: {}",
        camera.name,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Uploads and registers the packages of a project, as `panorama-cli package-application` does
/// (`spec/tools.md` 1.4), all at a time. Tells whether any of them is new.
pub(crate) fn packages(aws: &Aws, project: &Project, patience: &Patience) -> Result<bool> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = project
            .packages
            .iter()
            .map(|package| scope.spawn(|| register(aws, package, patience)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| bail!("registering a package failed"))
            })
            .try_fold(false, |any, new| Ok(any | new?))
    })
}

/// Registers one package unless this very version is registered; tells whether it was not.
fn register(aws: &Aws, package: &Package, patience: &Patience) -> Result<bool> {
    let alias = format!("packageName/{}", package.name);
    let patch = sha256(&package.manifest)?;
    let state = |id: &str| {
        aws.json(&[
            "panorama",
            "describe-package-version",
            "--package-id",
            id,
            "--package-version",
            &package.version,
            "--patch-version",
            &patch,
        ])
    };
    if state(&alias).is_ok_and(|state| state["Status"] == "REGISTER_COMPLETED") {
        return Ok(false);
    }
    let described = aws
        .json(&["panorama", "describe-package", "--package-id", &alias])
        .or_else(|_| {
            aws.json(&[
                "panorama",
                "create-package",
                "--package-name",
                &package.name,
            ])
        })?;
    let id = member(&described, "PackageId")?;
    let place = &described["StorageLocation"];
    let bucket = member(place, "Bucket")?;
    for asset in &package.assets {
        let key = format!(
            "{}/{}",
            member(place, "BinaryPrefixLocation")?,
            file_name(asset)
        );
        upload(aws, bucket, &key, asset)?;
    }
    let prefix = member(place, "ManifestPrefixLocation")?;
    let key = format!("{prefix}/{}/{patch}.json", package.version);
    upload(aws, bucket, &key, &package.manifest)?;
    aws.json(&[
        "panorama",
        "register-package-version",
        "--package-id",
        id,
        "--package-version",
        &package.version,
        "--patch-version",
        &patch,
        "--mark-latest",
    ])?;
    patience.wait(
        &format!("version {} of {}", package.version, package.name),
        || {
            let state = state(id)?;
            match member(&state, "Status")? {
                "REGISTER_COMPLETED" => Ok(Some(true)),
                "FAILED" => bail!("register {id}: {}", member(&state, "StatusDescription")?),
                _ => Ok(None),
            }
        },
    )
}

fn upload(aws: &Aws, bucket: &str, key: &str, file: &Path) -> Result<()> {
    if aws
        .json(&["s3api", "head-object", "--bucket", bucket, "--key", key])
        .is_ok()
    {
        return Ok(());
    }
    let target = format!("s3://{bucket}/{key}");
    let file = file.display().to_string();
    aws.text(&[
        "s3",
        "cp",
        "--only-show-errors",
        &file,
        &target,
        "--acl",
        "bucket-owner-full-control",
    ])?;
    Ok(())
}

/// The instance of that name on the device that is there already, if one is.
pub(crate) fn existing_instance(aws: &Aws, device: &str, name: &str) -> Result<Option<String>> {
    let list = aws.json(&[
        "panorama",
        "list-application-instances",
        "--device-id",
        device,
    ])?;
    for instance in list["ApplicationInstances"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let gone = ["REMOVAL_SUCCEEDED", "DEPLOYMENT_FAILED"];
        let status = member(instance, "Status")?;
        if instance["Name"] == name && !gone.contains(&status) {
            return Ok(Some(member(instance, "ApplicationInstanceId")?.to_owned()));
        }
    }
    Ok(None)
}

/// Takes instances of other names off the device: the demo shows one application at a time.
pub(crate) fn remove_others(aws: &Aws, device: &str, name: &str) -> Result<()> {
    let list = aws.json(&[
        "panorama",
        "list-application-instances",
        "--device-id",
        device,
    ])?;
    for instance in list["ApplicationInstances"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let deployed = member(instance, "Status")? == "DEPLOYMENT_SUCCEEDED";
        if deployed && instance["Name"] != name {
            let id = member(instance, "ApplicationInstanceId")?;
            aws.json(&[
                "panorama",
                "remove-application-instance",
                "--application-instance-id",
                id,
            ])?;
        }
    }
    Ok(())
}

/// Whether the instance was made of this graph and these overrides.
pub(crate) fn is_made_of(
    aws: &Aws,
    instance: &str,
    project: &Project,
    overrides: &Value,
) -> Result<bool> {
    let details = aws.json(&[
        "panorama",
        "describe-application-instance-details",
        "--application-instance-id",
        instance,
    ])?;
    Ok(
        details["ManifestPayload"]["PayloadData"] == project.graph_payload()
            && details["ManifestOverridesPayload"]["PayloadData"].as_str()
                == Some(overrides.to_string().as_str()),
    )
}

/// Creates the instance, in the place of another if there is one; the answer is its ID.
pub(crate) fn create_instance(
    aws: &Aws,
    project: &Project,
    device: &str,
    name: &str,
    overrides: &Value,
    replaced: Option<&str>,
) -> Result<String> {
    let file = |stem: &str, value: &str| -> Result<String> {
        let path = project.root().join(stem);
        let payload = json!({"PayloadData": value}).to_string();
        std::fs::write(&path, payload).with_context(|| format!("write {}", path.display()))?;
        Ok(format!("file://{}", path.display()))
    };
    let graph = file("manifest-payload.json", &project.graph_payload())?;
    let overrides = file("overrides-payload.json", &overrides.to_string())?;
    let mut arguments = vec![
        "panorama",
        "create-application-instance",
        "--name",
        name,
        "--default-runtime-context-device",
        device,
        "--manifest-payload",
        &graph,
        "--manifest-overrides-payload",
        &overrides,
    ];
    if let Some(replaced) = replaced {
        arguments.extend(["--application-instance-id-to-replace", replaced]);
    }
    aws.text(&arguments)
}

/// Waits until the deployment has succeeded; a failure carries its reason.
pub(crate) fn wait_deployed(aws: &Aws, instance: &str, patience: &Patience) -> Result<()> {
    patience.wait(&format!("deployment of {instance}"), || {
        let state = describe_instance(aws, instance)?;
        match member(&state, "Status")? {
            "DEPLOYMENT_SUCCEEDED" => Ok(Some(())),
            "DEPLOYMENT_FAILED" => {
                bail!(
                    "deployment failed: {}",
                    member(&state, "StatusDescription")?
                )
            }
            _ => Ok(None),
        }
    })
}

/// `DescribeApplicationInstance`.
pub(crate) fn describe_instance(aws: &Aws, instance: &str) -> Result<Value> {
    aws.json(&[
        "panorama",
        "describe-application-instance",
        "--application-instance-id",
        instance,
    ])
}

/// `DescribeDevice`.
pub(crate) fn describe_device(aws: &Aws, device: &str) -> Result<Value> {
    aws.json(&["panorama", "describe-device", "--device-id", device])
}

/// SHA-256 of a file by coreutils: the demo is a client and brings no cryptography of its own.
fn sha256(file: &Path) -> Result<String> {
    let output = Command::new("sha256sum")
        .arg("--")
        .arg(file)
        .output()
        .context("run sha256sum")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.get(..64) {
        Some(digest) if output.status.success() => Ok(digest.trim_start_matches('\\').to_owned()),
        _ => bail!(
            "hash {}: {}",
            file.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        ),
    }
}

/// The bytes of `ProvisionDevice`, by coreutils as published scripts decode them.
fn decode_base64(text: &str) -> Result<Vec<u8>> {
    let mut child = Command::new("base64")
        .arg("--decode")
        .stdin(Stdio::from(spool(text)?))
        .stdout(Stdio::piped())
        .spawn()
        .context("run base64")?;
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.as_mut() {
        stdout
            .read_to_end(&mut bytes)
            .context("decode the archive")?;
    }
    let status = child.wait().context("run base64")?;
    anyhow::ensure!(
        status.success(),
        "the archive of provision-device is not base64"
    );
    Ok(bytes)
}

fn spool(text: &str) -> Result<File> {
    use std::io::{Seek as _, Write as _};
    let mut file = tempfile::tempfile().context("make a temporary file")?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.rewind())
        .context("decode the archive")?;
    Ok(file)
}
