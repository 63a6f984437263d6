//! Uploads in parts: how the AWS tools send anything above 8 MB.
//!
//! A part is a file in `DATA/blobs/uploads` until the upload is complete; then the parts are joined into
//! one content, in the order of their numbers, and only then does the object change.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use md5::{Digest as _, Md5};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CompletedPart, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, ETag, ListPartsInput, ListPartsOutput, Part, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use tokio::io::AsyncReadExt as _;

use super::OBJECT_BYTES;
use super::objects::{Bucket, check_md5, drain, internal, length, timestamp};
use super::operation::{Operation, Unmade};
use super::sink::{Place, Sink};
use crate::random;
use crate::store::uploads::{self, Upload};
use crate::store::{Micros, StoreError, objects};

/// Uploads that may be open at a time.
const OPEN: u64 = 1_000;
/// Smallest part but the last, as S3 has it.
const PART_BYTES: u64 = 5 * 1024 * 1024;
/// Most parts.
const PARTS: i32 = 10_000;

/// Removes the files that no upload refers to: what a crash left.
pub fn clear_uploads(
    directory: &Path,
    connection: &rusqlite::Connection,
) -> Result<(), StoreError> {
    let known = connection
        .prepare("SELECT file FROM upload_parts")?
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<Result<HashSet<_>, _>>()?;
    let Ok(files) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    for file in files.flatten() {
        if !known.contains(file.file_name().to_string_lossy().as_ref())
            && let Err(error) = std::fs::remove_file(file.path())
        {
            tracing::warn!(path = %file.path().display(), %error, "could not remove a stray part");
        }
    }
    Ok(())
}

impl Bucket {
    fn uploads(&self) -> PathBuf {
        self.context.blobs.uploads()
    }

