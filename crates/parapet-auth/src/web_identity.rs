//! Identity tokens of `OpenID` Connect providers: read, then verified with keys that are given.
//!
//! Two steps, so that nothing is believed too early: [`Unverified::parse`] reads a token and says
//! which issuer it names, the server looks for a provider registered under that name and for its
//! keys, and only [`Unverified::verify`] gives a [`WebIdentity`]. The algorithms are a fixed list of
//! signatures; `none` and keyed hashes (`HS256`) do not exist here, so that no public key is ever
//! taken for a secret (RFC 8725 section 2.1). Nothing that a token names is fetched or used as a
//! key: `jku`, `x5u`, `jwk` and `x5c` are not read.
//!
//! Follows RFC 7515 (JWS), 7517 (JWK), 7518 (algorithms), 7519 (JWT), `OpenID` Connect Core section
//! 3.1.3.7, and what AWS STS asks of tokens.

mod claims;
mod keys;
mod verify;

pub use claims::WebIdentity;
pub use keys::{KeySet, KeySetError};
pub use verify::{Expected, Unverified, WebIdentityError};
