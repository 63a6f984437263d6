//! A request's body on its way in: decoded, and proven to be what was signed.
//!
//! Ends with an error when the body is not what the signature, the declared hash or a checksum
//! says; whoever stores it must not make it visible before the end came without one. Holds one
//! frame at a time.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use aws_lc_rs::digest;
use bytes::Bytes;
use http_body::{Body, Frame};
use parapet_auth::sigv4::{BodyProof, ChunkDecoder, PayloadError};
use tokio::time::{Instant, Sleep, sleep_until};

use super::checksum::Checksum;
use crate::front::pace::Pace;

/// What is wrong with a body: S3's code and a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct BodyFault {
    /// S3's name for it.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: String,
}

/// Where the fault of a body is found after the request: the S3 library in between knows only that
/// reading failed.
#[derive(Debug, Clone, Default)]
pub(super) struct FaultSlot(Arc<Mutex<Option<BodyFault>>>);

impl FaultSlot {
    pub(super) fn take(&self) -> Option<BodyFault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, fault: &BodyFault) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| fault.clone());
    }
}

/// The proven body.
pub(super) struct ProvenBody<B> {
    inner: B,
    chunks: Option<Box<ChunkDecoder>>,
    sha256: Option<([u8; 32], digest::Context)>,
    checksums: Vec<Expected>,
    fault: FaultSlot,
    pace: Pace,
    patience: Pin<Box<Sleep>>,
    ended: bool,
}

/// A checksum that is computed, and its value where a header gave it already.
struct Expected {
    name: String,
    value: Option<String>,
    checksum: Checksum,
}

impl<B> ProvenBody<B> {
    /// `checksums`: names, with the value that a header gave, or `None` for a trailer's.
    pub(super) fn new(
        inner: B,
        proof: BodyProof,
        checksums: impl IntoIterator<Item = (String, Option<String>)>,
        fault: FaultSlot,
    ) -> Self {
        let (chunks, sha256) = match proof {
            BodyProof::Chunked(decoder) => (Some(decoder), None),
            BodyProof::Sha256(hash) => (None, Some((hash, digest::Context::new(&digest::SHA256)))),
            BodyProof::Unsigned | BodyProof::Verified => (None, None),
        };
        let checksums = checksums
            .into_iter()
            .filter_map(|(name, value)| {
                Checksum::new(&name).map(|checksum| Expected {
                    name,
                    value,
                    checksum,
                })
            })
            .collect();
        let pace = Pace::new(Instant::now());
        let patience = Box::pin(sleep_until(pace.until()));
        Self {
            inner,
            chunks,
            sha256,
            checksums,
            fault,
            pace,
            patience,
            ended: false,
        }
    }

    /// Data of a piece that came from the network.
    fn take(&mut self, piece: Bytes) -> Result<Bytes, BodyFault> {
        let data = match &mut self.chunks {
            Some(chunks) => {
                let mut data = Vec::with_capacity(piece.len());
                chunks.push(&piece, &mut data).map_err(chunk_fault)?;
                Bytes::from(data)
            }
            None => piece,
        };
        if let Some((_, hash)) = &mut self.sha256 {
            hash.update(&data);
        }
        for expected in &mut self.checksums {
            expected.checksum.update(&data);
        }
        Ok(data)
    }

    /// After the last piece.
    fn finish(&mut self) -> Result<(), BodyFault> {
        let trailers = match self.chunks.take() {
            Some(chunks) => chunks.finish().map_err(chunk_fault)?,
            None => Vec::new(),
        };
        if let Some((expected, hash)) = self.sha256.take()
            && hash.finish().as_ref() != expected
        {
            return Err(BodyFault {
                code: "XAmzContentSHA256Mismatch",
                message:
                    "The provided 'x-amz-content-sha256' header does not match what was computed."
                        .to_owned(),
            });
        }
        for Expected {
            name,
            value,
            checksum,
        } in self.checksums.drain(..)
        {
            let trailer = trailers.iter().find(|(known, _)| *known == name);
            let Some(expected) = value.or_else(|| trailer.map(|(_, value)| value.clone())) else {
                continue;
            };
            if checksum.finish() != expected {
                let kind = name.trim_start_matches("x-amz-checksum-").to_uppercase();
                return Err(BodyFault {
                    code: "BadDigest",
                    message: format!(
                        "The {kind} you specified did not match the calculated checksum."
                    ),
                });
            }
        }
        Ok(())
    }

