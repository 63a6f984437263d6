//! `RegisterPackageVersion`: turns an uploaded package.json and its files into a usable patch.
//!
//! Files are read first, then one transaction looks that they are still the same, pins them by
//! content and writes the outcome. A package that cannot be used is an outcome too (`FAILED` with
//! its reason), visible at once.

use parapet_api::{EmptyResponse, Operation, RegisterPackageVersionRequest, SecretId, node_id};
use parapet_device::BlobDigest;
use parapet_device::desired::CameraSecret;
use parapet_manifest::{AssetType, Category, Interface, Literal, PackageFile};

use crate::call::Call;
use crate::context::Context;
use crate::registry::version::{self, Checked};
use crate::registry::{Quotas, camera, storage};
use crate::store::cameras::{self, Camera, SecretVersion};
use crate::store::nodes::{self, Node};
use crate::store::objects::{self, Object};
use crate::store::packages::Package;
use crate::store::versions::{self, PackageVersion, PatchKey, PinnedAsset, VersionStatus};
use crate::store::{Micros, Scope, StoreError, Tx, secrets};

use super::call::random_bits;
use super::failure::Failure;

/// Bytes of a package.json or a descriptor that are read; what is larger is refused.
const DOCUMENT_BYTES: u64 = 1 << 20;
const COMPLETED: &str = "The package version is registered.";

pub(super) async fn call(
    call: &Call,
    request: RegisterPackageVersionRequest,
) -> Result<EmptyResponse, Failure> {
    let action = Operation::RegisterPackageVersion.action();
    let package = match call.package(action, &request.package_id).await {
        // The model has no ResourceNotFoundException here (`spec/api.md`).
        Err(Failure::NotFound { id, .. }) => {
            return Err(Failure::invalid(
                "PackageId",
                format!("there is no package {id}"),
            ));
        }
        outcome => outcome?,
    };
    check_owner(call, request.owner_account.as_deref())?;
    let key = PatchKey {
        package: package.id.clone(),
        version: request.package_version,
        patch: request.patch_version,
    };
    let looked = look(call, &package, &key).await?;
    let mark_latest = request.mark_latest;
    let (scope, quotas) = (call.scope.clone(), call.ctx.quotas);
    call.write(move |tx| {
        let now = Micros::now();
        let known = versions::of_package(tx, &scope, &key.package)?;
        let before = known.iter().find(|version| version.key == key);
        if before.is_some_and(|version| version.status == VersionStatus::Completed) {
            if mark_latest {
                versions::mark_latest(tx, &scope, &key)?;
            }
            return Ok(EmptyResponse {});
        }
        if before.is_none() && known.len() as u64 >= quotas.versions_per_package {
            let message = version::quota_message(&package.name);
            return Err(Failure::invalid("PackageVersion", message));
        }
        match looked {
            Ok(found) => {
                found.check_unchanged(tx, &scope)?;
                complete(
                    tx,
                    &scope,
                    &package,
                    &found.checked,
                    &found.pins,
                    mark_latest,
                    now,
                )?;
                if let Some(found) = found.camera {
                    found.store(tx, &scope, &package.name, &key.version, now)?;
                }
            }
            Err(reason) => fail(tx, &scope, &key, &reason, now)?,
        }
        Ok(EmptyResponse {})
    })
    .await
}

/// Only packages of the caller's own account can be changed.
pub(super) fn check_owner(call: &Call, owner: Option<&str>) -> Result<(), Failure> {
    match owner {
        Some(owner) if owner != call.scope.account => Err(Failure::invalid(
            "OwnerAccount",
            format!(
                "is {owner}; only packages of {} can be changed",
                call.scope.account
            ),
        )),
        _ => Ok(()),
    }
}

/// A package that can be registered, as it was found in storage.
struct Found {
    checked: Checked,
    pins: Vec<PinnedAsset>,
    /// What was read, to be compared within the transaction.
    objects: Vec<Object>,
    camera: Option<FoundCamera>,
}

/// The settings of a camera package that was written by hand (`spec/manifests.md` 4.4).
struct FoundCamera {
    url: String,
    /// Name of the new secret and its wrapped value.
    secret: Option<(String, Vec<u8>)>,
}

