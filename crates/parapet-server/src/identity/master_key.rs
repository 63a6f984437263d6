//! Where master keys come from: a file, a systemd credential, the environment, or a command.
//!
//! Every source gives the same text: keys of 64 hexadecimal digits, one a line. The first seals,
//! the others only open; a line more is how an operator hands over a new key. Owns the file's
//! making and its replacement, both all or nothing. Never inside the data directory, but for the
//! demo: a copy of that directory shall not hold the key to its own secrets.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use parapet_auth::wrap::KEY_BYTES;
use parapet_auth::{KeyId, MasterKey, MasterKeys};
use thiserror::Error;
use zeroize::Zeroizing;

use super::key_command::{self, CommandError, KeyCommand};
use crate::config::{MasterKeySource, ServerConfig};
use crate::random;

/// Keys in one source: the current one and those it follows.
const MOST_KEYS: usize = 8;
/// Bytes of a source's text; more is no list of keys.
pub(super) const MOST_BYTES: u64 = 4 * 1024;
/// The variable that holds keys, unless the configuration names another.
pub(super) const VARIABLE: &str = "PARAPET_MASTER_KEY";
/// The variable that names the file.
const FILE_VARIABLE: &str = "PARAPET_MASTER_KEY_FILE";
/// The credential's name under systemd, unless the configuration names another.
const CREDENTIAL: &str = "parapet-master-key";

/// Why there is no master key.
#[derive(Debug, Error)]
pub enum MasterKeyError {
    /// The key lies beside what it protects.
    #[error(
        "use the master key {0}: it lies inside the data directory; keep it elsewhere (PARAPET_MASTER_KEY_FILE, /etc/parapet/master.key)"
    )]
    InsideData(PathBuf),
    /// Others could read it.
    #[error("use the master key {path}: others may read it (mode {mode:o}); run chmod 600 on it")]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else can change it.
    #[error(
        "use the master key {path}: it belongs to user {owner}; give it to the server's user or to root"
    )]
    Owner {
        /// Which file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// No keys, or something else. Never quotes the text.
    #[error(
        "use the master key of {0}: line {1} does not hold 64 hexadecimal digits; write the current key into the first line, older ones below"
    )]
    Format(String, usize),
    /// Nothing in it.
    #[error("use the master key of {0}: it is empty; write 64 hexadecimal digits into it")]
    Empty(String),
    /// More than there can be.
    #[error(
        "use the master keys of {0}: there are more than {MOST_KEYS} of them; take out those that no secret and no backup needs"
    )]
    TooMany(String),
    /// There is a database but no key to it.
    #[error(
        "find the master key {0} of an existing data directory: put it back, without it the stored secrets cannot be opened"
    )]
    Lost(PathBuf),
    /// The source is configured but has nothing.
    #[error("find the master key in {0}: it is not there; {1}")]
    Missing(String, &'static str),
    /// Nowhere to put a new one.
    #[error(
        "place a new master key: set PARAPET_MASTER_KEY_FILE to a file outside the data directory"
    )]
    NoPlace,
    /// A file cannot be read or written.
    #[error("use the master key {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The command hook.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The operator has to hand over the new key.
    #[error(
        "make a new master key: {0} gives the key that is in use; let it give the new key in the first line and the present one in the second, then ask again"
    )]
    NothingNew(String),
    /// A variable does not change under a running process.
    #[error(
        "take a new master key: a running server does not see {0} change; start it with the new key in the first line and the present one in the second"
    )]
    Fixed(String),
    /// The source gives keys, but not the one in use: what it sealed could not be opened.
    #[error(
        "take the new master key of {place}: the key in use, {current}, is not among its keys; add it below the new one"
    )]
    CurrentGone {
        /// Which source.
        place: String,
        /// ID of the key in use.
        current: KeyId,
    },
    /// No randomness.
    #[error("make a master key")]
    Random(#[source] io::Error),
}

/// Where the keys of this server come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file that the server may make and, at a rotation, replace.
    File {
        /// Which.
        path: PathBuf,
    },
    /// A credential that systemd hands to the service.
    Credential(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// A command that unwraps the key, with a KMS or an HSM.
    Command(KeyCommand),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path } => write!(f, "{}", path.display()),
            Self::Credential(path) => write!(f, "the credential {}", path.display()),
            Self::Environment(name) => write!(f, "the variable {name}"),
            Self::Command(command) => write!(f, "the command {command}"),
        }
    }
}

