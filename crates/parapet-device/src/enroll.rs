//! Enrolment: the archive of `ProvisionDevice`, and the exchange of a claim for a certificate.
//!
//! The archive `certificates-omni_NAME.zip` holds `config.json` ([`EnrollConfig`]), `ca.pem` (the
//! server's CA), `claim.crt` and `claim.key` (one use, five minutes). The device's own key is made
//! on the device and never leaves it (`research/security.md` 5.1).

use serde::{Deserialize, Serialize};

use crate::id::DeviceId;

/// Header of every answer of the device listener, and of a device's reports: the digest of the
/// server authorities that the sender trusts (SHA-256 over the DER certificates in the order of
/// their bytes, 64 hexadecimal digits). An older agent does without.
pub const AUTHORITIES_HEADER: &str = "parapet-authorities";
/// Header of an answer to a device whose certificate's authority is being given up: `now`, renew it
/// at once.
pub const RENEW_HEADER: &str = "parapet-renew";

/// `config.json` of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollConfig {
    /// [`crate::PROTOCOL_VERSION`] of the writer.
    pub version: u32,
    /// Who the device will be.
    pub device: DeviceId,
    /// The name the operator gave.
    pub name: String,
    /// ARN, account and region as applications see them.
    pub arn: String,
    /// The account that owns the device.
    pub account: String,
    /// `AWS_REGION` of the applications.
    pub region: String,
    /// Base URL of the device listener, e.g. `https://10.0.0.2:8444`.
    pub endpoint: String,
}

/// Body of `POST /v1/enroll` (with the claim certificate) and of `POST /v1/device/certificate`
/// (with the device certificate, for renewal).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// PKCS#10 request, PEM, P-256; its subject is ignored.
    pub csr: String,
}

/// The answer to both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateResponse {
    /// The device certificate, PEM, leaf only.
    pub certificate: String,
    /// Counts the certificates of this device; a renewal with an old one means a copy exists.
    pub serial: u64,
    /// End of validity, seconds since the epoch.
    pub not_after: u64,
}

/// Answer of `GET /v1/device/authorities`: whom the device shall trust as the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedAuthorities {
    /// [`crate::PROTOCOL_VERSION`] of the writer.
    pub version: u32,
    /// One certificate, or two during a roll-over, PEM.
    pub pem: String,
}
