//! `DescribeNodeFromTemplateJob`.

use parapet_api::{
    DescribeNodeFromTemplateJobRequest, DescribeNodeFromTemplateJobResponse,
    NodeFromTemplateJobStatus, Operation, TemplateType,
};

use crate::call::Call;
use crate::store::StoreError;
use crate::store::jobs::{self, JobStatus};

use super::call::wire_time;
use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: DescribeNodeFromTemplateJobRequest,
) -> Result<DescribeNodeFromTemplateJobResponse, Failure> {
    call.authorize_any(Operation::DescribeNodeFromTemplateJob)?;
    let (scope, id) = (call.scope.clone(), request.job_id.clone());
    let found = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| Ok(jobs::get(connection, &scope, &id)?))
        .await?;
    // The model has no ResourceNotFoundException here (`spec/api.md`).
    let job = found
        .ok_or_else(|| Failure::invalid("JobId", format!("there is no job {}", request.job_id)))?;
    let document = |source| StoreError::Document {
        what: "template job",
        source,
    };
    Ok(DescribeNodeFromTemplateJobResponse {
        created_time: wire_time(job.created),
        job_id: job.id,
        job_tags: match &job.job_tags_json {
            Some(json) => serde_json::from_str(json).map_err(document)?,
            None => Vec::new(),
        },
        last_updated_time: wire_time(job.updated),
        node_description: job.node_description,
        node_name: job.node_name,
        output_package_name: job.package_name,
        output_package_version: job.package_version,
        status: wire_status(job.status),
        status_message: job.status_message,
        template_parameters: serde_json::from_str(&job.parameters_json).map_err(document)?,
        template_type: TemplateType::RtspCameraStream,
    })
}

pub(super) fn wire_status(status: JobStatus) -> NodeFromTemplateJobStatus {
    match status {
        JobStatus::Pending => NodeFromTemplateJobStatus::Pending,
        JobStatus::Succeeded => NodeFromTemplateJobStatus::Succeeded,
        JobStatus::Failed => NodeFromTemplateJobStatus::Failed,
    }
}