impl KeySource {
    /// The configured source; else the first of: the two variables, the demo's place, systemd's
    /// credential, `/etc`, the user's configuration.
    pub fn choose(config: &ServerConfig) -> Result<Self, MasterKeyError> {
        let source = match &config.master_key {
            Some(MasterKeySource::File(path)) => Self::File { path: path.clone() },
            Some(MasterKeySource::Credential(name)) => {
                Self::Credential(credential(name).ok_or(MasterKeyError::Missing(
                    format!("the credential {name}"),
                    "systemd sets CREDENTIALS_DIRECTORY when the unit has LoadCredential",
                ))?)
            }
            Some(MasterKeySource::Environment(name)) => Self::Environment(name.clone()),
            Some(MasterKeySource::Command(command)) => Self::Command(command.clone()),
            None => Self::found(config)?,
        };
        if let Self::File { path } | Self::Credential(path) = &source
            && !config.master_key_in_data
            && is_inside(path, &config.data)
        {
            return Err(MasterKeyError::InsideData(path.clone()));
        }
        Ok(source)
    }

    fn found(config: &ServerConfig) -> Result<Self, MasterKeyError> {
        if let Some(path) = std::env::var_os(FILE_VARIABLE) {
            return Ok(Self::File { path: path.into() });
        }
        if std::env::var_os(VARIABLE).is_some() {
            return Ok(Self::Environment(VARIABLE.to_owned()));
        }
        if config.master_key_in_data {
            let path = config.data.join("master.key");
            return Ok(Self::File { path });
        }
        if let Some(path) = credential(CREDENTIAL).filter(|path| path.exists()) {
            return Ok(Self::Credential(path));
        }
        let system = PathBuf::from("/etc/parapet/master.key");
        let own = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
            .map(|directory| directory.join("parapet/master.key"));
        let candidates = [Some(system), own.clone()];
        let path = candidates
            .into_iter()
            .flatten()
            .find(|path| path.exists())
            .or(own)
            .ok_or(MasterKeyError::NoPlace)?;
        Ok(Self::File { path })
    }

    /// The keys; makes the file when there is none and no database that would need the lost key.
    pub async fn load(&self, has_database: bool) -> Result<MasterKeys, MasterKeyError> {
        if let Self::File { path } = self
            && !path.try_exists().map_err(|source| file(path, source))?
        {
            if has_database {
                return Err(MasterKeyError::Lost(path.clone()));
            }
            make(path)?;
            tracing::info!(
                path = %path.display(),
                "made the master key; keep a copy of it, away from the data's backups"
            );
        }
        self.read().await
    }

    /// The keys that the source gives now.
    pub async fn read(&self) -> Result<MasterKeys, MasterKeyError> {
        Ok(parse(&self.to_string(), &self.text().await?)?.0)
    }

    async fn text(&self) -> Result<Zeroizing<String>, MasterKeyError> {
        match self {
            Self::File { path } => {
                look_at_owner(path)?;
                read_file(path)
            }
            // Its mode says nothing: systemd gives it to this service alone.
            Self::Credential(path) => read_file(path),
            Self::Environment(name) => match std::env::var(name) {
                Ok(text) => Ok(Zeroizing::new(text)),
                Err(_) => Err(MasterKeyError::Missing(
                    self.to_string(),
                    "set it to 64 hexadecimal digits",
                )),
            },
            Self::Command(command) => Ok(key_command::run(command).await?),
        }
    }

    /// The ring for a rotation: a new key that seals, and all that open now.
    ///
    /// The server makes the new key itself where the source is a file that gives the key in use
    /// only; it is durable there before this returns. Elsewhere the operator has handed it over,
    /// or this is an error that says how.
    pub async fn next(&self, ring: &MasterKeys) -> Result<MasterKeys, MasterKeyError> {
        let place = self.to_string();
        let current = ring.current().id();
        let text = self.text().await?;
        let (given, lines) = parse(&place, &text)?;
        if !given.ids().any(|id| id == current) {
            return Err(MasterKeyError::CurrentGone { place, current });
        }
        if given.current().id() != current {
            return Ok(given);
        }
        match self {
            Self::File { path } => {
                let new =
                    Zeroizing::new(random::hex::<KEY_BYTES>().map_err(MasterKeyError::Random)?);
                let mut lines = lines;
                lines.insert(0, new.as_str());
                replace(path, &lines)?;
                self.read().await
            }
            Self::Environment(_) => Err(MasterKeyError::Fixed(place)),
            Self::Credential(_) | Self::Command(_) => Err(MasterKeyError::NothingNew(place)),
        }
    }

