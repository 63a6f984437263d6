//! The AWS tools' variables and files, read as they read them.
//!
//! A profile named on the command line takes precedence over keys in variables; without one the
//! variables do (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`), then the profile
//! that `AWS_PROFILE` names, then `default`: botocore's order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The two files.
pub(crate) struct Files {
    /// Keys.
    pub(crate) credentials: PathBuf,
    /// Everything else.
    pub(crate) config: PathBuf,
}

impl Files {
    /// Those of a data directory, else those of the AWS tools.
    pub(crate) fn find(data: Option<&Path>) -> Result<Self> {
        if let Some(data) = data {
            let admin = data.join("admin");
            return Ok(Self {
                credentials: admin.join("credentials"),
                config: admin.join("config"),
            });
        }
        let file = |variable: &str, name: &str| -> Result<PathBuf> {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .or_else(|| {
                    std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".aws").join(name))
                })
                .with_context(|| format!("set {variable}, or name a control plane with --data"))
        };
        Ok(Self {
            credentials: file("AWS_SHARED_CREDENTIALS_FILE", "credentials")?,
            config: file("AWS_CONFIG_FILE", "config")?,
        })
    }
}

/// Whose key signs. No `Debug`: it holds a secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    /// Of temporary credentials.
    pub(super) session_token: Option<String>,
}

impl Identity {
    pub(super) fn read(
        files: &Files,
        profile: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        if profile.is_none()
            && let Some(access_key) = variable("AWS_ACCESS_KEY_ID")
        {
            let secret_key = variable("AWS_SECRET_ACCESS_KEY")
                .context("AWS_ACCESS_KEY_ID is set: set AWS_SECRET_ACCESS_KEY too")?;
            return Ok(Self {
                access_key,
                secret_key,
                session_token: variable("AWS_SESSION_TOKEN"),
            });
        }
        let profile = named(profile, &variable);
        let found = section(&files.credentials, &profile)?;
        let key = |name: &str| {
            found.get(name).cloned().with_context(|| {
                format!(
                    "{}: profile {profile:?} has no {name}",
                    files.credentials.display()
                )
            })
        };
        Ok(Self {
            access_key: key("aws_access_key_id")?,
            secret_key: key("aws_secret_access_key")?,
            session_token: found.get("aws_session_token").cloned(),
        })
    }
}

/// Where the control plane is, and whom it trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// URL of the API.
    pub(crate) endpoint: Option<String>,
    /// Region that signatures are made for.
    pub(crate) region: String,
    /// File of the certificate authorities.
    pub(crate) ca_bundle: Option<String>,
}

impl Settings {
    pub(super) fn read(
        files: &Files,
        profile: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let config = section(&files.config, &heading(&named(profile, &variable)));
        let config = config.unwrap_or_default();
        let setting = |name: &str, key: &str| variable(name).or_else(|| config.get(key).cloned());
        Self {
            endpoint: setting("AWS_ENDPOINT_URL", "endpoint_url"),
            region: setting("AWS_REGION", "region").unwrap_or_else(|| "us-west-2".to_owned()),
            ca_bundle: setting("AWS_CA_BUNDLE", "ca_bundle"),
        }
    }
}

/// The profile's section in the config file.
pub(crate) fn heading(profile: &str) -> String {
    if profile == "default" {
        return profile.to_owned();
    }
    format!("profile {profile}")
}

fn named(profile: Option<&str>, variable: &impl Fn(&str) -> Option<String>) -> String {
    profile
        .map(str::to_owned)
        .or_else(|| variable("AWS_PROFILE"))
        .unwrap_or_else(|| "default".to_owned())
}

/// One section of an AWS file. Nested settings (indented lines) are passed over.
fn section(file: &Path, name: &str) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("read {}: is this the right control plane?", file.display()))?;
    find_section(&text, name)
        .with_context(|| format!("{}: there is no section [{name}]", file.display()))
}

/// The same of a text; `None` when it has no such section.
pub(crate) fn find_section(text: &str, name: &str) -> Option<BTreeMap<String, String>> {
    let mut found = None;
    let mut here = false;
    for line in text.lines() {
        if let Some(heading) = line
            .trim()
            .strip_prefix('[')
            .and_then(|l| l.strip_suffix(']'))
        {
            here = heading.trim() == name;
            if here {
                found.get_or_insert_with(BTreeMap::new);
            }
        } else if here
            && !line.starts_with([' ', '\t', '#', ';'])
            && let (Some(values), Some((key, value))) = (found.as_mut(), line.split_once('='))
        {
            values.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[default]\nregion = us-west-2\ns3 =\n  addressing_style = path\n\
                          [profile other]\nregion=eu-central-1\n";

    #[test]
    fn a_section_is_found_and_nested_settings_are_passed_over() -> Result<()> {
        let found = find_section(CONFIG, "default").context("a section")?;
        assert_eq!(found.get("region").map(String::as_str), Some("us-west-2"));
        assert!(!found.contains_key("addressing_style"));
        let other = find_section(CONFIG, "profile other").context("a section")?;
        assert_eq!(other.len(), 1);
        assert_eq!(find_section(CONFIG, "missing"), None);
        Ok(())
    }

    fn files(directory: &Path) -> Result<Files> {
        let files = Files {
            credentials: directory.join("credentials"),
            config: directory.join("config"),
        };
        std::fs::write(&files.config, CONFIG)?;
        let keys = "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = s\n\
                    [other]\naws_access_key_id = ASIAOTHER\naws_secret_access_key = s\n\
                    aws_session_token = token\n";
        std::fs::write(&files.credentials, keys)?;
        Ok(files)
    }

    #[test]
    fn keys_in_variables_come_before_profiles_unless_the_command_names_one() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let files = files(directory.path())?;
        let variable = |name: &str| {
            let value = match name {
                "AWS_ACCESS_KEY_ID" => "ASIAVARIABLE",
                "AWS_SECRET_ACCESS_KEY" => "s",
                "AWS_SESSION_TOKEN" => "of the variable",
                "AWS_PROFILE" => "default",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let found = Identity::read(&files, None, variable)?;
        assert_eq!(found.access_key, "ASIAVARIABLE");
        assert_eq!(found.session_token.as_deref(), Some("of the variable"));
        let found = Identity::read(&files, Some("other"), variable)?;
        assert_eq!(found.access_key, "ASIAOTHER");
        assert_eq!(found.session_token.as_deref(), Some("token"));
        let settings = Settings::read(&files, Some("other"), variable);
        assert_eq!(settings.region, "eu-central-1");
        Ok(())
    }

    #[test]
    fn a_profile_in_a_variable_is_taken_and_half_a_key_is_refused() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let files = files(directory.path())?;
        let profile = |name: &str| (name == "AWS_PROFILE").then(|| "other".to_owned());
        assert_eq!(
            Identity::read(&files, None, profile)?.access_key,
            "ASIAOTHER"
        );
        let half = |name: &str| (name == "AWS_ACCESS_KEY_ID").then(|| "AKIA".to_owned());
        let refused = Identity::read(&files, None, half)
            .err()
            .context("refused")?;
        assert!(refused.to_string().contains("AWS_SECRET_ACCESS_KEY"));
        Ok(())
    }
}
