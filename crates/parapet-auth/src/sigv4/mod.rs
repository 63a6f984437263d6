//! AWS Signature Version 4: verification for the server, signing for our own clients.
//!
//! The order is the security: [`Claim::parse`] reads what a request says of itself and does all
//! cheap checks, the server looks the access key up, and only [`Claim::verify_whole`] or
//! [`Claim::verify_head`] make an [`Authenticated`], which nothing else can make. A handler that
//! holds one knows that method, path, query, and every `x-amz-*` header were signed
//! (`research/security.md` sections 1.3 and 1.4; unsigned `x-amz-*` headers are how other servers
//! were turned into copying machines).
//!
//! Two profiles: S3 signs the path as it is on the wire and names its body's hash in a header; all
//! other services escape the path once more and have the hash of the body they sent computed.

mod canonical;
mod chunks;
mod claim;
mod credential;
mod error;
mod payload;
mod request;
mod sign;
mod time;
mod verify;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod vectors;

pub use chunks::{ChunkDecoder, PayloadError, Trailers};
pub use claim::{Claim, Rules};
pub use credential::{Credential, Scope, SecretKey, SigningKey};
pub use error::{AuthError, Fault, Protocol, TokenProblem};
pub use payload::BodyProof;
pub use request::RequestHead;
pub use sign::{SignRequest, sign};
pub use verify::Authenticated;

/// The only algorithm. `SigV2` has no scope and needs SHA-1; `SigV4a` may come later.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
