//! Jobs that make a node from a template.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, Page, Position, Scope, StoreError, Tx};

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateJob {
    /// A UUID.
    pub id: String,
    /// Interface to make.
    pub node_name: String,
    /// As given.
    pub node_description: Option<String>,
    /// Package to make.
    pub package_name: String,
    /// Version to make.
    pub package_version: String,
    /// `TemplateType` of the API.
    pub template_type: String,
    /// `TemplateParameters` with masked credentials, as JSON.
    pub parameters_json: String,
    /// `JobTags` as JSON, as given.
    pub job_tags_json: Option<String>,
    /// How far it is.
    pub status: JobStatus,
    /// Why it failed; else empty.
    pub status_message: String,
    /// The secret that waits for the camera to name it; `None` once the job is over.
    pub secret: Option<String>,
    /// When it was asked for.
    pub created: Micros,
    /// Last change.
    pub updated: Micros,
}

/// `NodeFromTemplateJobStatus` of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// Waits or runs.
    Pending,
    /// The camera is there.
    Succeeded,
    /// It is not; see the message.
    Failed,
}

impl JobStatus {
    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "PENDING" => Ok(Self::Pending),
            "SUCCEEDED" => Ok(Self::Succeeded),
            "FAILED" => Ok(Self::Failed),
            other => Err(StoreError::unknown("job status", other)),
        }
    }
}

const COLUMNS: &str = "id, node_name, node_description, package_name, package_version, \
                       template_type, parameters_json, job_tags_json, status, status_message, \
                       secret, created_us, updated_us";

fn read(row: &Row<'_>) -> Result<TemplateJob, StoreError> {
    Ok(TemplateJob {
        id: row.get(0)?,
        node_name: row.get(1)?,
        node_description: row.get(2)?,
        package_name: row.get(3)?,
        package_version: row.get(4)?,
        template_type: row.get(5)?,
        parameters_json: row.get(6)?,
        job_tags_json: row.get(7)?,
        status: JobStatus::parse(&row.get::<_, String>(8)?)?,
        status_message: row.get(9)?,
        secret: row.get(10)?,
        created: row.get(11)?,
        updated: row.get(12)?,
    })
}

/// Adds a job.
pub fn insert(tx: &Tx<'_>, scope: &Scope, job: &TemplateJob) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO template_jobs (account, region, id, node_name, node_description,
            package_name, package_version, template_type, parameters_json, job_tags_json, status,
            status_message, secret, created_us, updated_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        scope.account,
        scope.region,
        job.id,
        job.node_name,
        job.node_description,
        job.package_name,
        job.package_version,
        job.template_type,
        job.parameters_json,
        job.job_tags_json,
        job.status.as_str(),
        job.status_message,
        job.secret,
        job.created,
        job.updated,
    ])?;
    Ok(())
}

/// Ends a job and lets go of the secret it kept; `false` when it has ended already.
pub fn finish(
    tx: &Tx<'_>,
    scope: &Scope,
    id: &str,
    status: JobStatus,
    message: &str,
    now: Micros,
) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE template_jobs
             SET status = ?4, status_message = ?5, secret = NULL, updated_us = ?6
             WHERE account = ?1 AND region = ?2 AND id = ?3 AND status = 'PENDING'",
        )?
        .execute(params![
            scope.account,
            scope.region,
            id,
            status.as_str(),
            message,
            now
        ])?;
    Ok(changed == 1)
}

/// The job with this ID.
pub fn get(
    connection: &Connection,
    scope: &Scope,
    id: &str,
) -> Result<Option<TemplateJob>, StoreError> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM template_jobs
             WHERE account = ?1 AND region = ?2 AND id = ?3"
        ))?
        .query_row(params![scope.account, scope.region, id], |row| {
            Ok(read(row))
        })
        .optional()?
        .transpose()
}

/// Jobs older than `after`, newest first.
pub fn list(
    connection: &Connection,
    scope: &Scope,
    after: &Position,
    limit: usize,
) -> Result<Page<TemplateJob>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM template_jobs
         WHERE account = ?1 AND region = ?2 AND (created_us, id) < (?3, ?4)
         ORDER BY created_us DESC, id DESC LIMIT ?5"
    ))?;
    let rows = statement
        .query_and_then(
            params![
                scope.account,
                scope.region,
                after.created_us,
                after.id,
                super::page::one_more(limit)
            ],
            read,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Page::cut(rows, limit, |job| {
        Position::of(job.created, &job.id)
    }))
}

/// The jobs of every account and region that have not ended: to be taken up at start.
pub fn unfinished(connection: &Connection) -> Result<Vec<(Scope, String)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT account, region, id FROM template_jobs WHERE status = 'PENDING'
         ORDER BY created_us, id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok((
            Scope {
                account: row.get(0)?,
                region: row.get(1)?,
            },
            row.get(2)?,
        ))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
