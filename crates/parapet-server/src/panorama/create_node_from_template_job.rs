//! `CreateNodeFromTemplateJob`: registers a camera.
//!
//! The job is durable before its ID is answered, and carried out right after; one that a crash
//! interrupts is carried out at the next start ([`resume_jobs`]).

use std::collections::BTreeMap;

use parapet_api::{
    CreateNodeFromTemplateJobRequest, CreateNodeFromTemplateJobResponse, JobResourceTags,
    Operation, PackageId, SecretId, Tags, WireEnum as _, job_id,
};
use parapet_device::desired::CameraSecret;

use crate::call::Call;
use crate::context::Context;
use crate::registry::camera;
use crate::registry::version::{self, Checked};
use crate::store::cameras::{self, Camera, SecretVersion};
use crate::store::jobs::{self, JobStatus, TemplateJob};
use crate::store::packages::{self, Package, PackageKey};
use crate::store::{Micros, Scope, StoreError, Tx, secrets, tags, versions};

use super::call::random_bits;
use super::failure::Failure;
use super::register_package_version::complete;

pub(super) async fn call(
    call: &Call,
    request: CreateNodeFromTemplateJobRequest,
) -> Result<CreateNodeFromTemplateJobResponse, Failure> {
    let operation = Operation::CreateNodeFromTemplateJob;
    call.authorize_any(operation)?;
    camera::check_parameters(&request.template_parameters, call.ctx.cameras)?;

    let now = Micros::now();
    let id = job_id(random_bits()?);
    let secret = match &request.template_parameters.username {
        Some(username) => {
            let id = SecretId::from_random(random_bits()?).to_string();
            let credentials = CameraSecret {
                version: 1,
                username: username.clone(),
                password: request
                    .template_parameters
                    .password
                    .clone()
                    .unwrap_or_default(),
            };
            let wrapped = call
                .ctx
                .seal_camera(&id, &credentials)
                .map_err(Failure::internal)?;
            Some((id, wrapped))
        }
        None => None,
    };
    let json = |value: serde_json::Result<String>| value.map_err(Failure::internal);
    let job = TemplateJob {
        id: id.clone(),
        node_name: request.node_name,
        node_description: request.node_description,
        package_name: request.output_package_name,
        package_version: request.output_package_version,
        template_type: request.template_type.as_str().to_owned(),
        parameters_json: json(serde_json::to_string(&request.template_parameters.masked()))?,
        job_tags_json: Some(json(serde_json::to_string(&request.job_tags))?),
        status: JobStatus::Pending,
        status_message: String::new(),
        secret: secret.as_ref().map(|(id, _)| id.clone()),
        created: now,
        updated: now,
    };
    let scope = call.scope.clone();
    call.write::<_, Failure, _>(move |tx| {
        if let Some((id, wrapped)) = &secret {
            secrets::insert(tx, &scope, id, 1, wrapped, now)?;
        }
        Ok(jobs::insert(tx, &scope, &job)?)
    })
    .await?;
    if let Err(failure) = run(&call.ctx, &call.scope, &id).await {
        // The job is accepted and stays pending; the next start of the server tries again.
        tracing::error!(job = id, error = ?failure, "could not carry out a template job");
    }
    Ok(CreateNodeFromTemplateJobResponse { job_id: id })
}

/// Carries out the jobs that were accepted and not finished. Call it once at start.
pub async fn resume_jobs(ctx: &Context) -> Result<(), StoreError> {
    for (scope, id) in ctx.store.read::<_, StoreError, _>(jobs::unfinished).await? {
        if let Err(failure) = run(ctx, &scope, &id).await {
            tracing::error!(job = id, error = ?failure, "could not carry out a template job");
        }
    }
    Ok(())
}

async fn run(ctx: &Context, scope: &Scope, id: &str) -> Result<(), Failure> {
    let package_id = PackageId::from_random(random_bits()?).to_string();
    let (scope, id, quotas) = (scope.clone(), id.to_owned(), ctx.quotas);
    ctx.store
        .write::<_, Failure, _>(move |tx| {
            let Some(job) = jobs::get(tx, &scope, &id)? else {
                return Ok(());
            };
            if job.status != JobStatus::Pending {
                return Ok(());
            }
            let now = Micros::now();
            match make_camera(
                tx,
                &scope,
                &job,
                package_id,
                quotas.versions_per_package,
                now,
            )? {
                Ok(()) => jobs::finish(tx, &scope, &id, JobStatus::Succeeded, "", now)?,
                Err(reason) => {
                    let ended = jobs::finish(tx, &scope, &id, JobStatus::Failed, &reason, now)?;
                    cameras::forget_unused(tx, &scope)?;
                    ended
                }
            };
            Ok(())
        })
        .await
}

/// Package, version, node and settings of a camera; or why it cannot be made.
fn make_camera(
    tx: &Tx<'_>,
    scope: &Scope,
    job: &TemplateJob,
    new_package_id: String,
    versions_per_package: u64,
    now: Micros,
) -> Result<Result<(), String>, Failure> {
    let (name, version) = (&job.package_name, &job.package_version);
    let parameters: BTreeMap<String, String> =
        serde_json::from_str(&job.parameters_json).map_err(|source| StoreError::Document {
            what: "template parameters",
            source,
        })?;
    let url = parameters.get("StreamUrl").cloned().unwrap_or_default();
    let package = if let Some(package) = packages::get(tx, scope, PackageKey::Name(name))? {
        package
    } else {
        let package = Package {
            id: new_package_id,
            name: name.clone(),
            created: now,
        };
        packages::insert(tx, scope, &package)?;
        package
    };
    let registered = versions::of_package(tx, scope, &package.id)?;
    if registered.iter().any(|patch| patch.key.version == *version) {
        return Ok(Err(format!(
            "The package {name} has a version {version} already; choose another version or \
             another name, or change the camera in place with UpdateCamera."
        )));
    }
    if registered.len() as u64 >= versions_per_package {
        return Ok(Err(version::quota_message(name)));
    }
    let description = job.node_description.as_deref();
    let manifest = camera::package_json(name, version, &job.node_name, description, &url)
        .map_err(Failure::internal)?;
    let checked = match Checked::manifest(name, version, manifest.as_bytes()) {
        Ok(checked) => checked,
        // The template's own text: only the node's name or description can be at fault.
        Err(reason) => return Ok(Err(reason)),
    };
    complete(tx, scope, &package, &checked, &[], true, now)?;
    let secret = job
        .secret
        .clone()
        .map(|id| SecretVersion { id, version: 1 });
    let settings = Camera {
        package_name: name.clone(),
        version: version.clone(),
        url,
        secret,
        updated: now,
    };
    cameras::put(tx, scope, &settings)?;
    let job_tags: Vec<JobResourceTags> = match &job.job_tags_json {
        Some(json) => serde_json::from_str(json).map_err(|source| StoreError::Document {
            what: "job tags",
            source,
        })?,
        None => Vec::new(),
    };
    let all: Tags = job_tags.into_iter().flat_map(|tags| tags.tags).collect();
    tags::put(tx, scope, &format!("package/{}", package.id), &all)?;
    Ok(Ok(()))
}
