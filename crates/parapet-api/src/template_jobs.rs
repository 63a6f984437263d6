//! Cameras from the RTSP template: requests, responses and shapes (`spec/api.md` sections 5, 6).
#![expect(
    missing_docs,
    reason = "members carry the names and meanings of the API: spec/api.md sections 6 and 7"
)]

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::enums::{JobResourceType, NodeFromTemplateJobStatus, TemplateType};
use crate::error::ValidationException;
use crate::read::{Members, Parts, Reader};
use crate::rule;
use crate::time::Timestamp;

/// What stands for a credential in answers.
pub const SAVED_AS_SECRET: &str = "SAVED_AS_SECRET";

/// Members of `TemplateParameters`; the template knows three.
const MAX_TEMPLATE_PARAMETERS: usize = 16;
/// Entries of `JobTags`; the model names no bound.
const MAX_JOB_TAGS: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateNodeFromTemplateJobRequest {
    pub job_tags: Vec<JobResourceTags>,
    pub node_description: Option<String>,
    pub node_name: String,
    pub output_package_name: String,
    pub output_package_version: String,
    pub template_parameters: RtspCameraParameters,
    pub template_type: TemplateType,
}

/// `TemplateParameters` of `RTSP_CAMERA_STREAM`. Its `Debug` form shows no credential.
#[derive(Clone, PartialEq, Eq)]
pub struct RtspCameraParameters {
    /// `rtsp://…`, as given.
    pub stream_url: String,
    /// To be kept as a secret.
    pub username: Option<String>,
    /// To be kept as a secret.
    pub password: Option<String>,
}

impl RtspCameraParameters {
    /// As answers show them: the credentials masked.
    #[must_use]
    pub fn masked(&self) -> BTreeMap<String, String> {
        let credential =
            |name: &str, given: bool| given.then(|| (name.to_owned(), SAVED_AS_SECRET.to_owned()));
        [
            Some(("StreamUrl".to_owned(), self.stream_url.clone())),
            credential("Username", self.username.is_some()),
            credential("Password", self.password.is_some()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl fmt::Debug for RtspCameraParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtspCameraParameters")
            .finish_non_exhaustive()
    }
}

impl CreateNodeFromTemplateJobRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let body = reader.body();
        let template_type = reader.needed_choice(&body, "TemplateType");
        let request = Self {
            job_tags: JobResourceTags::read_list(&mut reader, &body),
            node_description: reader.text(&body, "NodeDescription", rule::DESCRIPTION),
            node_name: reader.needed_text(&body, "NodeName", rule::NODE_NAME),
            output_package_name: reader.needed_text(&body, "OutputPackageName", rule::PACKAGE_NAME),
            output_package_version: reader.needed_text(
                &body,
                "OutputPackageVersion",
                rule::PACKAGE_VERSION,
            ),
            template_parameters: read_parameters(&mut reader, &body),
            template_type: template_type.unwrap_or(TemplateType::RtspCameraStream),
        };
        reader.finish(request)
    }
}

fn read_parameters<'a>(reader: &mut Reader<'a>, body: &Members<'a>) -> RtspCameraParameters {
    let name = "TemplateParameters";
    let mut map = reader.sensitive_map(body, name, rule::LINE_255, MAX_TEMPLATE_PARAMETERS);
    let parameters = RtspCameraParameters {
        stream_url: map.remove("StreamUrl").unwrap_or_default(),
        username: map.remove("Username"),
        password: map.remove("Password"),
    };
    for unknown in map.keys() {
        let message = "is not known; RTSP_CAMERA_STREAM takes StreamUrl, Username and Password";
        reader.fault(format!("{name}.{unknown}"), message);
    }
    check_stream_url(reader, &format!("{name}.StreamUrl"), &parameters.stream_url);
    parameters
}

fn check_stream_url(reader: &mut Reader<'_>, path: &str, url: &str) {
    // Whether files may be cameras is the control plane's to say.
    let rest = ["rtsp://", "rtsps://", "file:///"]
        .iter()
        .find_map(|scheme| {
            let head = url.get(..scheme.len())?;
            head.eq_ignore_ascii_case(scheme)
                .then(|| &url[scheme.len()..])
        });
    if url.is_empty() {
        return reader.fault(path, "is missing; needs rtsp://host[:port]/path");
    }
    let Some(rest) = rest else {
        // The value is not shown: it may hold a password.
        return reader.fault(path, "needs rtsp://host[:port]/path");
    };
    if url.starts_with("file:///") {
        return;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        let message = "holds credentials; give them as Username and Password and leave them out \
                       of the URL";
        reader.fault(path, message);
    } else if authority.is_empty() || url.contains(char::is_whitespace) {
        reader.fault(path, "needs rtsp://host[:port]/path, without blanks");
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateNodeFromTemplateJobResponse {
    pub job_id: String,
}

/// Tags for what a job makes; also stored with the job, hence readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct JobResourceTags {
    pub resource_type: JobResourceType,
    pub tags: Tags,
}

impl JobResourceTags {
    fn read_list<'a>(reader: &mut Reader<'a>, body: &Members<'a>) -> Vec<Self> {
        let entries = reader
            .objects(body, "JobTags", MAX_JOB_TAGS)
            .unwrap_or_default();
        entries
            .iter()
            .filter_map(|entry| {
                let resource_type = reader.needed_choice(entry, "ResourceType");
                reader.need(entry, "Tags");
                let tags = reader.tags(entry, "Tags").unwrap_or_default();
                let resource_type = resource_type?;
                Some(Self {
                    resource_type,
                    tags,
                })
            })
            .collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeNodeFromTemplateJobRequest {
    pub job_id: String,
}

impl DescribeNodeFromTemplateJobRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let request = Self {
            job_id: reader.label("JobId", rule::JOB_ID),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeNodeFromTemplateJobResponse {
    pub created_time: Timestamp,
    pub job_id: String,
    pub job_tags: Vec<JobResourceTags>,
    pub last_updated_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_description: Option<String>,
    pub node_name: String,
    pub output_package_name: String,
    pub output_package_version: String,
    pub status: NodeFromTemplateJobStatus,
    pub status_message: String,
    /// From [`RtspCameraParameters::masked`].
    pub template_parameters: BTreeMap<String, String>,
    pub template_type: TemplateType,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListNodeFromTemplateJobsRequest {
    pub max_results: Option<u32>,
    pub next_token: Option<String>,
}

impl ListNodeFromTemplateJobsRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let request = Self {
            max_results: reader.max_results("MaxResults"),
            next_token: reader.next_token("NextToken"),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListNodeFromTemplateJobsResponse {
    pub node_from_template_jobs: Vec<NodeFromTemplateJob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeFromTemplateJob {
    pub created_time: Timestamp,
    pub job_id: String,
    pub node_name: String,
    pub status: NodeFromTemplateJobStatus,
    pub status_message: String,
    pub template_type: TemplateType,
}