/// Reads and checks what the patch consists of; the inner error says why it cannot be registered.
async fn look(
    call: &Call,
    package: &Package,
    key: &PatchKey,
) -> Result<Result<Found, String>, Failure> {
    let manifest_key =
        storage::manifest_key(&call.scope.account, &package.name, &key.version, &key.patch);
    let Some(manifest) = object(call, manifest_key.clone()).await? else {
        return Ok(Err(format!(
            "The object {manifest_key} does not exist; upload it first."
        )));
    };
    if manifest.sha256 != key.patch {
        return Ok(Err(format!(
            "The patch version is not the SHA-256 of package.json, which is {}.",
            manifest.sha256
        )));
    }
    let bytes = match content(call, &manifest).await? {
        Ok(bytes) => bytes,
        Err(reason) => return Ok(Err(reason)),
    };
    let checked = match Checked::manifest(&package.name, &key.version, &bytes) {
        Ok(checked) => checked,
        Err(reason) => return Ok(Err(reason)),
    };
    let files = match checked.manifest.files(&package.name, &key.version) {
        Ok(files) => files,
        Err(error) => return Ok(Err(version::shortened(&error))),
    };
    let mut objects = vec![manifest];
    let mut pins: Vec<PinnedAsset> = Vec::new();
    for file in files {
        // Of several implementations of an asset the first is taken.
        if pins.iter().any(|pin| pin.asset == file.asset) {
            continue;
        }
        match look_at_file(call, package, &file).await? {
            Ok((pin, read)) => {
                pins.push(pin);
                objects.extend(read);
            }
            Err(reason) => return Ok(Err(version::cut(&reason))),
        }
    }
    let source = checked
        .manifest
        .interfaces
        .iter()
        .find(|i| is_camera(&checked, i));
    let camera = match source.map(|interface| camera_of(&call.ctx, interface)) {
        None => None,
        Some(Ok(found)) => found,
        Some(Err(CameraFault::Refused(reason))) => return Ok(Err(version::cut(&reason))),
        Some(Err(CameraFault::Ours(failure))) => return Err(failure),
    };
    Ok(Ok(Found {
        checked,
        pins,
        objects,
        camera,
    }))
}

async fn look_at_file(
    call: &Call,
    package: &Package,
    file: &PackageFile<'_>,
) -> Result<Result<(PinnedAsset, [Object; 2]), String>, Failure> {
    let key = |uri| storage::binary_key(&call.scope.account, &package.name, uri);
    let asset_key = key(file.asset_uri);
    let Some(asset) = object(call, asset_key.clone()).await? else {
        return Ok(Err(format!(
            "Asset {}: upload {asset_key} first.",
            file.asset
        )));
    };
    let Quotas { artifact_bytes, .. } = call.ctx.quotas;
    if asset.bytes > artifact_bytes {
        return Ok(Err(format!(
            "Asset {}: {} has {} bytes, at most {artifact_bytes} are allowed.",
            file.asset, file.asset_uri, asset.bytes
        )));
    }
    let descriptor_key = key(file.descriptor_uri);
    let Some(descriptor) = object(call, descriptor_key.clone()).await? else {
        return Ok(Err(format!(
            "Asset {}: upload {descriptor_key} first.",
            file.asset
        )));
    };
    let bytes = match content(call, &descriptor).await? {
        Ok(bytes) => bytes,
        Err(reason) => return Ok(Err(reason)),
    };
    let (text, parsed) = match version::descriptor(file.descriptor_uri, &bytes) {
        Ok(read) => read,
        Err(reason) => return Ok(Err(reason)),
    };
    if let Err(error) = file.check_descriptor(&parsed) {
        return Ok(Err(error.to_string()));
    }
    let pin = PinnedAsset {
        asset: file.asset.to_owned(),
        sha256: asset.sha256.clone(),
        bytes: asset.bytes,
        descriptor: Some(text),
    };
    Ok(Ok((pin, [asset, descriptor])))
}

async fn object(call: &Call, key: String) -> Result<Option<Object>, Failure> {
    let scope = call.scope.clone();
    call.ctx
        .store
        .read(move |connection| {
            let bucket = storage::bucket(&scope.account);
            Ok(objects::get(connection, &scope, &bucket, &key)?)
        })
        .await
}

/// The bytes of a document; the inner error says that it is too large to be one.
async fn content(call: &Call, object: &Object) -> Result<Result<Vec<u8>, String>, Failure> {
    if object.bytes > DOCUMENT_BYTES {
        return Ok(Err(version::cut(&format!(
            "{} has {} bytes, at most {DOCUMENT_BYTES} are read.",
            object.key, object.bytes
        ))));
    }
    let digest: BlobDigest = object.sha256.parse().map_err(Failure::internal)?;
    let blobs = call.ctx.blobs.clone();
    let bytes = tokio::task::spawn_blocking(move || blobs.read(&digest, DOCUMENT_BYTES))
        .await
        .map_err(Failure::internal)?
        .map_err(Failure::internal)?;
    Ok(Ok(bytes))
}

impl Found {
    /// Refuses when an object was replaced after it was read: what is pinned is what was checked.
    fn check_unchanged(&self, tx: &Tx<'_>, scope: &Scope) -> Result<(), Failure> {
        let bucket = storage::bucket(&scope.account);
        for read in &self.objects {
            let now = objects::get(tx, scope, &bucket, &read.key)?;
            if now.is_none_or(|now| now.sha256 != read.sha256) {
                return Err(Failure::conflict(
                    "PackageVersion",
                    self.checked.patch.clone(),
                    format!("The object {} changed meanwhile; register again.", read.key),
                ));
            }
        }
        Ok(())
    }
}

