//! Finds or makes the master key, outside of the data directory.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use parapet_auth::{MasterKey, MasterKeys};
use zeroize::Zeroizing;

use super::IdentityError;
use crate::config::ServerConfig;
use crate::random;

/// Loads the key; makes one when there is none and no database that would need the lost one.
pub fn load(config: &ServerConfig, has_database: bool) -> Result<MasterKeys, IdentityError> {
    let path = place(config)?;
    if !config.master_key_in_data && is_inside(&path, &config.data) {
        return Err(IdentityError::KeyInsideData(path));
    }
    match fs::metadata(&path) {
        Ok(metadata) => {
            let mode = metadata.mode() & 0o777;
            // A systemd credential is readable by this service alone, whatever its mode.
            if mode & 0o077 != 0 && !path.starts_with("/run/credentials") {
                return Err(IdentityError::KeyMode { path, mode });
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if has_database {
                return Err(IdentityError::KeyLost(path));
            }
            make(&path)?;
            tracing::info!(path = %path.display(), "made the master key; keep a copy of it elsewhere");
        }
        Err(source) => return Err(IdentityError::File { path, source }),
    }
    let text = Zeroizing::new(
        fs::read_to_string(&path).map_err(|source| IdentityError::File {
            path: path.clone(),
            source,
        })?,
    );
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_end(), bytes.as_mut_slice())
        .map_err(|_| IdentityError::KeyFormat(path))?;
    Ok(MasterKeys::from(MasterKey::new(*bytes)))
}

/// The first of: variable, systemd credential, `/etc`, the user's configuration.
fn place(config: &ServerConfig) -> Result<PathBuf, IdentityError> {
    if let Some(path) = std::env::var_os("PARAPET_MASTER_KEY_FILE") {
        return Ok(path.into());
    }
    if config.master_key_in_data {
        return Ok(config.data.join("master.key"));
    }
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
        .map(|directory| PathBuf::from(directory).join("parapet-master-key"));
    let system = PathBuf::from("/etc/parapet/master.key");
    let own = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
        .map(|directory| directory.join("parapet/master.key"));
    let candidates = [credential, Some(system), own.clone()];
    if let Some(found) = candidates.into_iter().flatten().find(|path| path.exists()) {
        return Ok(found);
    }
    own.ok_or(IdentityError::KeyPlace)
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

fn make(path: &Path) -> Result<(), IdentityError> {
    let failed = |source| IdentityError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let text = Zeroizing::new(format!(
        "{}\n",
        random::hex::<32>().map_err(IdentityError::Random)?
    ));
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
    fn a_path_is_inside_through_links_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        fs::create_dir(&data).expect("made");
        std::os::unix::fs::symlink(&data, dir.path().join("link")).expect("linked");
        assert!(is_inside(&data.join("k"), &data));
        assert!(is_inside(&dir.path().join("link/new/k"), &data));
        assert!(!is_inside(&dir.path().join("k"), &data));
    }

    #[test]
    fn a_key_inside_the_data_needs_the_demo_and_a_lost_one_is_not_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = ServerConfig::new(dir.path().to_owned());
        config.master_key_in_data = true;
        assert!(matches!(
            load(&config, true),
            Err(IdentityError::KeyLost(_))
        ));
        assert!(load(&config, false).is_ok());
        assert!(load(&config, true).is_ok());
    }
}
