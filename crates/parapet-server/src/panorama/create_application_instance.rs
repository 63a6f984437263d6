//! `CreateApplicationInstance`: validates a graph with its overrides and deploys it to a device.
//!
//! One transaction resolves the documents against the registry, pins patches and contents, stores
//! the instance and writes the device's next document; the device is woken after the commit.

use std::cell::RefCell;
use std::collections::BTreeMap;

use parapet_api::{
    ApplicationInstanceId, CreateApplicationInstanceRequest, CreateApplicationInstanceResponse,
    Operation, ResourceType, node_id,
};
use parapet_device::desired::Blob;
use parapet_manifest::{
    DeployedNode, Deployment, Descriptor, Graph, NodeKind, Overrides, PackageInclude,
    PackageManifest, RegisteredPackage, resolve,
};
use parapet_plan::{NodeAsset, paused_at_start};

use crate::call::{Ask, Call};
use crate::fleet::plan::{self, StoredDeployment};
use crate::registry::quotas::{DEPLOYMENT_WINDOW, Quotas};
use crate::store::devices::Device;
use crate::store::instances::{self, DesiredState, Instance, InstanceNode, InstancePackage};
use crate::store::packages::PackageKey;
use crate::store::versions::{self, PatchKey, VersionStatus};
use crate::store::{Micros, Scope, StoreError, Tx, cameras, confinements, devices, packages, tags};

use super::call::random_bits;
use super::failure::Failure;
use super::remove_application_instance::device_key;

pub(super) async fn call(
    call: &Call,
    request: CreateApplicationInstanceRequest,
) -> Result<CreateApplicationInstanceResponse, Failure> {
    let id = ApplicationInstanceId::from_random(random_bits()?).to_string();
    let operation = Operation::CreateApplicationInstance;
    call.authorize(&Ask::new(operation.action(), "*").tagging(&request.tags))?;
    if let Some(role) = &request.runtime_role_arn {
        let pass = Ask::new("iam:PassRole", role);
        call.authorize(&pass.with("iam:PassedToService", "panorama.amazonaws.com"))?;
    }
    let graph = Graph::parse(&request.manifest_payload)?;
    let overrides = Overrides::parse_payload(request.manifest_overrides_payload.as_deref())?;

    let key = device_key(&call.scope, &request.default_runtime_context_device);
    let (scope, quotas, new_id) = (call.scope.clone(), call.ctx.quotas, id.clone());
    let generation = call
        .write(move |tx| {
            create(
                tx,
                &scope,
                &quotas,
                &new_id,
                request,
                &graph,
                overrides.as_ref(),
            )
        })
        .await?;
    call.ctx.wake.announce(&key, generation);
    Ok(CreateApplicationInstanceResponse {
        application_instance_id: id,
    })
}

/// Stores the instance and gives the generation of the document that holds it.
fn create(
    tx: &Tx<'_>,
    scope: &Scope,
    quotas: &Quotas,
    id: &str,
    request: CreateApplicationInstanceRequest,
    graph: &Graph,
    overrides: Option<&Overrides>,
) -> Result<u64, Failure> {
    let now = Micros::now();
    let device_id = request.default_runtime_context_device;
    // The model has no ResourceNotFoundException here (`spec/api.md`).
    let device = devices::get(tx, scope, &device_id)?.ok_or_else(|| {
        Failure::invalid(
            "DefaultRuntimeContextDevice",
            format!("there is no device {device_id}"),
        )
    })?;
    let replaced = match &request.application_instance_id_to_replace {
        Some(old) => replaced(tx, scope, &device, old)?,
        None => None,
    };
    check_quotas(tx, scope, quotas, &device, replaced.as_deref(), now)?;
    let deployment = resolved(tx, scope, graph, overrides)?;
    let assets = pinned_assets(tx, scope, &deployment)?;
    check_cameras(tx, scope, &deployment)?;

    let nodes = node_rows(&deployment);
    let packages: Vec<InstancePackage> = deployment
        .packages
        .iter()
        .map(|pin| InstancePackage {
            owner: pin.owner.clone(),
            name: pin.name.clone(),
            version: pin.version.clone(),
            patch: pin.patch.clone(),
        })
        .collect();
    let stored = StoredDeployment::new(deployment, assets);
    let instance = Instance {
        id: id.to_owned(),
        name: request.name,
        description: request.description,
        device: device.id.clone(),
        device_name: device.name,
        role_arn: request.runtime_role_arn,
        replaces: request.application_instance_id_to_replace,
        manifest: request.manifest_payload,
        overrides: request.manifest_overrides_payload,
        deployment_json: stored.to_json().map_err(Failure::internal)?,
        desired_state: DesiredState::Running,
        generation: 0,
        deployed: None,
        removed: None,
        created: now,
        updated: now,
    };
    instances::insert(tx, scope, &instance, &nodes, &packages)?;
    inherit_confinement(tx, scope, &instance, now)?;
    let resource = format!("{}/{id}", ResourceType::ApplicationInstance.in_arn());
    tags::put(tx, scope, &resource, &request.tags)?;
    if let Some(old) = &replaced {
        instances::want_removed(tx, scope, old, now)?;
    }
    let generation = plan::replan(tx, scope, &device.id, now)?;
    instances::set_generation(tx, scope, id, generation)?;
    if let Some(old) = &replaced {
        instances::set_generation(tx, scope, old, generation)?;
    }
    Ok(generation)
}