/// Whether an interface is a camera of the RTSP driver.
fn is_camera(checked: &Checked, interface: &Interface) -> bool {
    interface.category == Category::MediaSource
        && checked
            .manifest
            .implementation(interface)
            .is_none_or(|(_, implementation)| {
                implementation.kind == AssetType::System
                    && implementation.asset_uri == camera::RTSP_DRIVER
            })
}

enum CameraFault {
    Refused(String),
    Ours(Failure),
}

/// The settings in a camera interface's defaults; none where it names no address.
fn camera_of(ctx: &Context, interface: &Interface) -> Result<Option<FoundCamera>, CameraFault> {
    let default = |name: &str| {
        interface
            .inputs
            .iter()
            .find(|input| input.name == name)
            .and_then(|input| match &input.default {
                Some(Literal::String(text)) if !text.is_empty() => Some(text.clone()),
                _ => None,
            })
    };
    let Some(url) = default("streamUrl") else {
        return Ok(None);
    };
    let refused = |invalid: crate::registry::Invalid| CameraFault::Refused(invalid.to_string());
    let field = format!("interfaces.{}.inputs.streamUrl", interface.name);
    camera::check_url(&field, &url, ctx.cameras).map_err(refused)?;
    let (username, password) = (default("username"), default("password"));
    if username.is_none() && password.is_none() {
        return Ok(Some(FoundCamera { url, secret: None }));
    }
    let value = CameraSecret {
        version: 1,
        username: username.unwrap_or_default(),
        password: password.unwrap_or_default(),
    };
    let field = format!("interfaces.{}.inputs", interface.name);
    camera::check_credentials(&field, &value.username, &value.password).map_err(refused)?;
    let id = SecretId::from_random(random_bits().map_err(CameraFault::Ours)?).to_string();
    let wrapped = ctx
        .seal_camera(&id, &value)
        .map_err(|error| CameraFault::Ours(Failure::internal(error)))?;
    Ok(Some(FoundCamera {
        url,
        secret: Some((id, wrapped)),
    }))
}

impl FoundCamera {
    fn store(
        self,
        tx: &Tx<'_>,
        scope: &Scope,
        package: &str,
        version: &str,
        now: Micros,
    ) -> Result<(), StoreError> {
        let secret = match self.secret {
            Some((id, wrapped)) => {
                secrets::insert(tx, scope, &id, 1, &wrapped, now)?;
                Some(SecretVersion { id, version: 1 })
            }
            None => None,
        };
        let settings = Camera {
            package_name: package.to_owned(),
            version: version.to_owned(),
            url: self.url,
            secret,
            updated: now,
        };
        cameras::put(tx, scope, &settings)?;
        cameras::forget_unused(tx, scope)
    }
}

/// Writes a usable patch with its pins and nodes. The first patch of a version becomes the latest
/// even when nobody asks for it (`spec/api.md` 4.3).
pub(super) fn complete(
    tx: &Tx<'_>,
    scope: &Scope,
    package: &Package,
    checked: &Checked,
    pins: &[PinnedAsset],
    mark_latest: bool,
    now: Micros,
) -> Result<(), StoreError> {
    let key = checked.key(&package.id);
    let first = versions::latest(tx, scope, &key.package, &key.version)?.is_none();
    let row = PackageVersion {
        key: key.clone(),
        status: VersionStatus::Completed,
        status_description: COMPLETED.to_owned(),
        is_latest: mark_latest || first,
        registered: now,
        manifest: checked.text.clone(),
    };
    versions::put(tx, scope, &row)?;
    for pin in pins {
        versions::pin(tx, scope, &key, pin)?;
    }
    for interface in &checked.manifest.interfaces {
        let node = Node {
            id: node_id(&package.name, &key.version, &key.patch, &interface.name),
            key: key.clone(),
            package_name: package.name.clone(),
            name: interface.name.clone(),
            category: interface.category.as_api().to_owned(),
            description: interface.description.clone().unwrap_or_default(),
            asset: interface.asset.clone(),
            created: now,
        };
        nodes::insert(tx, scope, &node)?;
    }
    Ok(())
}

fn fail(
    tx: &Tx<'_>,
    scope: &Scope,
    key: &PatchKey,
    reason: &str,
    now: Micros,
) -> Result<(), StoreError> {
    let row = PackageVersion {
        key: key.clone(),
        status: VersionStatus::Failed,
        status_description: version::cut(reason),
        is_latest: false,
        registered: now,
        manifest: String::new(),
    };
    versions::put(tx, scope, &row)
}
