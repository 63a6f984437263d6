//! A new key as a profile of the AWS tools: its secret in the credentials file, where the control
//! plane is in the config file.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::api::files::{Files, Settings, find_section, heading};

/// A profile that is not there yet.
pub(super) struct Profile {
    name: String,
    files: Files,
}

impl Profile {
    /// Looks whether the profile can be written, before there is a key to be lost.
    pub(super) fn new(name: &str) -> Result<Self> {
        Self::within(name, Files::find(None)?)
    }

    fn within(name: &str, files: Files) -> Result<Self> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.@+=,-".contains(c);
        ensure!(
            !name.is_empty() && name.chars().all(is_plain),
            "--save {name:?}: letters, digits and _.@+=,- make the name of a profile"
        );
        for file in [&files.credentials, &files.config] {
            ensure!(
                !is_of_server(file),
                "--save {name:?}: {} is the server's, which writes it anew at each start; unset \
                 AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE (then ~/.aws is taken) and name \
                 the control plane with --data",
                file.display()
            );
        }
        ensure!(
            find_section(&text_of(&files.credentials)?, name).is_none(),
            "--save {name:?}: {} has that profile; take another name or remove it there",
            files.credentials.display()
        );
        if let Some(directory) = files.credentials.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("make {}", directory.display()))?;
        }
        Ok(Self {
            name: name.to_owned(),
            files,
        })
    }

    /// Writes it; gives the credentials file.
    pub(super) fn write(&self, id: &str, secret: &str, settings: &Settings) -> Result<&Path> {
        let name = &self.name;
        let keys = format!("aws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        append(&self.files.credentials, name, &keys)?;
        let heading = heading(name);
        // Somebody may have written down another way to the same place.
        if find_section(&text_of(&self.files.config)?, &heading).is_none() {
            append(&self.files.config, &heading, &place(settings)?)?;
        }
        Ok(&self.files.credentials)
    }
}

/// Without the endpoint the AWS tools would ask AWS; path style, as in `DIR/admin/config`.
fn place(settings: &Settings) -> Result<String> {
    let mut lines = vec![format!("region = {}", settings.region)];
    if let Some(endpoint) = &settings.endpoint {
        lines.push(format!("endpoint_url = {endpoint}"));
    }
    if let Some(bundle) = &settings.ca_bundle {
        let bundle = std::path::absolute(bundle).context("find the CA")?;
        lines.push(format!("ca_bundle = {}", bundle.display()));
    }
    lines.push("s3 =\n    addressing_style = path\n    signature_version = s3v4\n".to_owned());
    Ok(lines.join("\n"))
}

/// `DIR/admin` of a data directory.
fn is_of_server(file: &Path) -> bool {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let data = file.parent().and_then(Path::parent);
    data.is_some_and(|data| data.join("parapet.db").exists())
}

fn text_of(file: &Path) -> Result<String> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

/// Adds a section, all or nothing; then the owner alone can read the file. Links are followed.
fn append(file: &Path, section: &str, lines: &str) -> Result<()> {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let before = text_of(&file)?;
    let gap = match before.as_str() {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let text = format!("{before}{gap}[{section}]\n{lines}");
    let mut beside = file.clone().into_os_string();
    beside.push(".parapet");
    let beside = PathBuf::from(beside);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut new| {
            new.write_all(text.as_bytes())?;
            new.sync_all()?;
            std::fs::rename(&beside, &file)
        });
    written.with_context(|| format!("write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files(directory: &Path) -> Files {
        Files {
            credentials: directory.join("aws/credentials"),
            config: directory.join("aws/config"),
        }
    }

    fn settings() -> Settings {
        Settings {
            endpoint: Some("https://127.0.0.1:8443".to_owned()),
            region: "us-west-2".to_owned(),
            ca_bundle: Some("/data/admin/ca.pem".to_owned()),
        }
    }

    #[test]
    fn a_profile_is_added_for_its_owner_alone_and_none_is_replaced() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let files = || files(directory.path());
        std::fs::create_dir(directory.path().join("aws"))?;
        std::fs::write(
            files().credentials,
            "[other]\naws_access_key_id = AKIAOTHER",
        )?;
        let profile = Profile::within("ann", files())?;
        profile.write("AKIAANN", "secret", &settings())?;
        let text = std::fs::read_to_string(files().credentials)?;
        assert_eq!(
            text,
            "[other]\naws_access_key_id = AKIAOTHER\n\n\
             [ann]\naws_access_key_id = AKIAANN\naws_secret_access_key = secret\n"
        );
        let mode = std::fs::metadata(files().credentials)?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let config = std::fs::read_to_string(files().config)?;
        assert!(config.starts_with("[profile ann]\nregion = us-west-2\nendpoint_url = https://"));
        assert!(Profile::within("ann", files()).is_err());
        assert!(Profile::within("a]\n[b", files()).is_err());
        Ok(())
    }

    #[test]
    fn the_servers_own_files_are_left_alone() -> Result<()> {
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join("parapet.db"), "")?;
        let refused = Profile::within("ann", files(directory.path())).err();
        let refused = refused.context("refused")?.to_string();
        assert!(refused.contains("--data"), "{refused}");
        Ok(())
    }
}
