//! The service `panorama`: from an authenticated request to its answer, a file an operation.
//!
//! [`handle`] routes and reads the request (`parapet-api`), gives it to its operation, and writes
//! the answer or the error. An operation asks the caller's policies before it does anything,
//! reads and writes through the store alone, and answers only what is durable. Nothing here
//! verifies signatures or speaks to devices.

pub mod call;
mod create_application_instance;
mod create_node_from_template_job;
mod create_package;
mod delete_device;
mod delete_package;
mod deregister_package_version;
mod describe_application_instance;
mod describe_application_instance_details;
mod describe_device;
mod describe_node;
mod describe_node_from_template_job;
mod describe_package;
mod describe_package_version;
pub mod failure;
mod list_application_instance_dependencies;
mod list_application_instance_node_instances;
mod list_application_instances;
mod list_devices;
mod list_node_from_template_jobs;
mod list_nodes;
mod list_packages;
mod list_tags_for_resource;
mod provision_device;
mod register_package_version;
mod remove_application_instance;
mod signal_application_instance_node_instances;
mod tag_resource;
pub mod token;
mod untag_resource;
mod update_device_metadata;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use parapet_api::{ApiError, Request};
use serde::Serialize;

use crate::audit::{Access, Outcome};
use crate::call::{Call, Incoming};

pub use create_node_from_template_job::resume_jobs;
pub use failure::Failure;

/// Answers one request.
pub async fn handle(call: &Call, incoming: Incoming<'_>) -> Response<Bytes> {
    let outcome = answer(call, incoming).await;
    let mut response = match outcome {
        Ok(body) => Response::new(Bytes::from(body)),
        Err(error) => error_response(&error),
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Ok(id) = HeaderValue::from_str(incoming.request_id) {
        headers.insert("x-amzn-RequestId", id);
    }
    response
}

async fn answer(call: &Call, incoming: Incoming<'_>) -> Result<Vec<u8>, ApiError> {
    let Incoming {
        method,
        raw_path,
        query,
        body,
        request_id,
    } = incoming;
    let route = parapet_api::route(method, raw_path)?;
    let operation = route.operation;
    let access = if method == "GET" {
        Access::Read
    } else {
        Access::Write
    };
    call.draft.operation("panorama", operation.name(), access);
    let labels = route.labels.iter();
    let labels = labels.map(|(name, value)| (*name, value.as_str()));
    call.draft.parameters(&incoming.members(labels));
    let request = Request::read(route, query, body)?;
    dispatch(call, request)
        .await
        .map_err(|failure| to_api(failure, operation.name(), request_id))
}

/// What the caller is told of a failure; what the caller is not told goes to the log.
#[must_use]
pub fn to_api(failure: Failure, operation: &str, request_id: &str) -> ApiError {
    match &failure {
        Failure::Internal(source) => {
            let mut causes = source.to_string();
            let mut next = source.source();
            while let Some(cause) = next {
                causes = format!("{causes}: {cause}");
                next = cause.source();
            }
            tracing::error!(operation, request_id, error = %causes, "operation failed");
        }
        refused => tracing::info!(operation, request_id, error = %refused, "request refused"),
    }
    failure.into_api()
}

/// An error as an answer of this protocol.
#[must_use]
pub fn error_response(error: &ApiError) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(error.body()));
    *response.status_mut() =
        StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(
        "x-amzn-ErrorType",
        HeaderValue::from_static(error.error_type()),
    );
    if let Some(seconds) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    let outcome = Outcome::failure(error.error_type(), &error.to_string());
    response.extensions_mut().insert(outcome);
    response
}

async fn dispatch(call: &Call, request: Request) -> Result<Vec<u8>, Failure> {
    /// One arm an operation: its function, its answer as a body.
    macro_rules! operations {
        ($($name:ident => $module:ident),+ $(,)?) => {
            match request {
                $(Request::$name(request) => body(&$module::call(call, request).await?)),+
            }
        };
    }
    operations! {
        ProvisionDevice => provision_device,
        ListDevices => list_devices,
        DescribeDevice => describe_device,
        UpdateDeviceMetadata => update_device_metadata,
        DeleteDevice => delete_device,
        CreateNodeFromTemplateJob => create_node_from_template_job,
        ListNodeFromTemplateJobs => list_node_from_template_jobs,
        DescribeNodeFromTemplateJob => describe_node_from_template_job,
        DescribePackage => describe_package,
        DescribePackageVersion => describe_package_version,
        RegisterPackageVersion => register_package_version,
        DeregisterPackageVersion => deregister_package_version,
        DeletePackage => delete_package,
        CreatePackage => create_package,
        ListPackages => list_packages,
        ListNodes => list_nodes,
        DescribeNode => describe_node,
        CreateApplicationInstance => create_application_instance,
        ListApplicationInstances => list_application_instances,
        DescribeApplicationInstance => describe_application_instance,
        DescribeApplicationInstanceDetails => describe_application_instance_details,
        ListApplicationInstanceDependencies => list_application_instance_dependencies,
        ListApplicationInstanceNodeInstances => list_application_instance_node_instances,
        SignalApplicationInstanceNodeInstances => signal_application_instance_node_instances,
        RemoveApplicationInstance => remove_application_instance,
        TagResource => tag_resource,
        UntagResource => untag_resource,
        ListTagsForResource => list_tags_for_resource,
    }
}

fn body<T: Serialize>(response: &T) -> Result<Vec<u8>, Failure> {
    parapet_api::to_body(response).map_err(Failure::internal)
}

#[cfg(test)]
mod tests;
