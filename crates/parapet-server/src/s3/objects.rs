//! Operations on objects, and the way to those on uploads.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CommonPrefix,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, ETag,
    GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput, GetObjectOutput,
    HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput,
    Object, ObjectStorageClass, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::operation::{Operation, Unmade};
use super::sink::{Place, Sink};
use crate::call::{Ask, Call};
use crate::context::Context;
use crate::store::{Micros, Scope, StoreError, objects};

/// Rows that one answer of a listing looks at: each key counts, also where a common prefix hides
/// it, so that an answer takes bounded time.
const PAGE: usize = 1_000;
/// Longest key, as S3 has it.
const KEY_BYTES: usize = 1_024;

/// The one bucket.
pub(super) struct Bucket {
    pub(super) context: Arc<Context>,
    name: String,
}

impl Bucket {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let name = format!("panorama-{}-nodepackages", context.scope.account);
        Self { context, name }
    }

    /// Looks at bucket, key and policy before anything else.
    pub(super) fn admit<T>(
        &self,
        request: &S3Request<T>,
        operation: Operation,
        bucket: &str,
        key: Option<&str>,
    ) -> S3Result<Call> {
        let call = request.extensions.get::<Call>().cloned();
        let call = call.ok_or_else(|| s3_error!(AccessDenied, "Access Denied"))?;
        call.draft
            .operation("s3", operation.name(), operation.access());
        call.draft
            .parameters(&json!({ "bucketName": bucket, "key": key }));
        // The original's policies know the bucket by the access point in front of it
        // (`spec/security.md` section 3); here the two are one.
        let Scope { account, region } = &call.scope;
        let point = format!("arn:aws:s3:{region}:{account}:accesspoint/{bucket}");
        let (resource, behind) = match key {
            Some(key) => (
                format!("arn:aws:s3:::{bucket}/{key}"),
                format!("{point}/object/{key}"),
            ),
            None => (format!("arn:aws:s3:::{bucket}"), point.clone()),
        };
        let ask = Ask::new(operation.action(), &resource)
            .or_named(&behind)
            .with("s3:DataAccessPointArn", point.as_str())
            .with("s3:DataAccessPointAccount", account.as_str());
        call.authorize(&ask)
            .map_err(|denied| s3_error!(AccessDenied, "{denied}"))?;
        if bucket != self.name {
            return Err(s3_error!(
                NoSuchBucket,
                "The specified bucket does not exist"
            ));
        }
        if key.is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES) {
            return Err(s3_error!(KeyTooLongError, "Your key is too long"));
        }
        Ok(call)
    }

    async fn find(&self, key: &str) -> S3Result<objects::Object> {
        let (scope, bucket, key) = (
            self.context.scope.clone(),
            self.name.clone(),
            key.to_owned(),
        );
        self.context
            .store
            .read(move |connection| objects::get(connection, &scope, &bucket, &key))
            .await
            .map_err(internal::<StoreError>)?
            .ok_or_else(|| s3_error!(NoSuchKey, "The specified key does not exist."))
    }

    /// Makes an object visible.
    async fn put_row(&self, call: &Call, object: objects::Object) -> S3Result<()> {
        let (scope, bucket) = (self.context.scope.clone(), self.name.clone());
        call.write::<_, Unmade, _>(move |tx| Ok(objects::put(tx, &scope, &bucket, &object)?))
            .await?;
        Ok(())
    }

    async fn list(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        after: &str,
        max_keys: Option<i32>,
    ) -> S3Result<Listing> {
        let limit = usize::try_from(max_keys.unwrap_or(1_000))
            .unwrap_or(0)
            .min(PAGE);
        let (scope, bucket) = (self.context.scope.clone(), self.name.clone());
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        let delimiter = delimiter.filter(|text| !text.is_empty()).map(str::to_owned);
        self.context
            .store
            .read(move |connection| {
                let mut listing = Listing::default();
                let mut after = after;
                loop {
                    let rows = objects::list(connection, &scope, &bucket, &prefix, &after, PAGE)?;
                    let last = rows.len() < PAGE;
                    for row in rows {
                        let group = delimiter.as_ref().and_then(|delimiter| {
                            let rest = &row.key[prefix.len()..];
                            rest.find(delimiter.as_str())
                                .map(|at| row.key[..prefix.len() + at + delimiter.len()].to_owned())
                        });
                        let known = group.is_some() && listing.prefixes.last() == group.as_ref();
                        // A page that ended with this group has shown it.
                        let shown = group.as_ref().is_some_and(|group| after.starts_with(group));
                        if !known && !shown {
                            if listing.rows.len() + listing.prefixes.len() >= limit {
                                listing.truncated = true;
                                return Ok(listing);
                            }
                            match group {
                                Some(group) => listing.prefixes.push(group),
                                None => listing.rows.push(row.clone()),
                            }
                        }
                        listing.next.clone_from(&row.key);
                        after = row.key;
                    }
                    if last {
                        return Ok(listing);
                    }
                }
            })
            .await
            .map_err(internal::<StoreError>)
    }
}