    fn fail(&mut self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.ended = true;
        self.fault.set(&fault);
        Poll::Ready(Some(Err(fault)))
    }
}

impl<B> Body for ProvenBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        while !this.ended {
            match Pin::new(&mut this.inner).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    // HTTP trailers are not part of any signature.
                    let Ok(piece) = frame.into_data() else {
                        continue;
                    };
                    this.pace.arrived(piece.len(), Instant::now());
                    this.patience.as_mut().reset(this.pace.until());
                    match this.take(piece) {
                        // A piece may hold nothing but a chunk's size.
                        Ok(data) if data.is_empty() => {}
                        Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Err(fault) => return this.fail(fault),
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return this.fail(BodyFault {
                        code: "IncompleteBody",
                        message: format!("The body could not be read to its end: {error}"),
                    });
                }
                Poll::Ready(None) => {
                    this.ended = true;
                    if let Err(fault) = this.finish() {
                        return this.fail(fault);
                    }
                }
                Poll::Pending => {
                    if this.patience.as_mut().poll(context).is_ready() {
                        return this.fail(BodyFault {
                            code: "RequestTimeout",
                            message: "The body came too slowly, or not at all.".to_owned(),
                        });
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(None)
    }
}

fn chunk_fault(error: PayloadError) -> BodyFault {
    let code = match error {
        PayloadError::Signature => "SignatureDoesNotMatch",
        PayloadError::Incomplete | PayloadError::Length => "IncompleteBody",
        PayloadError::Trailer => "MalformedTrailerError",
        PayloadError::Malformed | PayloadError::TooLarge => "InvalidRequest",
    };
    BodyFault {
        code,
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full};

    async fn read(
        bytes: &'static [u8],
        proof: BodyProof,
        checksums: &[(&str, Option<&str>)],
    ) -> (Result<Bytes, BodyFault>, Option<BodyFault>) {
        let slot = FaultSlot::default();
        let checksums = checksums
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)));
        let body = ProvenBody::new(
            Full::new(Bytes::from_static(bytes)),
            proof,
            checksums,
            slot.clone(),
        );
        (
            body.collect()
                .await
                .map(http_body_util::Collected::to_bytes),
            slot.take(),
        )
    }

    #[tokio::test]
    async fn a_body_must_have_the_declared_hash() {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, b"hello").as_ref());
        let (good, fault) = read(b"hello", BodyProof::Sha256(hash), &[]).await;
        assert_eq!((good.as_deref(), fault), (Ok(&b"hello"[..]), None));
        let (bad, fault) = read(b"hullo", BodyProof::Sha256(hash), &[]).await;
        assert!(bad.is_err());
        assert_eq!(fault.expect("a fault").code, "XAmzContentSHA256Mismatch");
    }

    #[tokio::test]
    async fn a_body_must_have_the_checksum_of_its_header() {
        let crc = "x-amz-checksum-crc32";
        let (good, _) = read(
            b"123456789",
            BodyProof::Unsigned,
            &[(crc, Some("y/Q5Jg=="))],
        )
        .await;
        assert!(good.is_ok());
        let (bad, fault) = read(
            b"123456780",
            BodyProof::Unsigned,
            &[(crc, Some("y/Q5Jg=="))],
        )
        .await;
        assert!(bad.is_err());
        assert_eq!(fault.expect("a fault").code, "BadDigest");
    }
}