/// The instance to take off the device; `None` when it is off already, which a published script
/// relies on (`spec/tools.md` section 2).
fn replaced(
    tx: &Tx<'_>,
    scope: &Scope,
    device: &Device,
    old: &str,
) -> Result<Option<String>, Failure> {
    const FIELD: &str = "ApplicationInstanceIdToReplace";
    let instance = instances::get(tx, scope, old)?.ok_or_else(|| {
        Failure::invalid(FIELD, format!("there is no application instance {old}"))
    })?;
    if instance.desired_state == DesiredState::Removed {
        return Ok(None);
    }
    if instance.device != device.id {
        return Err(Failure::invalid(
            FIELD,
            format!(
                "{old} runs on {}, not on {}; an instance is replaced on its own device",
                instance.device, device.id
            ),
        ));
    }
    Ok(Some(instance.id))
}

/// What was decided about an instance stays decided when the next version takes its place on the
/// same device; else an update would cut an application off, or lift its limits.
fn inherit_confinement(
    tx: &Tx<'_>,
    scope: &Scope,
    instance: &Instance,
    now: Micros,
) -> Result<(), Failure> {
    let Some(old) = &instance.replaces else {
        return Ok(());
    };
    let on_this_device =
        instances::get(tx, scope, old)?.is_some_and(|replaced| replaced.device == instance.device);
    if let Some(decided) = confinements::get(tx, scope, old)?.filter(|_| on_this_device) {
        let decided = confinements::Stored {
            revision: 1,
            updated: now,
            ..decided
        };
        confinements::put(tx, scope, &instance.id, &decided)?;
    }
    Ok(())
}

fn check_quotas(
    tx: &Tx<'_>,
    scope: &Scope,
    quotas: &Quotas,
    device: &Device,
    replaced: Option<&str>,
    now: Micros,
) -> Result<(), Failure> {
    let held = instances::held_by(tx, scope, &device.id)?
        .iter()
        .filter(|i| i.desired_state == DesiredState::Running && Some(i.id.as_str()) != replaced)
        .count() as u64;
    if held >= quotas.instances_per_device {
        return Err(Failure::Quota {
            code: "application-instances-per-device",
            message: format!(
                "The device {} has {held} application instances, which is the quota; remove one.",
                device.name
            ),
        });
    }
    let window = i64::try_from(DEPLOYMENT_WINDOW.as_micros()).unwrap_or(i64::MAX);
    let since = Micros(now.0.saturating_sub(window));
    if instances::created_since(tx, scope, &device.id, since)? >= quotas.deployments_per_device {
        return Err(Failure::Quota {
            code: "deployments-per-device-and-day",
            message: format!(
                "There were {} deployments to the device {} within 24 hours, which is the quota.",
                quotas.deployments_per_device, device.name
            ),
        });
    }
    Ok(())
}

/// The effective graph, with every package pinned to the patch it has at this moment.
fn resolved(
    tx: &Tx<'_>,
    scope: &Scope,
    graph: &Graph,
    overrides: Option<&Overrides>,
) -> Result<Deployment, Failure> {
    // The look-up can only say yes or no; a failure of the database is kept aside.
    let broken: RefCell<Option<Failure>> = RefCell::new(None);
    let lookup = |include: &PackageInclude| match registered(tx, scope, include) {
        Ok(found) => found,
        Err(failure) => {
            *broken.borrow_mut() = Some(failure);
            None
        }
    };
    let outcome = resolve(graph, overrides, &lookup);
    match broken.into_inner() {
        Some(failure) => Err(failure),
        None => Ok(outcome?),
    }
}

