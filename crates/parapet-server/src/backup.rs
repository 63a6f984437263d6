//! A whole control plane in one file, and back.
//!
//! [`write`] works beside a running server: the database as one consistent snapshot, then the
//! contents, which are never changed once they are there, then a manifest with the hash of each
//! file. The master key is never in it, nor `DATA/admin`; what the database holds of secrets is
//! sealed. [`restore`] makes a new data directory, all or nothing, and takes no name from the file
//! but those that this module writes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use parapet_auth::KeyId;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::store::{Micros, StoreError, wrapped};

/// Version of the format.
const VERSION: u32 = 1;
/// Name of the database, in the data directory and in a backup.
const DATABASE: &str = "parapet.db";
/// Name of the manifest, the last file of a backup.
const MANIFEST: &str = "manifest.json";
/// Directory of contents.
const CONTENTS: &str = "blobs/sha256";
/// Largest manifest that is read: some 400,000 contents.
const MANIFEST_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of one read.
const PIECE: usize = 256 * 1024;

/// What is in a backup. Stored; an older version is always read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub version: u32,
    /// Version of the Parapet that wrote it.
    pub software: String,
    /// When it was begun, seconds since the epoch.
    pub created: i64,
    /// The account it is of.
    pub account: Option<String>,
    /// IDs of the master keys that its secrets need.
    pub master_keys: Vec<String>,
    /// The files, by name.
    pub files: BTreeMap<String, FileOf>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileOf {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

/// Why there is no backup, or no restored directory.
#[derive(Debug, Error)]
pub enum BackupError {
    /// A file or directory.
    #[error("use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no control plane in the directory.
    #[error(
        "back up {0}: there is no parapet.db in it; name the data directory of a control plane"
    )]
    NoDatabase(PathBuf),
    /// The target is there.
    #[error("write {0}: it is there already; name a new file, a backup replaces none")]
    Exists(PathBuf),
    /// The directory is in use.
    #[error("restore into {0}: it is not empty; name a new directory, nothing is replaced")]
    NotEmpty(PathBuf),
    /// A content does not have the hash it is named after.
    #[error(
        "back up the content {0}: the disk gives other bytes than were written; restore it from an older backup or remove it"
    )]
    Damaged(String),
    /// No backup, or one that was altered.
    #[error("read the backup: {0}")]
    Bad(String),
    /// `SQLite`.
    #[error("read the database")]
    Sqlite(#[from] rusqlite::Error),
    /// The database of the backup.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The manifest cannot be written.
    #[error("write the manifest")]
    Manifest(#[from] serde_json::Error),
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Files that are done.
    pub files: u64,
    /// Bytes that are done.
    pub bytes: u64,
}

/// Writes a backup of the control plane in `data` to a new file.
pub fn write(
    data: &Path,
    to: &Path,
    mut told: impl FnMut(Progress),
) -> Result<Manifest, BackupError> {
    let database = data.join(DATABASE);
    if !database.is_file() {
        return Err(BackupError::NoDatabase(data.to_owned()));
    }
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let partial = Partial(beside(to, ".partial"));
    let snapshot = Partial(beside(to, ".partial.db"));
    let mut manifest = Manifest {
        version: VERSION,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        created: Micros::now().0.div_euclid(1_000_000),
        account: None,
        master_keys: Vec::new(),
        files: BTreeMap::new(),
    };
    // The database first: a content is on disk before a row names it.
    take_snapshot(&database, &snapshot.0, &mut manifest)?;
    let archive = private(&partial.0)?;
    let mut archive = tar::Builder::new(BufWriter::new(archive));
    let mut progress = Progress { files: 0, bytes: 0 };
    let mut add = |name: String, path: &Path, manifest: &mut Manifest| {
        let file = add(&mut archive, &name, path)?;
        progress.files += 1;
        progress.bytes += file.bytes;
        told(progress);
        manifest.files.insert(name, file);
        Ok::<_, BackupError>(())
    };
    add(DATABASE.to_owned(), &snapshot.0, &mut manifest)?;
    for name in contents(data)? {
        let path = data.join(&name);
        let expected = name.rsplit('/').next().unwrap_or_default().to_owned();
        add(name.clone(), &path, &mut manifest)?;
        if manifest.files[&name].sha256 != expected {
            return Err(BackupError::Damaged(expected));
        }
    }
    let text = serde_json::to_vec_pretty(&manifest)?;
    let failed = |source| at(&partial.0, source);
    append(&mut archive, MANIFEST, text.len() as u64, text.as_slice()).map_err(failed)?;
    let archive = archive.into_inner().map_err(failed)?;
    let archive = archive.into_inner().map_err(|e| failed(e.into_error()))?;
    archive.sync_all().map_err(failed)?;
    // A link replaces nothing; the other name goes when `partial` does.
    fs::hard_link(&partial.0, to).map_err(|source| at(to, source))?;
    sync_directory(to).map_err(|source| at(to, source))?;
    Ok(manifest)
}

/// Makes the data directory that a backup is of. Nothing is left when it fails.
pub fn restore(
    from: &Path,
    data: &Path,
    mut told: impl FnMut(Progress),
) -> Result<Manifest, BackupError> {
    if let Ok(mut entries) = fs::read_dir(data)
        && entries.next().is_some()
    {
        return Err(BackupError::NotEmpty(data.to_owned()));
    }
    let fresh = Partial(beside(data, ".restoring"));
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&fresh.0)
        .map_err(|source| at(&fresh.0, source))?;
    let file = File::open(from).map_err(|source| at(from, source))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let broken = |error: io::Error| BackupError::Bad(error.to_string());
    let mut found = BTreeMap::new();
    let mut manifest = None;
    let mut progress = Progress { files: 0, bytes: 0 };
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() != tar::EntryType::Regular || manifest.is_some() {
            return Err(BackupError::Bad(format!(
                "{name:.100?} is no file of a backup"
            )));
        }
        if name == MANIFEST {
            let mut text = Vec::new();
            (&mut entry)
                .take(MANIFEST_BYTES)
                .read_to_end(&mut text)
                .map_err(broken)?;
            let read: Manifest = serde_json::from_slice(&text)
                .map_err(|error| BackupError::Bad(format!("its manifest: {error}")))?;
            if read.version != VERSION {
                return Err(BackupError::Bad(format!(
                    "it has version {}, this Parapet reads {VERSION}; use the Parapet that wrote it",
                    read.version
                )));
            }
            manifest = Some(read);
            continue;
        }
        if !is_ours(&name) || found.contains_key(&name) {
            return Err(BackupError::Bad(format!(
                "{name:.100?} is no file of a backup"
            )));
        }
        let path = fresh.0.join(&name);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(|source| at(directory, source))?;
        }
        let file = copy(&mut entry, &path)?;
        progress.files += 1;
        progress.bytes += file.bytes;
        told(progress);
        found.insert(name, file);
    }
    let manifest = manifest
        .ok_or_else(|| BackupError::Bad("it is cut short: it has no manifest".to_owned()))?;
    compare(&manifest.files, &found)?;
    check_database(&fresh.0.join(DATABASE))?;
    if data.exists() {
        // Empty, as seen above; if not any more, this fails.
        fs::remove_dir(data).map_err(|source| at(data, source))?;
    }
    fs::rename(&fresh.0, data).map_err(|source| at(data, source))?;
    sync_directory(data).map_err(|source| at(data, source))?;
    Ok(manifest)
}

