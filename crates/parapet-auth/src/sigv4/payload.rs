//! What a verified head says about the body that follows it.

use super::chunks::ChunkDecoder;
use super::error::AuthError;

/// How a body is proven, decided after the head is verified.
#[derive(Debug)]
pub enum BodyProof {
    /// The whole body was part of the signature.
    Verified,
    /// Its SHA-256 must be this before anything of it becomes visible.
    Sha256([u8; 32]),
    /// Not proven by the signature (S3 over TLS only).
    Unsigned,
    /// Sent as `aws-chunked`: the decoder proves it, chunk by chunk or by its trailer.
    Chunked(Box<ChunkDecoder>),
}

/// What `x-amz-content-sha256` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    Sha256([u8; 32]),
    Unsigned,
    SignedChunks,
    SignedChunksWithTrailer,
    UnsignedChunksWithTrailer,
}

impl Declared {
    pub(super) fn parse(text: &str) -> Result<Self, AuthError> {
        Ok(match text {
            "UNSIGNED-PAYLOAD" => Self::Unsigned,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Self::SignedChunks,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Self::SignedChunksWithTrailer,
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Self::UnsignedChunksWithTrailer,
            digest => {
                let mut bytes = [0; 32];
                let lower = !digest.bytes().any(|byte| byte.is_ascii_uppercase());
                if !lower || hex::decode_to_slice(digest, &mut bytes).is_err() {
                    return Err(AuthError::malformed(
                        "x-amz-content-sha256",
                        digest,
                        "is a lower-case hexadecimal SHA-256 or one of the UNSIGNED and STREAMING words",
                    ));
                }
                Self::Sha256(bytes)
            }
        })
    }

    pub(super) fn is_chunked(self) -> bool {
        matches!(
            self,
            Self::SignedChunks | Self::SignedChunksWithTrailer | Self::UnsignedChunksWithTrailer
        )
    }
}