fn registered(
    tx: &Tx<'_>,
    scope: &Scope,
    include: &PackageInclude,
) -> Result<Option<RegisteredPackage>, Failure> {
    if include.name.owner != scope.account {
        return Ok(None);
    }
    let Some(package) = packages::get(tx, scope, PackageKey::Name(&include.name.package))? else {
        return Ok(None);
    };
    let found = match &include.patch {
        None => versions::latest(tx, scope, &package.id, &include.version)?,
        Some(patch) => {
            let key = PatchKey {
                package: package.id,
                version: include.version.clone(),
                patch: patch.clone(),
            };
            versions::get(tx, scope, &key)?
        }
    };
    match found.filter(|version| version.status == VersionStatus::Completed) {
        None => Ok(None),
        Some(version) => Ok(Some(RegisteredPackage {
            manifest: PackageManifest::parse(&version.manifest).map_err(Failure::internal)?,
            patch: version.key.patch,
        })),
    }
}

/// The contents and descriptors of code and model nodes, as they were pinned at registration.
fn pinned_assets(
    tx: &Tx<'_>,
    scope: &Scope,
    deployment: &Deployment,
) -> Result<BTreeMap<String, NodeAsset>, Failure> {
    let mut assets = BTreeMap::new();
    for node in &deployment.nodes {
        if !matches!(node.kind, NodeKind::Code | NodeKind::Model) {
            continue;
        }
        let asset = pinned_asset(tx, scope, node)?.ok_or_else(|| StoreError::Value {
            what: "pinned asset of a node",
            value: node.name.clone(),
        })?;
        assets.insert(node.name.clone(), asset);
    }
    Ok(assets)
}

fn pinned_asset(
    tx: &Tx<'_>,
    scope: &Scope,
    node: &DeployedNode,
) -> Result<Option<NodeAsset>, Failure> {
    let (Some(asset), Some(package)) = (
        &node.asset,
        packages::get(tx, scope, PackageKey::Name(&node.package.name))?,
    ) else {
        return Ok(None);
    };
    let key = PatchKey {
        package: package.id,
        version: node.package.version.clone(),
        patch: node.package.patch.clone(),
    };
    let pins = versions::pins(tx, scope, &key)?;
    let Some(pin) = pins.into_iter().find(|pin| pin.asset == asset.name) else {
        return Ok(None);
    };
    let blob = Blob {
        sha256: pin.sha256.parse().map_err(Failure::internal)?,
        bytes: pin.bytes,
    };
    let Some(text) = pin.descriptor else {
        return Ok(None);
    };
    Ok(match Descriptor::parse(&text).map_err(Failure::internal)? {
        Descriptor::Runtime(runtime) => NodeAsset::code(blob, &runtime),
        Descriptor::Model(model) => Some(NodeAsset::model(blob, &model)),
    })
}

/// Every camera must have an address by now.
fn check_cameras(tx: &Tx<'_>, scope: &Scope, deployment: &Deployment) -> Result<(), Failure> {
    for node in deployment
        .nodes
        .iter()
        .filter(|node| node.kind == NodeKind::Camera)
    {
        let (package, version) = (&node.package.name, &node.package.version);
        if cameras::get(tx, scope, package, version)?.is_none() {
            let reason = format!(
                "node {}: the camera package {package} {version} has no stream URL; give its input \
                 streamUrl a default, or make the camera with CreateNodeFromTemplateJob",
                node.name
            );
            return Err(Failure::Manifest {
                syntax: false,
                reason,
                fields: Vec::new(),
            });
        }
    }
    Ok(())
}

fn node_rows(deployment: &Deployment) -> Vec<InstanceNode> {
    let paused = paused_at_start(deployment);
    let row = |node: &DeployedNode| InstanceNode {
        node: node.name.clone(),
        node_id: node_id(
            &node.package.name,
            &node.package.version,
            &node.package.patch,
            &node.interface,
        ),
        owner: node.package.owner.clone(),
        package_name: node.package.name.clone(),
        version: node.package.version.clone(),
        patch: node.package.patch.clone(),
        interface: node.interface.clone(),
        category: node.category.as_api().to_owned(),
        paused: paused.contains(&node.name),
    };
    deployment.nodes.iter().map(row).collect()
}
