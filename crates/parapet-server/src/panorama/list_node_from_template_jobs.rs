//! `ListNodeFromTemplateJobs`: a page of the camera jobs, newest first.

use parapet_api::{
    ListNodeFromTemplateJobsRequest, ListNodeFromTemplateJobsResponse, NodeFromTemplateJob,
    Operation, TemplateType,
};

use crate::call::Call;
use crate::store::jobs;

use super::call::wire_time;
use super::describe_node_from_template_job::wire_status;
use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: ListNodeFromTemplateJobsRequest,
) -> Result<ListNodeFromTemplateJobsResponse, Failure> {
    let operation = Operation::ListNodeFromTemplateJobs;
    call.authorize_any(operation)?;
    let token = request.next_token.as_deref();
    let paging = call.paging(operation, &(), request.max_results, token)?;
    let (scope, after, limit) = (call.scope.clone(), paging.after.clone(), paging.limit);
    let page = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| Ok(jobs::list(connection, &scope, &after, limit)?))
        .await?;
    let node_from_template_jobs = page
        .rows
        .into_iter()
        .map(|job| NodeFromTemplateJob {
            created_time: wire_time(job.created),
            job_id: job.id,
            node_name: job.node_name,
            status: wire_status(job.status),
            status_message: job.status_message,
            template_type: TemplateType::RtspCameraStream,
        })
        .collect();
    let next_token = call.next_token(&paging, page.next.as_ref())?;
    Ok(ListNodeFromTemplateJobsResponse {
        node_from_template_jobs,
        next_token,
    })
}
