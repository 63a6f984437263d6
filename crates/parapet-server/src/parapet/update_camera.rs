//! `UpdateCamera`: changes a camera in place.
//!
//! `PUT /parapet/cameras/<name>` with a new address, user name or password. Every device that runs
//! the camera gets a new document, so that the new values are tried at once; no package, patch or
//! deployment changes.

use std::collections::BTreeSet;

use parapet_api::{ResourceType, SecretId};
use parapet_device::desired::CameraSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::{Ask, Call};
use crate::fleet::{DeviceKey, plan};
use crate::panorama::Failure;
use crate::panorama::call::random_bits;
use crate::registry::camera;
use crate::store::cameras::{self, Camera, SecretVersion};
use crate::store::packages::{self, PackageKey};
use crate::store::{Micros, instances, secrets};

use super::Operation;

/// What shall change; what is absent stays. No `Debug`: it holds a password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct CameraChange {
    /// Which version of the camera package; needed where there are several.
    #[serde(default)]
    pub version: Option<String>,
    /// `rtsp://…` without credentials.
    #[serde(default)]
    pub url: Option<String>,
    /// Empty together with an empty password: the camera asks for none.
    #[serde(default)]
    pub username: Option<String>,
    /// See `username`.
    #[serde(default)]
    pub password: Option<String>,
}

impl CameraChange {
    /// Reads the body of a request.
    fn parse(body: &[u8]) -> Result<Self, Failure> {
        // The parser's message may quote the value, so only the place is told.
        serde_json::from_slice(body).map_err(|error| {
            Failure::invalid(
                "body",
                format!(
                    "is no JSON object with the texts Url, Username, Password and Version \
                     (line {}, column {})",
                    error.line(),
                    error.column()
                ),
            )
        })
    }
}

/// Changes the camera of the package `name`.
pub(crate) async fn call(call: &Call, name: &str, body: &[u8]) -> Result<Value, Failure> {
    let change = CameraChange::parse(body)?;
    let (found, wrapped) = load(call, name, change.version.as_deref()).await?;
    if change.url.is_none() && change.username.is_none() && change.password.is_none() {
        return Err(Failure::invalid(
            "body",
            "changes nothing; give Url, Username or Password",
        ));
    }
    if let Some(url) = &change.url {
        camera::check_url("Url", url, call.ctx.cameras)?;
    }
    let credentials = if change.username.is_some() || change.password.is_some() {
        let old = match (&found.secret, wrapped) {
            (Some(secret), Some(wrapped)) => {
                let opened = call.ctx.open_camera(&secret.id, secret.version, &wrapped);
                Some(opened.map_err(Failure::internal)?)
            }
            _ => None,
        };
        let (old_name, old_password) = old
            .map(|old| (old.username, old.password))
            .unwrap_or_default();
        let username = change.username.clone().unwrap_or(old_name);
        let password = change.password.clone().unwrap_or(old_password);
        camera::check_credentials("body", &username, &password)?;
        Some((username, password))
    } else {
        None
    };
    apply(call, found, change.url, credentials).await?;
    Ok(json!({}))
}

/// The camera and its wrapped credentials.
async fn load(
    call: &Call,
    name: &str,
    version: Option<&str>,
) -> Result<(Camera, Option<Vec<u8>>), Failure> {
    let (scope, wanted) = (call.scope.clone(), name.to_owned());
    let (id, found) = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| {
            let package = packages::get(connection, &scope, PackageKey::Name(&wanted))?;
            let mut found = Vec::new();
            for camera in cameras::of_package(connection, &scope, &wanted)? {
                let wrapped = match &camera.secret {
                    Some(secret) => secrets::get(connection, &scope, &secret.id, secret.version)?,
                    None => None,
                };
                found.push((camera, wrapped));
            }
            Ok((
                package.map_or_else(|| "*".to_owned(), |package| package.id),
                found,
            ))
        })
        .await?;
    let tags = call.tags(ResourceType::Package, &id).await?;
    let arn = call.arn(ResourceType::Package, &id);
    call.authorize(&Ask::new(Operation::UpdateCamera.action(), &arn).tagged(&tags))?;
    let versions: Vec<&str> = found
        .iter()
        .map(|(camera, _)| camera.version.as_str())
        .collect();
    match (version, versions.as_slice()) {
        (_, []) => return Err(Failure::not_found("Camera", name)),
        (None, [_, _, ..]) => {
            return Err(Failure::invalid(
                "version",
                format!("missing; {name} has the versions {}", versions.join(", ")),
            ));
        }
        _ => {}
    }
    found
        .into_iter()
        .find(|(camera, _)| version.is_none_or(|version| version == camera.version))
        .ok_or_else(|| Failure::not_found("Camera", name))
}

/// Writes the change, if nobody changed the camera meanwhile, and tells the devices.
async fn apply(
    call: &Call,
    found: Camera,
    url: Option<String>,
    credentials: Option<(String, String)>,
) -> Result<(), Failure> {
    let secret = match credentials {
        None => None,
        Some((username, password)) if username.is_empty() && password.is_empty() => Some(None),
        Some((username, password)) => {
            let named = match &found.secret {
                Some(old) => SecretVersion {
                    id: old.id.clone(),
                    version: old.version + 1,
                },
                None => SecretVersion {
                    id: SecretId::from_random(random_bits()?).to_string(),
                    version: 1,
                },
            };
            let value = CameraSecret {
                version: named.version,
                username,
                password,
            };
            let wrapped = call
                .ctx
                .seal_camera(&named.id, &value)
                .map_err(Failure::internal)?;
            Some(Some((named, wrapped)))
        }
    };
    let scope = call.scope.clone();
    let changed = call
        .write(move |tx| {
            let now = Micros::now();
            let current = cameras::get(tx, &scope, &found.package_name, &found.version)?;
            if current.as_ref() != Some(&found) {
                return Err(Failure::conflict(
                    "Camera",
                    found.package_name,
                    "The camera was changed at the same time; look at it and try again.",
                ));
            }
            let mut next = Camera {
                updated: now,
                ..found
            };
            if let Some(url) = url {
                next.url = url;
            }
            match secret {
                None => {}
                Some(None) => next.secret = None,
                Some(Some((named, wrapped))) => {
                    secrets::insert(tx, &scope, &named.id, named.version, &wrapped, now)?;
                    secrets::forget_older(tx, &scope, &named.id, named.version)?;
                    next.secret = Some(named);
                }
            }
            cameras::put(tx, &scope, &next)?;
            cameras::forget_unused(tx, &scope)?;
            let devices: BTreeSet<String> =
                instances::devices_with_package(tx, &scope, &next.package_name)?
                    .into_iter()
                    .collect();
            let mut changed = Vec::new();
            for device in devices {
                let generation = plan::replan(tx, &scope, &device, now)?;
                changed.push((
                    DeviceKey {
                        scope: scope.clone(),
                        device,
                    },
                    generation,
                ));
            }
            Ok(changed)
        })
        .await?;
    for (key, generation) in changed {
        call.ctx.wake.announce(&key, generation);
    }
    Ok(())
}
