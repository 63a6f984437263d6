//! An issuer's public keys: a JWK set (RFC 7517), bounded.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

/// Largest set that is read, in bytes.
pub(super) const SET_BYTES: usize = 64 * 1024;
/// Most keys of a set.
const KEYS: usize = 64;
/// Largest modulus: 8,192 bits.
const MODULUS_BYTES: usize = 1_024;

/// Why a set of keys is of no use.
#[derive(Debug, Error)]
pub enum KeySetError {
    /// Longer than any set needs to be.
    #[error("read a JWK set: {0} bytes are more than the {SET_BYTES} that are read")]
    TooLong(usize),
    /// No JSON of this form.
    #[error("read a JWK set: send {{\"keys\": […]}}")]
    Shape(#[from] serde_json::Error),
    /// Too many.
    #[error("read a JWK set: {0} keys are more than the {KEYS} that are read")]
    TooMany(usize),
    /// None that signs with an algorithm of ours.
    #[error("read a JWK set: it holds no RSA or EC (P-256, P-384) key for signatures")]
    Empty,
}

/// The algorithms that exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
}

impl Algorithm {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            _ => return None,
        })
    }
}

/// Public keys of one issuer.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    /// The one algorithm that the issuer uses it for, when it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
}

impl KeySet {
    /// Reads a set. Keys of other kinds, for encryption, or for other algorithms are left out: an
    /// issuer may have them beside those that matter here.
    pub fn parse(text: &str) -> Result<Self, KeySetError> {
        if text.len() > SET_BYTES {
            return Err(KeySetError::TooLong(text.len()));
        }
        let document: Document = serde_json::from_str(text)?;
        if document.keys.len() > KEYS {
            return Err(KeySetError::TooMany(document.keys.len()));
        }
        let keys = document
            .keys
            .iter()
            .filter_map(Key::read)
            .collect::<Vec<_>>();
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self { keys })
    }

    /// The keys that a token with this `kid` and algorithm may be signed by. Without a `kid` only
    /// the single fitting key of a set is meant.
    pub(super) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &dyn Verifies> {
        let fitting = move |key: &&Key| {
            key.fits(algorithm) && kid.is_none_or(|kid| key.id.as_deref() == Some(kid))
        };
        let single = kid.is_some() || self.keys.iter().filter(fitting).count() == 1;
        self.keys
            .iter()
            .filter(fitting)
            .filter(move |_| single)
            .map(|key| key as &dyn Verifies)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| key.id.as_deref());
        f.debug_list().entries(ids).finish()
    }
}

/// What a key can do, without what it is.
pub(super) trait Verifies {
    fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool;
}

impl Verifies for Key {
    fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let outcome =
            match (&self.material, algorithm) {
                (Material::Rsa { n, e }, Algorithm::Rs256) => RsaPublicKeyComponents { n, e }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
                (Material::Rsa { n, e }, Algorithm::Rs384) => RsaPublicKeyComponents { n, e }
                    .verify(&RSA_PKCS1_2048_8192_SHA384, message, signature),
                (Material::Rsa { n, e }, Algorithm::Rs512) => RsaPublicKeyComponents { n, e }
                    .verify(&RSA_PKCS1_2048_8192_SHA512, message, signature),
                (Material::P256(point), Algorithm::Es256) => {
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                        .verify(message, signature)
                }
                (Material::P384(point), Algorithm::Es384) => {
                    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                        .verify(message, signature)
                }
                _ => return false,
            };
        outcome.is_ok()
    }
}

impl Key {
    fn read(jwk: &Jwk) -> Option<Self> {
        if jwk
            .purpose
            .as_deref()
            .is_some_and(|purpose| purpose != "sig")
        {
            return None;
        }
        let algorithm = match jwk.alg.as_deref() {
            Some(name) => Some(Algorithm::parse(name)?),
            None => None,
        };
        let bytes = |text: &Option<String>| {
            URL_SAFE_NO_PAD
                .decode(text.as_deref()?)
                .ok()
                .filter(|bytes| (1..=MODULUS_BYTES).contains(&bytes.len()))
        };
        let point = |length: usize| {
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            (x.len() == length && y.len() == length).then(|| [&[4], &x[..], &y[..]].concat())
        };
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", None) => Material::Rsa {
                n: bytes(&jwk.n)?,
                e: bytes(&jwk.e)?,
            },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            _ => return None,
        };
        Some(Self {
            id: jwk.kid.clone(),
            algorithm,
            material,
        })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match self.material {
            Material::Rsa { .. } => matches!(
                algorithm,
                Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512
            ),
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::P384(_) => algorithm == Algorithm::Es384,
        };
        kind && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}