    /// Takes the keys that no secret needs any more out of the source; says whether they are out.
    /// Each goes into a file of its own beside, `….retired-<ID>`: backups of before need it.
    ///
    /// Where the source is no file this is the operator's to do.
    pub async fn retire(&self, gone: &[KeyId]) -> Result<bool, MasterKeyError> {
        let Self::File { path } = self else {
            return Ok(false);
        };
        let text = self.text().await?;
        let (_, lines) = parse(&self.to_string(), &text)?;
        let mut kept = Vec::new();
        for (index, line) in lines.into_iter().enumerate() {
            let id = key(line).map(|key| key.id());
            match id.filter(|id| index > 0 && gone.contains(id)) {
                Some(id) => replace(&beside(path, &format!(".retired-{id}")), &[line])?,
                None => kept.push(line),
            }
        }
        replace(path, &kept)?;
        Ok(true)
    }
}

/// The path of a credential of systemd.
fn credential(name: &str) -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(|directory| PathBuf::from(directory).join(name))
}

/// The keys of a text, and the lines they stand in.
fn parse<'t>(place: &str, text: &'t str) -> Result<(MasterKeys, Vec<&'t str>), MasterKeyError> {
    let mut keys = Vec::new();
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        keys.push(key(line).ok_or_else(|| MasterKeyError::Format(place.to_owned(), index + 1))?);
        lines.push(line);
        if keys.len() > MOST_KEYS {
            return Err(MasterKeyError::TooMany(place.to_owned()));
        }
    }
    if keys.is_empty() {
        return Err(MasterKeyError::Empty(place.to_owned()));
    }
    let current = keys.remove(0);
    Ok((MasterKeys::new(current, keys), lines))
}

fn key(line: &str) -> Option<MasterKey> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    hex::decode_to_slice(line, bytes.as_mut_slice()).ok()?;
    Some(MasterKey::new(*bytes))
}

fn look_at_owner(path: &Path) -> Result<(), MasterKeyError> {
    let metadata = fs::metadata(path).map_err(|source| file(path, source))?;
    let path = path.to_owned();
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::Mode { path, mode });
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(MasterKeyError::Owner { path, owner });
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, MasterKeyError> {
    let mut text = Zeroizing::new(String::new());
    let opened = fs::File::open(path).map_err(|source| file(path, source))?;
    let read = opened.take(MOST_BYTES + 1).read_to_string(&mut text);
    read.map_err(|source| file(path, source))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(MasterKeyError::TooMany(path.display().to_string()));
    }
    Ok(text)
}

/// Whether `path` lies below `directory`, links resolved as far as they exist.
pub(crate) fn is_inside(path: &Path, directory: &Path) -> bool {
    let resolve = |path: &Path| {
        let existing = path
            .ancestors()
            .find(|part| part.exists())
            .unwrap_or(Path::new("/"));
        let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
        existing
            .canonicalize()
            .unwrap_or_else(|_| existing.to_owned())
            .join(rest)
    };
    resolve(path).starts_with(resolve(directory))
}

/// Makes the file; one that is there already is not touched.
fn make(path: &Path) -> Result<(), MasterKeyError> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|source| file(directory, source))?;
    }
    let new = Zeroizing::new(random::hex::<KEY_BYTES>().map_err(MasterKeyError::Random)?);
    let beside = write_beside(path, &[new.as_str()])?;
    // A link, unlike a renaming, does not replace what another start has made meanwhile.
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside).map_err(|source| file(&beside, source))?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked
            .and_then(|()| sync_directory(path))
            .map_err(|source| file(path, source)),
    }
}

/// Writes the file anew, all or nothing, durable.
fn replace(path: &Path, lines: &[&str]) -> Result<(), MasterKeyError> {
    // Links are followed: the file that is named is replaced, not the link.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let beside = write_beside(path, lines)?;
    fs::rename(&beside, path)
        .and_then(|()| sync_directory(path))
        .map_err(|source| file(path, source))
}

