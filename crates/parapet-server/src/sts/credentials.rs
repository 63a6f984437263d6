//! Temporary credentials: a new access key, its secret and its token.

use parapet_auth::session::{SESSION_KEY_PREFIX, SealedSession, SessionClaims, SessionError};

use super::tokens::TokensError;
use crate::context::Context;
use crate::query::{Code, Failure, Xml};
use crate::random;
use crate::store::Micros;

/// What a session's claims say of their own: the new key, and from when until when.
pub(super) struct Frame {
    /// `ASIA…`.
    pub(super) access_key: String,
    /// When it begins.
    pub(super) issued: Micros,
    /// When it ends, seconds since the epoch.
    pub(super) expires: i64,
}

impl Frame {
    /// Of a session that begins now.
    pub(super) fn new(duration_s: u32) -> Result<Self, Failure> {
        let issued = Micros::now();
        let random = random::base32::<10>().map_err(Failure::internal)?;
        Ok(Self {
            access_key: format!("{SESSION_KEY_PREFIX}{random}"),
            issued,
            expires: issued.0.div_euclid(1_000_000) + i64::from(duration_s),
        })
    }
}

/// Credentials on their way to the one answer that shows them. No `Debug`.
pub(super) struct Credentials {
    access_key: String,
    expires: i64,
    sealed: SealedSession,
}

impl Credentials {
    /// Seals a session.
    pub(super) async fn seal(ctx: &Context, claims: &SessionClaims) -> Result<Self, Failure> {
        let sealed =
            ctx.tokens
                .seal(&ctx.master_key, claims)
                .await
                .map_err(|error| match error {
                    TokensError::Session(SessionError::TooLarge) => Failure::refused(
                        Code::PackedPolicyTooLarge,
                        "Session tags and policies are too large together; shorten them.",
                    ),
                    other => Failure::internal(other),
                })?;
        Ok(Self {
            access_key: claims.access_key.clone(),
            expires: claims.expires,
            sealed,
        })
    }

    /// Writes element `Credentials`.
    pub(super) fn write(&self, xml: &mut Xml) {
        xml.element("Credentials", |xml| {
            xml.text("AccessKeyId", &self.access_key);
            xml.text("SecretAccessKey", self.sealed.secret.expose());
            xml.text("SessionToken", &self.sealed.token);
            xml.text("Expiration", Micros(self.expires * 1_000_000).rfc3339());
        });
    }
}
