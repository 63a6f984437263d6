//! Who asks, and may they: signatures, policies and the wrapping of secrets.
//!
//! Pure: values in, values out. Time, randomness and stored keys are arguments, so every rule here
//! can be tested without a server. It never reads a file, never logs, and never puts a secret or
//! an expected signature into an error.
//!
//! - [`sigv4`] turns a request's head into a proof that the holder of a key sent it (verification),
//!   and makes such requests (signing, for our own clients);
//! - [`principal`] says who somebody is, [`policy`] what the policies that speak for them allow;
//! - [`session`] seals and opens the tokens of temporary credentials;
//! - [`totp`] checks one-time codes, [`web_identity`] the tokens of identity providers;
//! - [`wrap`] seals secrets for the database under a master key that is kept elsewhere.

#![forbid(unsafe_code)]

pub mod managed;
pub mod policy;
pub mod principal;
pub mod session;
pub mod sigv4;
pub mod totp;
pub mod web_identity;
pub mod wrap;

pub use policy::{
    Asker, Attached, Context, Decision, Denial, Grants, Policy, PolicyError, PolicyKind, Question,
    authorize, decide, decide_assume, decide_trust,
};
pub use principal::{Caller, Principal, PrincipalKind};
pub use session::{SessionClaims, SessionRing};
pub use sigv4::{
    AuthError, Authenticated, Claim, Credential, Protocol, RequestHead, Rules, SecretKey,
    SigningKey,
};
pub use wrap::{KeyId, Label, MasterKey, MasterKeys, WrapError};

/// Targets of `parapet-fuzz` have a bound on memory.
#[cfg(test)]
#[global_allocator]
static MEMORY: parapet_fuzz::Counting = parapet_fuzz::Counting;