fn write_beside(path: &Path, lines: &[&str]) -> Result<PathBuf, MasterKeyError> {
    let new = beside(path, ".new");
    let failed = |source| file(&new, source);
    let mut text = Zeroizing::new(String::with_capacity(lines.len() * (2 * KEY_BYTES + 1)));
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    let mut opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    opened
        .write_all(text.as_bytes())
        .and_then(|()| opened.sync_all())
        .map_err(failed)?;
    Ok(new)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

fn file(path: &Path, source: io::Error) -> MasterKeyError {
    MasterKeyError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn source(text: &str) -> (tempfile::TempDir, KeySource) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("master.key");
        write_beside(&path, &[text]).expect("written");
        fs::rename(dir.path().join("master.key.new"), &path).expect("renamed");
        (dir, KeySource::File { path })
    }

    fn id(line: &str) -> KeyId {
        key(line).expect("a key").id()
    }

    #[test]
    fn a_path_is_inside_through_links_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        fs::create_dir(&data).expect("made");
        std::os::unix::fs::symlink(&data, dir.path().join("link")).expect("linked");
        assert!(is_inside(&data.join("k"), &data));
        assert!(is_inside(&dir.path().join("link/new/k"), &data));
        assert!(!is_inside(&dir.path().join("k"), &data));
    }

    #[tokio::test]
    async fn a_key_inside_the_data_needs_the_demo_and_a_lost_one_is_not_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = ServerConfig::new(dir.path().to_owned());
        config.master_key = Some(MasterKeySource::File(dir.path().join("master.key")));
        assert!(matches!(
            KeySource::choose(&config),
            Err(MasterKeyError::InsideData(_))
        ));
        config.master_key_in_data = true;
        let source = KeySource::choose(&config).expect("the demo may");
        assert!(matches!(
            source.load(true).await,
            Err(MasterKeyError::Lost(_))
        ));
        let made = source.load(false).await.expect("made");
        let found = source.load(true).await.expect("found");
        assert_eq!(made.current().id(), found.current().id());
    }

    #[tokio::test]
    async fn a_key_that_others_may_read_is_refused() {
        let (_dir, source) = source(A);
        let KeySource::File { path } = &source else {
            panic!("no file")
        };
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
            assert!(
                matches!(source.load(true).await, Err(MasterKeyError::Mode { .. })),
                "{mode:o}"
            );
        }
    }

    #[tokio::test]
    async fn a_text_that_is_no_list_of_keys_is_refused_without_being_shown() {
        let many = [A; MOST_KEYS + 1].join("\n");
        for text in ["", "\n", "hunter2", &A[1..], many.as_str()] {
            let (_dir, source) = source(text);
            let error = source.load(true).await.expect_err(text);
            let shown = format!("{error:?} {error}");
            assert!(
                !shown.contains("hunter2") && !shown.contains("aaaa"),
                "{shown}"
            );
        }
    }

    #[tokio::test]
    async fn a_rotation_makes_a_key_keeps_the_old_one_and_lets_it_go() {
        let (dir, source) = source(A);
        let before = source.load(true).await.expect("a key");
        let ring = source.next(&before).await.expect("a new key");
        assert_ne!(ring.current().id(), id(A));
        assert_eq!(ring.older_ids().collect::<Vec<_>>(), [id(A)]);
        // A server that was killed here finds both.
        let again = source.load(true).await.expect("both keys");
        assert_eq!(
            again.ids().collect::<Vec<_>>(),
            ring.ids().collect::<Vec<_>>()
        );
        assert!(source.retire(&[id(A)]).await.expect("retired"));
        let after = source.load(true).await.expect("one key");
        assert_eq!(after.ids().collect::<Vec<_>>(), [ring.current().id()]);
        let retired = dir.path().join(format!("master.key.retired-{}", id(A)));
        assert_eq!(fs::read_to_string(&retired).expect("kept").trim(), A);
        let mode = fs::metadata(retired).expect("kept").mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[tokio::test]
    async fn a_key_that_the_operator_hands_over_is_taken_when_the_present_one_stays() {
        let (_dir, source) = source(&format!("{B}\n{A}"));
        let present = MasterKeys::from(key(A).expect("a key"));
        let ring = source.next(&present).await.expect("handed over");
        assert_eq!(ring.ids().collect::<Vec<_>>(), [id(B), id(A)]);
        let other = MasterKeys::from(MasterKey::new([1; KEY_BYTES]));
        let refused = source.next(&other).await;
        assert!(matches!(refused, Err(MasterKeyError::CurrentGone { .. })));
    }

    #[tokio::test]
    async fn the_current_key_is_never_retired() {
        let (_dir, source) = source(A);
        source.retire(&[id(A)]).await.expect("nothing to do");
        let ring = source.load(true).await.expect("still there");
        assert_eq!(ring.current().id(), id(A));
    }
}
