//! Whether a trail is the one that was written: the chain, record by record, and the checkpoints.
//!
//! Pure. Records are pushed in the order in which they are found; the first that is wrong ends it.
//! Without a checkpoint from elsewhere a chain that somebody wrote anew from some record on, or cut
//! at its end, looks whole: the report says how far checkpoints reach.

use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;

use super::chain::{ChainHash, Fault, Head};
use super::checkpoint::Checkpoint;
use super::record::Record;
use crate::store::audit::Row;

/// What was found in a trail that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Number of the first record that was read.
    pub first: i64,
    /// Number of the last; below `first` for an empty trail.
    pub last: i64,
    /// The chain's hash up to the last.
    pub hash: String,
    /// Checkpoints that fit.
    pub checkpoints: usize,
    /// The last record that a checkpoint covers; 0 without one.
    pub covered: i64,
}

/// What is wrong with a trail.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] Fault),
    /// A record is not one, though it fits its hash.
    #[error("record {sequence} is no record of this version")]
    Unreadable {
        /// Which.
        sequence: i64,
    },
    /// The row says another time than the record in it.
    #[error("record {sequence} stands under a time that is not its own")]
    Time {
        /// Which.
        sequence: i64,
    },
    /// It belongs to another account.
    #[error("record {sequence} is of account {found}, the trail of account {expected}")]
    Account {
        /// Which.
        sequence: i64,
        /// In the record.
        found: String,
        /// In the first one.
        expected: String,
    },
    /// The trail is not the one that was signed.
    #[error(
        "record {sequence} does not fit the checkpoint signed at {time}: a record from {from} to {sequence} was changed, and all after it written anew"
    )]
    Rewritten {
        /// Of the checkpoint.
        sequence: i64,
        /// The first that may have been changed.
        from: i64,
        /// When it was signed.
        time: String,
    },
    /// The end is missing.
    #[error(
        "record {missing} is missing: the trail ends at record {last}, but a checkpoint signed at {time} covers record {sequence}"
    )]
    Cut {
        /// The first that is missing.
        missing: i64,
        /// Last record that is there.
        last: i64,
        /// Of the checkpoint.
        sequence: i64,
        /// When it was signed.
        time: String,
    },
    /// A checkpoint is of another trail.
    #[error(
        "the checkpoint of record {sequence} is of account {found}, the trail of account {expected}"
    )]
    Foreign {
        /// Of the checkpoint.
        sequence: i64,
        /// In the checkpoint.
        found: String,
        /// In the records.
        expected: String,
    },
}

impl Problem {
    /// Number of the first record that is wrong, as far as it can be told.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        match self {
            Self::Chain(Fault::Order { expected, .. }) => *expected,
            Self::Chain(Fault::Hash { sequence })
            | Self::Unreadable { sequence }
            | Self::Time { sequence }
            | Self::Account { sequence, .. }
            | Self::Foreign { sequence, .. } => *sequence,
            Self::Rewritten { from, .. } => *from,
            Self::Cut { missing, .. } => *missing,
        }
    }
}

/// A verification under way.
#[derive(Debug)]
pub struct Verifier {
    head: Option<Head>,
    first: i64,
    account: Option<String>,
    /// By the record they cover; all have good signatures.
    checkpoints: BTreeMap<i64, Vec<Checkpoint>>,
    fit: usize,
    covered: i64,
}

impl Verifier {
    /// Of a trail from its first record on. The checkpoints' signatures must have been verified.
    #[must_use]
    pub fn new(checkpoints: impl IntoIterator<Item = Checkpoint>) -> Self {
        let mut by_record: BTreeMap<i64, Vec<Checkpoint>> = BTreeMap::new();
        for checkpoint in checkpoints {
            by_record
                .entry(checkpoint.head.sequence)
                .or_default()
                .push(checkpoint);
        }
        Self {
            head: None,
            first: 1,
            account: None,
            checkpoints: by_record,
            fit: 0,
            covered: 0,
        }
    }

    /// Of a part that begins after `head`, which is taken on trust unless a checkpoint covers it.
    #[must_use]
    pub fn after(head: Head, checkpoints: impl IntoIterator<Item = Checkpoint>) -> Self {
        let mut verifier = Self::new(checkpoints);
        // What ends before the part says nothing about it.
        verifier.checkpoints = verifier.checkpoints.split_off(&head.sequence);
        verifier.first = head.sequence + 1;
        verifier.head = Some(head);
        verifier
    }

    /// The next record.
    pub fn push(&mut self, row: &Row) -> Result<(), Problem> {
        let sequence = row.sequence;
        let record: Option<Record> = serde_json::from_str(&row.record).ok();
        let head = match (self.head, &record) {
            (Some(head), _) => head,
            // The first record says whose trail it is; if it was changed, its hash does not fit.
            (None, Some(record)) => Head::genesis(&record.recipient_account_id),
            (None, None) => Head::genesis(""),
        };
        // A checkpoint of the record before a part that was exported.
        self.compare(head)?;
        let next = head.follow(sequence, &row.record, row.hash)?;
        let Some(record) = record else {
            return Err(Problem::Unreadable { sequence });
        };
        if record.time() != Some(row.time) {
            return Err(Problem::Time { sequence });
        }
        let account = self
            .account
            .get_or_insert_with(|| record.recipient_account_id.clone());
        if *account != record.recipient_account_id {
            return Err(Problem::Account {
                sequence,
                found: record.recipient_account_id,
                expected: account.clone(),
            });
        }
        self.head = Some(next);
        self.compare(next)
    }

    /// After the last record.
    pub fn end(mut self) -> Result<Report, Problem> {
        let last = self.head.map_or(0, |head| head.sequence);
        if let Some(head) = self.head {
            // A part without records still has the head that it begins after.
            self.compare(head)?;
        }
        if let Some((sequence, checkpoint)) = self.checkpoints.iter().next_back() {
            return Err(Problem::Cut {
                missing: last + 1,
                last,
                sequence: *sequence,
                time: checkpoint
                    .last()
                    .map(|c| c.time.rfc3339())
                    .unwrap_or_default(),
            });
        }
        Ok(Report {
            first: self.first,
            last,
            hash: self
                .head
                .map_or_else(String::new, |head| head.hash.to_string()),
            checkpoints: self.fit,
            covered: self.covered,
        })
    }

    /// Compares a head with the checkpoints made there.
    fn compare(&mut self, head: Head) -> Result<(), Problem> {
        let Some(checkpoints) = self.checkpoints.remove(&head.sequence) else {
            return Ok(());
        };
        for checkpoint in checkpoints {
            if let Some(account) = &self.account
                && checkpoint.account != *account
            {
                return Err(Problem::Foreign {
                    sequence: head.sequence,
                    found: checkpoint.account,
                    expected: account.clone(),
                });
            }
            if checkpoint.head.hash != head.hash {
                return Err(Problem::Rewritten {
                    sequence: head.sequence,
                    from: self.covered.max(self.first - 1) + 1,
                    time: checkpoint.time.rfc3339(),
                });
            }
            self.fit += 1;
        }
        self.covered = head.sequence;
        Ok(())
    }
}

/// The hash before a part, from its text.
pub(super) fn previous(sequence: i64, hash: &str) -> Option<Head> {
    Some(Head {
        sequence: sequence.checked_sub(1).filter(|before| *before >= 0)?,
        hash: ChainHash::from_hex(hash)?,
    })
}

#[cfg(test)]
mod tests;