    pub(super) async fn begin_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = &request.input;
        let call = self.admit(
            &request,
            Operation::CreateMultipartUpload,
            &input.bucket,
            Some(&input.key),
        )?;
        let input = request.input;
        let upload = Upload {
            id: random::hex::<24>().map_err(internal)?,
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            content_type: input.content_type,
            created: Micros::now(),
        };
        let (scope, record) = (self.context.scope.clone(), upload.clone());
        let begun = call
            .write::<_, Unmade, _>(move |tx| {
                if uploads::count(tx, &scope)? >= OPEN {
                    return Ok(false);
                }
                uploads::begin(tx, &scope, &record)?;
                Ok(true)
            })
            .await?;
        if !begun {
            return Err(s3_error!(
                SlowDown,
                "There are too many incomplete uploads: abort some with abort-multipart-upload"
            ));
        }
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload.id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..CreateMultipartUploadOutput::default()
        }))
    }

    pub(super) async fn take_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = &request.input;
        let call = self.admit(
            &request,
            Operation::UploadPart,
            &input.bucket,
            Some(&input.key),
        )?;
        let input = request.input;
        if !(1..=PARTS).contains(&input.part_number) {
            return Err(s3_error!(
                InvalidArgument,
                "Part number must be between 1 and 10000"
            ));
        }
        self.upload(&input.bucket, &input.key, &input.upload_id)
            .await?;
        let file = random::hex::<16>().map_err(internal)?;
        let place = Place::Part(self.uploads(), file.clone());
        let written = drain(input.body, Sink::begin(&self.context.blobs, place)).await?;
        check_md5(input.content_md5.as_deref(), &written.md5)?;
        let part = uploads::Part {
            number: input.part_number.unsigned_abs(),
            file: file.clone(),
            bytes: written.bytes,
            md5: written.md5.clone(),
            modified: Micros::now(),
        };
        let (scope, id) = (self.context.scope.clone(), input.upload_id);
        let stored = call
            .write::<_, Unmade, _>(move |tx| {
                // It may have been completed or aborted while the part was on its way.
                if uploads::get(tx, &scope, &id)?.is_none() {
                    return Ok(None);
                }
                Ok(Some(uploads::put_part(tx, &scope, &id, &part)?))
            })
            .await?;
        let Some(before) = stored else {
            self.remove(Some(file));
            return Err(no_such_upload());
        };
        self.remove(before);
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(written.md5)),
            // Verified on their way in, or these headers would not have come so far.
            checksum_crc32: input.checksum_crc32,
            checksum_crc32c: input.checksum_crc32c,
            checksum_crc64nvme: input.checksum_crc64nvme,
            checksum_sha1: input.checksum_sha1,
            checksum_sha256: input.checksum_sha256,
            ..UploadPartOutput::default()
        }))
    }

    pub(super) async fn complete_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = &request.input;
        let call = self.admit(
            &request,
            Operation::CompleteMultipartUpload,
            &input.bucket,
            Some(&input.key),
        )?;
        let input = request.input;
        let upload = self
            .upload(&input.bucket, &input.key, &input.upload_id)
            .await?;
        let all = self.parts(&input.upload_id).await?;
        let wanted = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let chosen = choose(&all, &wanted)?;

        let mut sink = Sink::begin(&self.context.blobs, Place::Content);
        let mut tags = Md5::new();
        for part in &chosen {
            let mut file = tokio::fs::File::open(self.uploads().join(&part.file))
                .await
                .map_err(internal)?;
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let read = file.read(&mut buffer).await.map_err(internal)?;
                if read == 0 {
                    break;
                }
                sink.write(Bytes::copy_from_slice(&buffer[..read]))
                    .await
                    .map_err(internal)?;
            }
            tags.update(hex::decode(&part.md5).map_err(internal)?);
        }
        let written = sink.keep().await.map_err(internal)?;
        let digest = written
            .digest
            .ok_or_else(|| s3_error!(InternalError, "the content has no name"))?;
        let etag = format!("{}-{}", hex::encode(tags.finalize()), chosen.len());
        let object = objects::Object {
            key: upload.key.clone(),
            sha256: digest.to_string(),
            bytes: written.bytes,
            etag: etag.clone(),
            content_type: upload.content_type,
            modified: Micros::now(),
        };
        let (scope, id, bucket) = (
            self.context.scope.clone(),
            upload.id.clone(),
            upload.bucket.clone(),
        );
        let ended = call
            .write::<_, Unmade, _>(move |tx| {
                let ended = uploads::end(tx, &scope, &id)?;
                if ended {
                    objects::put(tx, &scope, &bucket, &object)?;
                }
                Ok(ended)
            })
            .await?;
        if !ended {
            return Err(no_such_upload());
        }
        for part in all {
            self.remove(Some(part.file));
        }
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(upload.bucket),
            key: Some(upload.key),
            e_tag: Some(ETag::Strong(etag)),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    pub(super) async fn abort_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = &request.input;
        let call = self.admit(
            &request,
            Operation::AbortMultipartUpload,
            &input.bucket,
            Some(&input.key),
        )?;
        self.upload(&input.bucket, &input.key, &input.upload_id)
            .await?;
        let parts = self.parts(&input.upload_id).await?;
        let (scope, id) = (self.context.scope.clone(), input.upload_id.clone());
        call.write::<_, Unmade, _>(move |tx| Ok(uploads::end(tx, &scope, &id)?))
            .await?;
        for part in parts {
            self.remove(Some(part.file));
        }
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(super) async fn parts_of_upload(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = &request.input;
        self.admit(
            &request,
            Operation::ListParts,
            &input.bucket,
            Some(&input.key),
        )?;
        self.upload(&input.bucket, &input.key, &input.upload_id)
            .await?;
        let all = self.parts(&input.upload_id).await?;
        let after = input
            .part_number_marker
            .as_ref()
            .and_then(|marker| marker.to_string().parse::<u32>().ok())
            .unwrap_or(0);
        let limit = usize::try_from(input.max_parts.unwrap_or(1_000))
            .unwrap_or(0)
            .min(1_000);
        let later = all
            .iter()
            .filter(|part| part.number > after)
            .collect::<Vec<_>>();
        let truncated = later.len() > limit;
        let shown = later.into_iter().take(limit);
        let parts = shown
            .map(|part| Part {
                part_number: i32::try_from(part.number).ok(),
                e_tag: Some(ETag::Strong(part.md5.clone())),
                size: Some(length(part.bytes)),
                last_modified: Some(timestamp(part.modified)),
                ..Part::default()
            })
            .collect::<Vec<_>>();
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(input.upload_id.clone()),
            is_truncated: Some(truncated),
            max_parts: input.max_parts,
            next_part_number_marker: parts.last().and_then(|part| part.part_number),
            parts: Some(parts),
            ..ListPartsOutput::default()
        }))
    }

    /// The upload, if it is one of this bucket and key.
    async fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<Upload> {
        let (scope, wanted) = (self.context.scope.clone(), id.to_owned());
        self.context
            .store
            .read(move |connection| uploads::get(connection, &scope, &wanted))
            .await
            .map_err(internal::<StoreError>)?
            .filter(|upload| upload.bucket == bucket && upload.key == key)
            .ok_or_else(no_such_upload)
    }

    async fn parts(&self, id: &str) -> S3Result<Vec<uploads::Part>> {
        let (scope, id) = (self.context.scope.clone(), id.to_owned());
        self.context
            .store
            .read(move |connection| uploads::parts(connection, &scope, &id))
            .await
            .map_err(internal::<StoreError>)
    }

    fn remove(&self, file: Option<String>) {
        let Some(file) = file else { return };
        let path = self.uploads().join(file);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "could not remove a part");
        }
    }
}

fn no_such_upload() -> s3s::S3Error {
    s3_error!(
        NoSuchUpload,
        "The specified multipart upload does not exist."
    )
}

/// The parts that a client names, in its order, which must be upwards.
fn choose(all: &[uploads::Part], wanted: &[CompletedPart]) -> S3Result<Vec<uploads::Part>> {
    let mut chosen: Vec<uploads::Part> = Vec::with_capacity(wanted.len());
    for part in wanted {
        let number = part.part_number.unwrap_or(0);
        let found = all
            .iter()
            .find(|known| i64::from(known.number) == i64::from(number))
            .filter(|known| {
                part.e_tag
                    .as_ref()
                    .is_none_or(|tag| tag.value() == known.md5)
            })
            .ok_or_else(|| {
                s3_error!(
                    InvalidPart,
                    "One or more of the specified parts could not be found."
                )
            })?;
        if chosen
            .last()
            .is_some_and(|last| last.number >= found.number)
        {
            return Err(s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order."
            ));
        }
        chosen.push(found.clone());
    }
    let Some((_, but_last)) = chosen.split_last() else {
        return Err(s3_error!(
            MalformedXML,
            "You must specify at least one part"
        ));
    };
    if but_last.iter().any(|part| part.bytes < PART_BYTES) {
        return Err(s3_error!(
            EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed size"
        ));
    }
    if chosen.iter().map(|part| part.bytes).sum::<u64>() > OBJECT_BYTES {
        return Err(s3_error!(
            EntityTooLarge,
            "Your proposed upload exceeds the maximum allowed size"
        ));
    }
    Ok(chosen)
}