/// A part of a bucket's keys.
#[derive(Default)]
struct Listing {
    rows: Vec<objects::Object>,
    prefixes: Vec<String>,
    /// Last key that was looked at.
    next: String,
    truncated: bool,
}

impl Listing {
    fn contents(&self) -> Vec<Object> {
        self.rows
            .iter()
            .map(|row| Object {
                key: Some(row.key.clone()),
                e_tag: Some(ETag::Strong(row.etag.clone())),
                last_modified: Some(timestamp(row.modified)),
                size: Some(length(row.bytes)),
                storage_class: Some(ObjectStorageClass::from_static("STANDARD")),
                ..Object::default()
            })
            .collect()
    }

    fn common_prefixes(&self) -> Vec<CommonPrefix> {
        let prefixes = self.prefixes.iter();
        prefixes
            .map(|prefix| CommonPrefix {
                prefix: Some(prefix.clone()),
            })
            .collect()
    }
}

#[async_trait]
impl S3 for Bucket {
    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.admit(&request, Operation::HeadBucket, &request.input.bucket, None)?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(self.context.scope.region.clone()),
            ..HeadBucketOutput::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.admit(
            &request,
            Operation::GetBucketLocation,
            &request.input.bucket,
            None,
        )?;
        Ok(S3Response::new(GetBucketLocationOutput {
            location_constraint: Some(self.context.scope.region.clone().into()),
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = &request.input;
        self.admit(
            &request,
            Operation::HeadObject,
            &input.bucket,
            Some(&input.key),
        )?;
        let object = self.find(&input.key).await?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(object.bytes)),
            content_type: object.content_type,
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(timestamp(object.modified)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = &request.input;
        self.admit(
            &request,
            Operation::GetObject,
            &input.bucket,
            Some(&input.key),
        )?;
        let object = self.find(&input.key).await?;
        let range = match &input.range {
            Some(range) => Some(range.check(object.bytes)?),
            None => None,
        };
        let (start, bytes) = range.as_ref().map_or((0, object.bytes), |range| {
            (range.start, range.end - range.start)
        });
        let digest = object.sha256.parse().map_err(internal)?;
        let mut file = tokio::fs::File::open(self.context.blobs.path(&digest))
            .await
            .map_err(internal)?;
        file.seek(std::io::SeekFrom::Start(start))
            .await
            .map_err(internal)?;
        let stream = ReaderStream::with_capacity(file.take(bytes), 128 * 1024);
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::wrap(stream)),
            content_length: Some(length(bytes)),
            content_range: range
                .map(|range| format!("bytes {}-{}/{}", range.start, range.end - 1, object.bytes)),
            content_type: object.content_type,
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(timestamp(object.modified)),
            ..GetObjectOutput::default()
        }))
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let call = self.admit(
            &request,
            Operation::PutObject,
            &request.input.bucket,
            Some(&request.input.key),
        )?;
        let input = request.input;
        let sink = Sink::begin(&self.context.blobs, Place::Content);
        let written = drain(input.body, sink).await?;
        check_md5(input.content_md5.as_deref(), &written.md5)?;
        let digest = written
            .digest
            .ok_or_else(|| s3_error!(InternalError, "the content has no name"))?;
        self.put_row(
            &call,
            objects::Object {
                key: input.key,
                sha256: digest.to_string(),
                bytes: written.bytes,
                etag: written.md5.clone(),
                content_type: input.content_type,
                modified: Micros::now(),
            },
        )
        .await?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(written.md5)),
            ..PutObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let call = self.admit(
            &request,
            Operation::DeleteObject,
            &request.input.bucket,
            Some(&request.input.key),
        )?;
        let (scope, bucket) = (self.context.scope.clone(), self.name.clone());
        let key = request.input.key;
        call.write::<_, Unmade, _>(move |tx| Ok(objects::delete(tx, &scope, &bucket, &key)?))
            .await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        self.admit(
            &request,
            Operation::ListObjects,
            &request.input.bucket,
            None,
        )?;
        let input = request.input;
        let (prefix, marker) = (
            input.prefix.unwrap_or_default(),
            input.marker.unwrap_or_default(),
        );
        let listing = self
            .list(&prefix, input.delimiter.as_deref(), &marker, input.max_keys)
            .await?;
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            contents: Some(listing.contents()),
            common_prefixes: Some(listing.common_prefixes()),
            next_marker: listing.truncated.then(|| listing.next.clone()),
            is_truncated: Some(listing.truncated),
            max_keys: Some(input.max_keys.unwrap_or(1_000)),
            prefix: Some(prefix),
            marker: Some(marker),
            delimiter: input.delimiter,
            ..ListObjectsOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.admit(
            &request,
            Operation::ListObjectsV2,
            &request.input.bucket,
            None,
        )?;
        let input = request.input;
        let prefix = input.prefix.unwrap_or_default();
        let after = match &input.continuation_token {
            Some(token) => data_encoding::BASE64URL_NOPAD
                .decode(token.as_bytes())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| {
                    s3_error!(
                        InvalidArgument,
                        "The continuation token provided is incorrect"
                    )
                })?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let listing = self
            .list(&prefix, input.delimiter.as_deref(), &after, input.max_keys)
            .await?;
        let count = listing.rows.len() + listing.prefixes.len();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            contents: Some(listing.contents()),
            common_prefixes: Some(listing.common_prefixes()),
            key_count: Some(i32::try_from(count).unwrap_or(i32::MAX)),
            next_continuation_token: listing
                .truncated
                .then(|| data_encoding::BASE64URL_NOPAD.encode(listing.next.as_bytes())),
            is_truncated: Some(listing.truncated),
            max_keys: Some(input.max_keys.unwrap_or(1_000)),
            prefix: Some(prefix),
            delimiter: input.delimiter,
            start_after: input.start_after,
            continuation_token: input.continuation_token,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.begin_upload(request).await
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        self.take_part(request).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.complete_upload(request).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.abort_upload(request).await
    }

    async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        self.parts_of_upload(request).await
    }
}

