//! Access keys on their way to the verifier: long-term ones are found in the directory, those of
//! sessions in their tokens. Secrets are never kept in the clear beyond the request.

use std::sync::Arc;

use parapet_auth::session::OpenSession;
use parapet_auth::sigv4::TokenProblem;
use parapet_auth::{AuthError, Caller, Claim, Credential, SecretKey, SigningKey};
use thiserror::Error;

use crate::context::Context;
use crate::directory::{DirectoryError, KeyEntry, SessionRefusal};
use crate::identity::key_label;

/// Why a key that is there cannot be used.
#[derive(Debug, Error)]
pub(super) enum KeyError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("open the secret of an access key")]
    Wrap(#[from] parapet_auth::WrapError),
    #[error("read the secret of an access key: it is no text")]
    Text(#[from] std::string::FromUtf8Error),
}

pub(super) struct Keys {
    context: Arc<Context>,
}

/// A key that may sign.
pub(super) struct Found {
    /// Who asks, if the signature is good.
    pub(super) caller: Caller,
    /// What a good signature is made with.
    signing: SigningKey,
    origin: Origin,
}

/// Where a key comes from.
enum Origin {
    LongTerm(Arc<KeyEntry>),
    Session(Box<OpenSession>),
}

impl Found {
    /// What the claim is verified with.
    pub(super) fn credential(&self) -> Credential<'_> {
        match &self.origin {
            Origin::LongTerm(_) => Credential::LongTerm(&self.signing),
            Origin::Session(session) => Credential::Session(&self.signing, session),
        }
    }

    /// The signature was good: the next one of this scope costs less. Whether the use of this key
    /// is to be written down, which that of a session is not.
    pub(super) fn proven(&self) -> bool {
        match &self.origin {
            Origin::LongTerm(entry) => {
                entry.remember(self.signing.clone());
                true
            }
            Origin::Session(_) => false,
        }
    }
}

impl Keys {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// What the claimed access key signs with in the claim's scope, and who asks with it. `now` is
    /// in seconds since the epoch.
    pub(super) async fn find(
        &self,
        claim: &Claim<'_>,
        now: i64,
    ) -> Result<Result<Found, AuthError>, KeyError> {
        match claim.session_token() {
            Some(token) => self.session(claim, token, now).await,
            None => self.long_term(claim).await,
        }
    }

    /// An inactive key is as unknown as one that does not exist.
    async fn long_term(&self, claim: &Claim<'_>) -> Result<Result<Found, AuthError>, KeyError> {
        let Some(entry) = self.context.directory.key(claim.access_key()).await? else {
            return Ok(Err(AuthError::UnknownKey));
        };
        if !entry.is_active {
            return Ok(Err(AuthError::UnknownKey));
        }
        let signing = if let Some(signing) = entry.signing_key(claim.scope()) {
            signing
        } else {
            let mut secret = self
                .context
                .master_key
                .unwrap(&key_label(&entry.account, &entry.id), &entry.wrapped)?;
            SecretKey::new(String::from_utf8(std::mem::take(&mut *secret))?).derive(claim.scope())
        };
        Ok(Ok(Found {
            caller: entry.caller.clone(),
            signing,
            origin: Origin::LongTerm(entry),
        }))
    }

    /// A session whose token opens, and whose user or role still counts.
    async fn session(
        &self,
        claim: &Claim<'_>,
        token: &str,
        now: i64,
    ) -> Result<Result<Found, AuthError>, KeyError> {
        let session = match self.context.tokens.open(token, now) {
            Ok(session) => session,
            Err(error) => return Ok(Err(error.into())),
        };
        if session.claims.access_key != claim.access_key() {
            return Ok(Err(AuthError::Token(TokenProblem::Invalid)));
        }
        let caller = match self.context.directory.session(&session).await? {
            Ok(caller) => caller,
            Err(SessionRefusal::Revoked) => {
                return Ok(Err(AuthError::Token(TokenProblem::Revoked)));
            }
            Err(SessionRefusal::Gone | SessionRefusal::OtherAccount) => {
                return Ok(Err(AuthError::Token(TokenProblem::Invalid)));
            }
        };
        Ok(Ok(Found {
            caller,
            signing: session.secret.derive(claim.scope()),
            origin: Origin::Session(Box::new(session)),
        }))
    }
}