/// The database as of one moment, without uploads that are under way: their parts are not taken.
fn take_snapshot(
    database: &Path,
    snapshot: &Path,
    manifest: &mut Manifest,
) -> Result<(), BackupError> {
    drop(private(snapshot)?);
    let source = Connection::open_with_flags(
        database,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    source.busy_timeout(std::time::Duration::from_secs(30))?;
    source.execute("VACUUM INTO ?1", [snapshot.to_string_lossy()])?;
    let copy = Connection::open(snapshot)?;
    copy.execute_batch(
        "PRAGMA journal_mode = DELETE; DELETE FROM upload_parts; DELETE FROM uploads;",
    )?;
    manifest.account = crate::store::accounts::first(&copy)?;
    let mut keys = std::collections::BTreeSet::new();
    for column in wrapped::COLUMNS {
        let mut after = 0;
        loop {
            let values = column.values(&copy, after, 1000)?;
            let Some(last) = values.last() else { break };
            after = last.rowid;
            keys.extend(
                values
                    .iter()
                    .filter_map(|value| KeyId::of_sealed(&value.sealed)),
            );
        }
    }
    manifest.master_keys = keys.iter().map(ToString::to_string).collect();
    Ok(())
}

/// Names of the contents, in order.
fn contents(data: &Path) -> Result<Vec<String>, BackupError> {
    let root = data.join(CONTENTS);
    let mut names = Vec::new();
    for directory in list(&root)? {
        for file in list(&directory)? {
            let name = file
                .strip_prefix(data)
                .ok()
                .and_then(Path::to_str)
                .filter(|name| is_ours(name));
            if let Some(name) = name {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    Ok(names)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let failed = |source| at(directory, source);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    entries
        .map(|entry| Ok(entry.map_err(failed)?.path()))
        .collect()
}

/// Whether a name is one that a backup has: the database or a content. So nothing else is written
/// by a restore, wherever it would lie.
fn is_ours(name: &str) -> bool {
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let content = || {
        let (group, digest) = name
            .strip_prefix(CONTENTS)?
            .strip_prefix('/')?
            .split_once('/')?;
        Some(hex(group, 2) && hex(digest, 64) && digest.starts_with(group))
    };
    name == DATABASE || content().unwrap_or(false)
}

fn compare(
    expected: &BTreeMap<String, FileOf>,
    found: &BTreeMap<String, FileOf>,
) -> Result<(), BackupError> {
    for (name, file) in expected {
        match found.get(name) {
            Some(other) if other == file => {}
            Some(_) => return Err(BackupError::Bad(format!("{name} was altered"))),
            None => return Err(BackupError::Bad(format!("{name} is missing"))),
        }
    }
    for (name, file) in found {
        if !expected.contains_key(name) {
            return Err(BackupError::Bad(format!("{name} is not in its manifest")));
        }
        if name != DATABASE && !name.ends_with(&file.sha256) {
            return Err(BackupError::Bad(format!("{name} has another hash")));
        }
    }
    if expected.contains_key(DATABASE) {
        Ok(())
    } else {
        Err(BackupError::Bad("it has no database".to_owned()))
    }
}

fn check_database(path: &Path) -> Result<(), BackupError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if said == "ok" {
        Ok(())
    } else {
        Err(BackupError::Bad(format!(
            "its database is damaged: {said:.200}"
        )))
    }
}

fn add(
    archive: &mut tar::Builder<BufWriter<File>>,
    name: &str,
    path: &Path,
) -> Result<FileOf, BackupError> {
    let failed = |source| at(path, source);
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let mut hashed = Hashed {
        inner: file.take(bytes),
        hash: digest::Context::new(&digest::SHA256),
    };
    append(archive, name, bytes, &mut hashed).map_err(failed)?;
    Ok(FileOf {
        bytes,
        sha256: hex::encode(hashed.hash.finish()),
    })
}

fn append(
    archive: &mut tar::Builder<BufWriter<File>>,
    name: &str,
    bytes: u64,
    from: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, from)
}

fn copy(from: &mut impl Read, path: &Path) -> Result<FileOf, BackupError> {
    let failed = |source| at(path, source);
    let mut file = private(path)?;
    let mut hash = digest::Context::new(&digest::SHA256);
    let (mut piece, mut bytes) = (vec![0; PIECE], 0);
    loop {
        let read = from
            .read(&mut piece)
            .map_err(|error| BackupError::Bad(error.to_string()))?;
        let Some(some) = piece.get(..read).filter(|some| !some.is_empty()) else {
            break;
        };
        hash.update(some);
        file.write_all(some).map_err(failed)?;
        bytes += some.len() as u64;
    }
    file.sync_all().map_err(failed)?;
    Ok(FileOf {
        bytes,
        sha256: hex::encode(hash.finish()),
    })
}

/// Hashes what is read through it.
struct Hashed<R> {
    inner: R,
    hash: digest::Context,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// A path that is gone when this is dropped, unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // Best effort: what stays is named `.partial` or `.restoring`, and the next run says so.
        let _gone = if self.0.is_dir() {
            fs::remove_dir_all(&self.0)
        } else {
            fs::remove_file(&self.0)
        };
    }
}

/// A new file that its owner alone can read.
fn private(path: &Path) -> Result<File, BackupError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| at(path, source))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn at(path: &Path, source: io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_backup_has_are_taken() {
        let digest = "ab".repeat(32);
        assert!(is_ours("parapet.db"));
        assert!(is_ours(&format!("blobs/sha256/ab/{digest}")));
        for name in [
            "master.key",
            "admin/credentials",
            "../parapet.db",
            "/etc/passwd",
            "blobs/sha256/../../x",
            &format!("blobs/sha256/cd/{digest}"),
            &format!("blobs/sha256/ab/{digest}/x"),
            &format!("blobs/sha256/ab/../{digest}"),
            &format!("blobs/sha256/ab/{}", digest.to_uppercase()),
            "",
        ] {
            assert!(!is_ours(name), "{name}");
        }
    }

    fn hostile(dir: &Path, entries: &[(&str, &[u8], tar::EntryType)]) -> PathBuf {
        let path = dir.join("backup");
        let mut archive = tar::Builder::new(File::create(&path).expect("a file"));
        for (name, bytes, kind) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_entry_type(*kind);
            // Past the builder's own care for `..`.
            header.as_gnu_mut().expect("GNU").name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, *bytes).expect("appended");
        }
        archive.into_inner().expect("finished");
        path
    }

    #[test]
    fn a_hostile_file_writes_nothing_and_leaves_nothing() {
        use tar::EntryType::{Regular, Symlink};
        for entries in [
            &[("../escaped", &b"x"[..], Regular)][..],
            &[("/tmp/parapet-escaped", b"x", Regular)],
            &[("admin/credentials", b"x", Regular)],
            &[("parapet.db", b"", Symlink)],
            &[("parapet.db", b"x", Regular), ("parapet.db", b"y", Regular)],
            &[("parapet.db", b"x", Regular)],
            &[("manifest.json", b"{}", Regular)],
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let file = hostile(dir.path(), entries);
            let outcome = restore(&file, &dir.path().join("data"), |_| {});
            assert!(matches!(outcome, Err(BackupError::Bad(_))), "{outcome:?}");
            let left: Vec<_> = list(dir.path()).expect("listed");
            assert_eq!(left, [file], "{entries:?}");
        }
    }
}
