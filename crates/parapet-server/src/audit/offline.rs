//! Reading a trail without a server: the database of a data directory, or a file of exported lines.
//!
//! Never writes. The first line of an export says where it begins; each other line holds a record
//! with its number and hash, the record as the very text that was hashed.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::chain::{ChainHash, Head};
use super::checkpoint::{Checkpoint, CheckpointError, PublicKey};
use super::record::Record;
use super::search::Filter;
use super::verify::{self, Problem, Report, Verifier};
use crate::store::audit::{self, Row};
use crate::store::{Micros, StoreError};

/// Rows that are read at a time.
const CHUNK: usize = 500;
/// Longest line of an export.
const LINE_BYTES: u64 = 1024 * 1024;
/// Says in the first line what the file is.
const TYPE: &str = "parapet-audit-export";

/// Where a trail is.
#[derive(Debug, Clone)]
pub enum Trail {
    /// A data directory.
    Data(PathBuf),
    /// A file that [`export`] wrote.
    Export(PathBuf),
}

/// Why a trail cannot be read, or is not whole.
#[derive(Debug, Error)]
pub enum OfflineError {
    /// A file.
    #[error("read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is written.
    #[error("write the records")]
    Write(#[from] io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A line of an export has another form.
    #[error("read line {number} of {path}: it is no line of an export")]
    Line {
        /// Which file.
        path: PathBuf,
        /// From 1.
        number: u64,
    },
    /// A checkpoint is none to rely on.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The trail is not whole.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// There are checkpoints but nothing to verify them by.
    #[error("verify {0} checkpoints: give the public key that the server wrote at its first start")]
    NoKey(usize),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beginning {
    r#type: String,
    version: u32,
    /// Number of the first record.
    from: i64,
    /// The chain's hash before it; absent at the beginning of a trail.
    previous: Option<String>,
}

/// A record in an export: borrowed, so that its text is the one that was hashed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    sequence: i64,
    hash: String,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// Verifies a trail against `checkpoints` and, in a data directory, those that are stored there.
pub fn verify(
    trail: &Trail,
    checkpoints: Vec<Checkpoint>,
    key: Option<&PublicKey>,
) -> Result<Report, OfflineError> {
    match trail {
        Trail::Data(data) => verify_data(data, checkpoints, key),
        Trail::Export(path) => verify_export(path, checkpoints, key),
    }
}

fn verify_data(
    data: &Path,
    mut checkpoints: Vec<Checkpoint>,
    key: Option<&PublicKey>,
) -> Result<Report, OfflineError> {
    let connection = open(data)?;
    let snapshot = snapshot(&connection)?;
    // Whoever can rewrite the trail can drop the last of these, but not sign others.
    if key.is_some() {
        checkpoints.extend(stored(&snapshot)?);
    }
    signatures(&checkpoints, key)?;
    let mut verifier = Verifier::new(checkpoints);
    each(&snapshot, 1, |row| Ok(verifier.push(row)?))?;
    Ok(verifier.end()?)
}

fn verify_export(
    path: &Path,
    checkpoints: Vec<Checkpoint>,
    key: Option<&PublicKey>,
) -> Result<Report, OfflineError> {
    signatures(&checkpoints, key)?;
    let (before, mut lines) = lines(path)?;
    let mut verifier = match before {
        Some(head) => Verifier::after(head, checkpoints),
        None => Verifier::new(checkpoints),
    };
    while let Some(row) = lines.next()? {
        verifier.push(&row)?;
    }
    Ok(verifier.end()?)
}

/// Gives the records that fit, the newest first, until `limit` or the trail's end.
pub fn search(
    data: &Path,
    filter: &Filter,
    limit: usize,
    mut found: impl FnMut(&Row, &Record) -> io::Result<()>,
) -> Result<usize, OfflineError> {
    let connection = open(data)?;
    let snapshot = snapshot(&connection)?;
    let mut before = i64::MAX;
    let mut count = 0;
    while count < limit {
        let step = super::search::step(&snapshot, filter, before, limit - count)?;
        for (row, record) in &step.found {
            found(row, record)?;
            count += 1;
        }
        match step.next {
            Some(next) => before = next,
            None => break,
        }
    }
    Ok(count)
}

/// Writes the records from a number on as lines that [`verify`] takes; how many.
pub fn export(data: &Path, from: i64, out: &mut impl Write) -> Result<u64, OfflineError> {
    let connection = open(data)?;
    let snapshot = snapshot(&connection)?;
    let from = from.max(1);
    writeln!(out, "{}", beginning_at(&snapshot, from)?)?;
    let mut count = 0;
    each(&snapshot, from, |row| {
        writeln!(out, "{}", line(row)?)?;
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// The first line of an export from a number on.
pub fn beginning_at(connection: &Connection, from: i64) -> Result<String, StoreError> {
    let previous = match from {
        1 => None,
        _ => audit::from(connection, from - 1, 1)?
            .first()
            .filter(|row| row.sequence == from - 1)
            .map(|row| row.hash.to_string()),
    };
    let beginning = Beginning {
        r#type: TYPE.to_owned(),
        version: 1,
        from,
        previous,
    };
    serde_json::to_string(&beginning).map_err(document)
}

/// A line of an export.
pub fn line(row: &Row) -> Result<String, StoreError> {
    let record: &RawValue = serde_json::from_str(&row.record).map_err(document)?;
    serde_json::to_string(&Line {
        sequence: row.sequence,
        hash: row.hash.to_string(),
        record,
    })
    .map_err(document)
}

/// All checkpoints of a file or of one line.
pub fn checkpoints(text: &str) -> Result<Vec<Checkpoint>, CheckpointError> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(Checkpoint::from_line)
        .collect()
}

fn document(source: serde_json::Error) -> StoreError {
    StoreError::Document {
        what: "audit record",
        source,
    }
}

fn signatures(checkpoints: &[Checkpoint], key: Option<&PublicKey>) -> Result<(), OfflineError> {
    if checkpoints.is_empty() {
        return Ok(());
    }
    let key = key.ok_or(OfflineError::NoKey(checkpoints.len()))?;
    for checkpoint in checkpoints {
        checkpoint.verify(key)?;
    }
    Ok(())
}

fn open(data: &Path) -> Result<Connection, OfflineError> {
    let path = data.join("parapet.db");
    // SQLite's own message does not say which file.
    File::open(&path).map_err(|source| OfflineError::Read {
        path: path.clone(),
        source,
    })?;
    Ok(audit::open_read_only(&path)?)
}

fn snapshot(connection: &Connection) -> Result<rusqlite::Transaction<'_>, StoreError> {
    Ok(connection.unchecked_transaction()?)
}

fn stored(connection: &Connection) -> Result<Vec<Checkpoint>, OfflineError> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let some = audit::checkpoints(connection, after, CHUNK)?;
        let Some((last, _)) = some.last() else {
            return Ok(all);
        };
        after = *last;
        for (_, line) in &some {
            all.push(Checkpoint::from_line(line)?);
        }
    }
}

fn each(
    connection: &Connection,
    from: i64,
    mut take: impl FnMut(&Row) -> Result<(), OfflineError>,
) -> Result<(), OfflineError> {
    let mut next = from;
    loop {
        let rows = audit::from(connection, next, CHUNK)?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        next = last.sequence.saturating_add(1);
        for row in &rows {
            take(row)?;
        }
    }
}

/// The lines of an export after its first.
struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    number: u64,
    text: String,
}

