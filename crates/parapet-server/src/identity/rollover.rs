//! From one authority to the next without a new enrolment.
//!
//! The server's: **begin** makes the next one, which is trusted and signs nothing; devices learn of
//! it over the link they have, clients find both in `ca.pem`. **switch** lets it sign the server's
//! certificate, once every device says that it trusts both. **finish** gives up the one before. A
//! claim's or device's authority is trusted by this server alone, so begin and switch are one step,
//! and finish waits until nothing that the one before signed is in use.
//!
//! Each step is one transaction, and a server that is killed between two goes on where it was: the
//! table is the state.

use thiserror::Error;

use super::admin;
use super::authority::{Authorities, Authority, Kind, Succession};
use super::{Enrollment, IdentityError, KeyRing};
use crate::store::authorities::{self, State};
use crate::store::{Micros, Scope, Store, StoreError};

/// A step of a roll-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make the next authority.
    Begin,
    /// Let it sign.
    Switch,
    /// Give up the one before.
    Finish,
    /// Give up the next one, before it signed.
    Cancel,
}

impl Step {
    /// The step of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "begin" => Some(Self::Begin),
            "switch" => Some(Self::Switch),
            "finish" => Some(Self::Finish),
            "cancel" => Some(Self::Cancel),
            _ => None,
        }
    }

    /// As it is written in requests.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Switch => "switch",
            Self::Finish => "finish",
            Self::Cancel => "cancel",
        }
    }
}

/// Whether a step waits for those that it would lock out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// It is refused as long as it would lock somebody out.
    Wait,
    /// It is taken; whoever is locked out enrols anew.
    LockOut,
}

/// Where the authorities of a kind stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub kind: Kind,
    /// ID of the one that signs.
    pub signing: String,
    /// ID of the one that will.
    pub next: Option<String>,
    /// ID of the one that did.
    pub previous: Option<String>,
    /// The step that comes next.
    pub step: Step,
    /// Devices that this step would lock out now.
    pub awaited: Vec<String>,
    /// Claims that this step would make useless now.
    pub open_claims: u64,
}

/// Why a step is not taken.
#[derive(Debug, Error)]
pub enum RollError {
    /// Another is due.
    #[error("{step} the roll-over of the {kind} authority: the step that is due is {due}", step = .step.text(), kind = .kind.text(), due = .due.text())]
    NotDue {
        /// Of which.
        kind: Kind,
        /// As asked.
        step: Step,
        /// As it should be.
        due: Step,
    },
    /// Somebody would be locked out.
    #[error(
        "{step} the roll-over of the {kind} authority: it would lock out {devices} devices ({first}) and {claims} claims; wait until they were in contact, or force it and enrol them anew",
        step = .step.text(), kind = .kind.text()
    )]
    Awaited {
        /// Of which.
        kind: Kind,
        /// As asked.
        step: Step,
        /// How many devices.
        devices: usize,
        /// The first of them.
        first: String,
        /// How many claims.
        claims: u64,
    },
    /// The authority cannot be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a roll-over works on.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// The authorities' table.
    pub store: &'a Store,
    /// Account and region.
    pub scope: &'a Scope,
    /// Seals the new key.
    pub master: &'a KeyRing,
    /// Holds the authorities in use.
    pub enrollment: &'a Enrollment,
    /// `DATA/admin/ca.pem`, where clients trust these authorities.
    pub ca_file: Option<&'a std::path::Path>,
}

impl Parts<'_> {
    /// Where the authorities of this kind stand.
    pub async fn standing(self, kind: Kind) -> Result<Standing, StoreError> {
        let authorities = self.enrollment.authorities();
        let line = authorities.of(kind);
        let step = due(line);
        let (signing, all) = (line.signing().id().to_owned(), line.digest());
        let scope = self.scope.clone();
        let (awaited, open_claims) = self
            .store
            .read(move |connection| {
                let now = Micros::now();
                let none = (Vec::new(), 0);
                Ok::<_, StoreError>(match (kind, step) {
                    (Kind::Server, Step::Switch) => {
                        let devices =
                            authorities::devices_without_trust(connection, &scope, &all, now)?;
                        (devices, 0)
                    }
                    (Kind::Device, Step::Finish) => {
                        let devices =
                            authorities::devices_not_signed_by(connection, &scope, &signing, now)?;
                        (devices, 0)
                    }
                    (Kind::Claim, Step::Finish) => (
                        Vec::new(),
                        authorities::open_claims(connection, &scope, now)?,
                    ),
                    _ => none,
                })
            })
            .await?;
        let name = |authority: Option<&Authority>| authority.map(|one| one.id().to_owned());
        Ok(Standing {
            kind,
            signing: line.signing().id().to_owned(),
            next: name(line.next()),
            previous: name(line.previous()),
            step,
            awaited,
            open_claims,
        })
    }

    /// Takes a step; where the authorities stand then.
    pub async fn roll(self, kind: Kind, step: Step, care: Care) -> Result<Standing, RollError> {
        let standing = self.standing(kind).await?;
        let cancels = step == Step::Cancel && standing.next.is_some();
        if step != standing.step && !cancels {
            let due = standing.step;
            return Err(RollError::NotDue { kind, step, due });
        }
        let waits = !standing.awaited.is_empty() || standing.open_claims > 0;
        if waits && care == Care::Wait && !cancels {
            return Err(RollError::Awaited {
                kind,
                step,
                devices: standing.awaited.len(),
                first: standing.awaited.first().cloned().unwrap_or_default(),
                claims: standing.open_claims,
            });
        }
        let scope = self.scope.clone();
        match step {
            Step::Begin => {
                Authority::make(self.store, self.scope, self.master, kind, State::Next).await?;
                if kind != Kind::Server {
                    self.switch(kind).await?;
                }
            }
            Step::Switch => self.switch(kind).await?,
            Step::Finish | Step::Cancel => {
                let state = if step == Step::Finish {
                    State::Previous
                } else {
                    State::Next
                };
                self.store
                    .write(move |tx| authorities::forget(tx, &scope, kind.text(), state))
                    .await?;
            }
        }
        let fresh = Authorities::load(self.store, self.scope, self.master).await?;
        if let (Kind::Server, Some(file)) = (kind, self.ca_file) {
            // Before the new one is in use: a client that reads the file now trusts both.
            admin::write_ca(file, &fresh.server.pem())?;
        }
        self.enrollment.replace(fresh);
        tracing::info!(
            kind = kind.text(),
            step = step.text(),
            "took a step of an authority's roll-over"
        );
        Ok(self.standing(kind).await?)
    }

    async fn switch(self, kind: Kind) -> Result<(), StoreError> {
        let scope = self.scope.clone();
        self.store
            .write(move |tx| authorities::switch(tx, &scope, kind.text()))
            .await?;
        Ok(())
    }
}

/// The step that is due.
fn due(line: &Succession) -> Step {
    match (line.next(), line.previous()) {
        (_, Some(_)) => Step::Finish,
        (Some(_), None) => Step::Switch,
        (None, None) => Step::Begin,
    }
}
