//! `GET /v1/blobs/sha256/<hex>`: contents of the device's current document, whole or from a byte on.

use std::io::SeekFrom;

use futures_util::TryStreamExt as _;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use parapet_device::{BlobDigest, DesiredDocument};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{Answer, Refusal, current};
use crate::context::Context;
use crate::fleet::DeviceKey;
use crate::front::BodyError;

/// Bytes of one read.
const PIECE: usize = 128 * 1024;

pub(super) async fn get(
    context: &Context,
    key: &DeviceKey,
    digest: &str,
    range: Option<&HeaderValue>,
) -> Answer {
    let missing = || Refusal::NotFound("such content in the device's document");
    let digest: BlobDigest = digest.parse().map_err(|_| missing())?;
    let document = current(context, key).await?.ok_or_else(missing)?;
    if !names(&document, &digest) {
        return Err(missing());
    }
    let mut file = tokio::fs::File::open(context.blobs.path(&digest)).await?;
    let all = file.metadata().await?.len();
    let asked = match range {
        None => None,
        Some(value) => match value.to_str().ok().and_then(|text| parse(text, all)) {
            Some(range) => Some(range),
            None => return Ok(unsatisfiable(all)),
        },
    };
    let (first, last) = asked.unwrap_or((0, all.saturating_sub(1)));
    let bytes = if all == 0 { 0 } else { last - first + 1 };
    file.seek(SeekFrom::Start(first)).await?;
    let stream = ReaderStream::with_capacity(file.take(bytes), PIECE)
        .map_ok(Frame::data)
        .map_err(BodyError::from);
    let mut answer = Response::new(StreamBody::new(stream).boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    if asked.is_some() {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let text = format!("bytes {first}-{last}/{all}");
        if let Ok(value) = HeaderValue::from_str(&text) {
            answer.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(answer)
}

/// Whether a document names this content.
fn names(document: &DesiredDocument, digest: &BlobDigest) -> bool {
    document.instances.iter().any(|instance| {
        let models = instance.models.iter().map(|model| &model.asset);
        let applications = instance
            .applications
            .iter()
            .map(|application| &application.asset);
        models
            .chain(applications)
            .any(|blob| blob.sha256 == *digest)
    })
}

fn unsatisfiable(all: u64) -> Response<crate::front::ResponseBody> {
    let mut answer = Response::new(crate::front::empty());
    *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{all}")) {
        answer.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    answer
}

/// First and last byte of `bytes=A-`, `bytes=A-B` or `bytes=-N` in a content of `all` bytes.
fn parse(text: &str, all: u64) -> Option<(u64, u64)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let end = all.checked_sub(1)?;
    let (first, last) = match (from.is_empty(), to.is_empty()) {
        (false, true) => (from.parse().ok()?, end),
        (false, false) => (from.parse().ok()?, to.parse::<u64>().ok()?.min(end)),
        (true, false) => {
            let tail = to.parse::<u64>().ok().filter(|tail| *tail > 0)?;
            (all.saturating_sub(tail), end)
        }
        (true, true) => return None,
    };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_within_the_content() {
        for (text, found) in [
            ("bytes=0-", Some((0, 9))),
            ("bytes=4-6", Some((4, 6))),
            ("bytes=4-600", Some((4, 9))),
            ("bytes=-3", Some((7, 9))),
            ("bytes=-30", Some((0, 9))),
            ("bytes=10-", None),
            ("bytes=6-4", None),
            ("bytes=-0", None),
            ("bytes=-", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(parse(text, 10), found, "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), None);
    }
}