fn lines(path: &Path) -> Result<(Option<Head>, Lines), OfflineError> {
    let file = File::open(path).map_err(|source| OfflineError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut lines = Lines {
        path: path.to_owned(),
        file: BufReader::new(file),
        number: 0,
        text: String::new(),
    };
    let bad = OfflineError::Line {
        path: path.to_owned(),
        number: 1,
    };
    if !lines.read()? {
        return Err(bad);
    }
    let beginning: Beginning = match serde_json::from_str(&lines.text) {
        Ok(beginning) => beginning,
        Err(_) => return Err(bad),
    };
    if beginning.r#type != TYPE || beginning.version != 1 {
        return Err(bad);
    }
    let head = match beginning.previous {
        None if beginning.from == 1 => None,
        None => return Err(bad),
        Some(hash) => Some(verify::previous(beginning.from, &hash).ok_or(bad)?),
    };
    Ok((head, lines))
}

impl Lines {
    fn next(&mut self) -> Result<Option<Row>, OfflineError> {
        if !self.read()? {
            return Ok(None);
        }
        let read = || {
            let line: Line<'_> = serde_json::from_str(&self.text).ok()?;
            let record: Record = serde_json::from_str(line.record.get()).ok()?;
            Some(Row {
                sequence: line.sequence,
                time: record.time().unwrap_or(Micros(0)),
                record: line.record.get().to_owned(),
                hash: ChainHash::from_hex(&line.hash)?,
            })
        };
        match read() {
            Some(row) => Ok(Some(row)),
            None => Err(OfflineError::Line {
                path: self.path.clone(),
                number: self.number,
            }),
        }
    }

    fn read(&mut self) -> Result<bool, OfflineError> {
        self.text.clear();
        self.number += 1;
        let read = (&mut self.file)
            .take(LINE_BYTES)
            .read_line(&mut self.text)
            .map_err(|source| OfflineError::Read {
                path: self.path.clone(),
                source,
            })?;
        Ok(read > 0)
    }
}