/// Reads a body to its proven end into a sink.
pub(super) async fn drain(
    body: Option<StreamingBlob>,
    mut sink: Sink,
) -> S3Result<super::sink::Written> {
    if let Some(body) = body {
        let mut body = body.map(|piece: Result<Bytes, _>| piece);
        // What is wrong with the body is found in its fault slot; this error never reaches anybody.
        while let Some(piece) = body
            .try_next()
            .await
            .map_err(|_| s3_error!(IncompleteBody, "The body could not be read to its end"))?
        {
            sink.write(piece).await.map_err(internal)?;
        }
    }
    sink.keep().await.map_err(internal)
}

/// `Content-MD5`, where a client sends it.
pub(super) fn check_md5(given: Option<&str>, computed: &str) -> S3Result<()> {
    let Some(given) = given else { return Ok(()) };
    let bytes = data_encoding::BASE64
        .decode(given.as_bytes())
        .map_err(|_| s3_error!(InvalidDigest, "The Content-MD5 you specified is not valid."))?;
    if hex::encode(bytes) != computed {
        return Err(s3_error!(
            BadDigest,
            "The Content-MD5 you specified did not match what we received."
        ));
    }
    Ok(())
}

/// Our fault: the cause goes to the log, not to the caller.
pub(super) fn internal<E: std::error::Error + Send + Sync + 'static>(error: E) -> S3Error {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "an S3 operation failed"
    );
    S3Error::with_message(
        S3ErrorCode::InternalError,
        "We encountered an internal error. Please try again.",
    )
}

pub(super) fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(super) fn timestamp(time: Micros) -> Timestamp {
    let since = std::time::Duration::from_micros(time.0.unsigned_abs());
    Timestamp::from(std::time::UNIX_EPOCH + since)
}
