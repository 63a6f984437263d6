//! The file of the key that signs checkpoints: outside of the data directory, like the master key,
//! so that whoever can rewrite the trail cannot sign what they wrote.
//!
//! Found in this order: `PARAPET_AUDIT_KEY_FILE`; beside `PARAPET_MASTER_KEY_FILE`; the systemd
//! credential `parapet-audit-key`; `/etc/parapet/audit.key`; the user's configuration. Made when it
//! is in none of these places. Holds 64 hexadecimal digits.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use super::checkpoint::SigningKey;
use crate::config::ServerConfig;
use crate::identity::is_inside;
use crate::random;

/// Name of the file.
const NAME: &str = "audit.key";

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// It lies beside what it protects.
    #[error(
        "use the audit key {0}: it lies inside the data directory; keep it elsewhere (PARAPET_AUDIT_KEY_FILE, /etc/parapet/audit.key)"
    )]
    InsideData(PathBuf),
    /// Others could sign with it.
    #[error("use the audit key {path}: others may read it (mode {mode:o}); run chmod 600 on it")]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 64 hexadecimal digits.
    #[error("use the audit key {0}: it does not hold 64 hexadecimal digits")]
    Format(PathBuf),
    /// There is neither `HOME` nor a file.
    #[error(
        "place a new audit key: set PARAPET_AUDIT_KEY_FILE to a file outside the data directory, or give the credential parapet-audit-key"
    )]
    Place,
    /// A file cannot be read or written.
    #[error("use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The key, and whether it was made just now.
pub(crate) struct Loaded {
    pub(crate) key: SigningKey,
    pub(crate) is_new: bool,
}

/// Loads the key, or makes it.
pub(crate) fn load(config: &ServerConfig) -> Result<Loaded, KeyError> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let path = place(config, variable)?;
    if !config.master_key_in_data && is_inside(&path, &config.data) {
        return Err(KeyError::InsideData(path));
    }
    let is_new = match fs::metadata(&path) {
        Ok(metadata) => {
            let mode = metadata.mode() & 0o777;
            // A systemd credential is readable by this service alone, whatever its mode.
            if mode & 0o077 != 0 && !path.starts_with("/run/credentials") {
                return Err(KeyError::Mode { path, mode });
            }
            false
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(&path)?;
            tracing::info!(path = %path.display(), "made the key that signs the audit trail's checkpoints");
            true
        }
        Err(source) => return Err(KeyError::File { path, source }),
    };
    let text = Zeroizing::new(fs::read_to_string(&path).map_err(|source| KeyError::File {
        path: path.clone(),
        source,
    })?);
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_end(), seed.as_mut_slice())
        .ok()
        .and_then(|()| SigningKey::from_seed(&seed))
        .map(|key| Loaded { key, is_new })
        .ok_or(KeyError::Format(path))
}

/// Writes the public key where operators look for it.
pub(crate) fn write_public(key: &SigningKey, directory: &Path) -> Result<(), KeyError> {
    let path = directory.join("audit-public-key.pem");
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&path, key.public().to_pem()))
        .map_err(|source| KeyError::File { path, source })
}

fn place(
    config: &ServerConfig,
    variable: impl Fn(&str) -> Option<PathBuf>,
) -> Result<PathBuf, KeyError> {
    if let Some(path) = variable("PARAPET_AUDIT_KEY_FILE") {
        return Ok(path);
    }
    if config.master_key_in_data {
        return Ok(config.data.join(NAME));
    }
    if let Some(master) = variable("PARAPET_MASTER_KEY_FILE") {
        return Ok(master.with_file_name(NAME));
    }
    let credential = variable("CREDENTIALS_DIRECTORY").map(|d| d.join("parapet-audit-key"));
    let system = PathBuf::from("/etc/parapet").join(NAME);
    let own = variable("XDG_CONFIG_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".config")))
        .map(|directory| directory.join("parapet").join(NAME));
    [credential, Some(system), own.clone()]
        .into_iter()
        .flatten()
        .find(|path| path.exists())
        .or(own)
        .ok_or(KeyError::Place)
}

fn make(path: &Path) -> Result<(), KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let text = Zeroizing::new(format!("{}\n", random::hex::<32>().map_err(failed)?));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_lies_beside_the_master_key_unless_it_is_named() {
        let config = ServerConfig::new("/data".into());
        let of = |names: &'static [(&str, &str)]| {
            place(&config, move |wanted| {
                let found = names.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| PathBuf::from(value))
            })
        };
        let named = [
            ("PARAPET_AUDIT_KEY_FILE", "/a/key"),
            ("PARAPET_MASTER_KEY_FILE", "/m/master.key"),
        ];
        let named: &'static [_] = Box::leak(Box::new(named));
        assert_eq!(of(named).expect("a place"), Path::new("/a/key"));
        assert_eq!(of(&named[1..]).expect("a place"), Path::new("/m/audit.key"));
        assert!(of(&[]).is_err() || Path::new("/etc/parapet/audit.key").exists());
    }

    #[test]
    fn a_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().expect("a directory");
        let mut config = ServerConfig::new(folder.path().to_owned());
        config.master_key_in_data = true;
        let first = load(&config).expect("made");
        let again = load(&config).expect("found");
        assert!(first.is_new && !again.is_new);
        assert_eq!(first.key.public(), again.key.public());
        write_public(&again.key, &folder.path().join("admin")).expect("written");
    }
}
