//! What a camera's settings may be, and the package that a template makes of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Invalid;

/// The driver that camera packages name as their asset.
pub const RTSP_DRIVER: &str = "source/video/camera/rtsp/source_rtsp";
/// What stands in answers where a credential was given (`spec/api.md` DescribeNodeFromTemplateJob).
pub const MASK: &str = "SAVED_AS_SECRET";
/// Longest template value (`TemplateValue`), and so the longest address, name and password.
const VALUE_CHARACTERS: usize = 255;

const STREAM_URL: &str = "StreamUrl";
const USERNAME: &str = "Username";
const PASSWORD: &str = "Password";

/// A camera's user name and password. Erased when dropped; no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// May be empty.
    pub username: String,
    /// May be empty.
    pub password: String,
}

impl Credentials {
    /// The form that is wrapped and stored.
    pub fn to_json(&self) -> Result<zeroize::Zeroizing<Vec<u8>>, serde_json::Error> {
        serde_json::to_vec(self).map(zeroize::Zeroizing::new)
    }

    /// Back from the stored form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// What `TemplateParameters` of the RTSP template say.
pub struct TemplateSettings {
    /// `rtsp://…` without credentials.
    pub url: String,
    /// If any were given.
    pub credentials: Option<Credentials>,
}

/// Reads the parameters of the template `RTSP_CAMERA_STREAM`.
pub fn template_settings(
    parameters: &BTreeMap<String, String>,
) -> Result<TemplateSettings, Invalid> {
    if let Some(key) = parameters
        .keys()
        .find(|key| ![STREAM_URL, USERNAME, PASSWORD].contains(&key.as_str()))
    {
        return Err(Invalid::new(
            "TemplateParameters",
            format!(
                "the key {key:?} is not known; use {STREAM_URL}, {USERNAME} and {PASSWORD} \
                 (capital letters matter)"
            ),
        ));
    }
    let url = parameters.get(STREAM_URL).ok_or_else(|| {
        Invalid::new(
            "TemplateParameters.StreamUrl",
            "missing; give the camera's address as rtsp://HOST[:PORT]/PATH",
        )
    })?;
    check_url("TemplateParameters.StreamUrl", url)?;
    let (username, password) = (parameters.get(USERNAME), parameters.get(PASSWORD));
    if username.is_none() && password.is_some() {
        return Err(Invalid::new(
            "TemplateParameters.Username",
            "missing although Password is given; give both or none",
        ));
    }
    let credentials = username.map(|username| Credentials {
        username: username.clone(),
        password: password.cloned().unwrap_or_default(),
    });
    if let Some(credentials) = &credentials {
        check_credentials("TemplateParameters", credentials)?;
    }
    Ok(TemplateSettings {
        url: url.clone(),
        credentials,
    })
}

/// The parameters as answers show them: the address in clear, credentials masked.
#[must_use]
pub fn masked(parameters: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    parameters
        .iter()
        .map(|(key, value)| {
            let shown = if key == STREAM_URL { value } else { MASK };
            (key.clone(), shown.to_owned())
        })
        .collect()
}

/// Whether `url` is a camera's address. Its text is not repeated in the error when it holds
/// credentials.
pub fn check_url(field: &str, url: &str) -> Result<(), Invalid> {
    let invalid = |message: String| Err(Invalid::new(field, message));
    if url.is_empty() || url.chars().count() > VALUE_CHARACTERS {
        return invalid(format!("must have 1 to {VALUE_CHARACTERS} characters"));
    }
    let parsed = match url::Url::parse(url) {
        Ok(parsed) => parsed,
        Err(error) => {
            return invalid(format!(
                "is no URL ({error}); write rtsp://HOST[:PORT]/PATH"
            ));
        }
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return invalid(
            "must not hold a user name or password, it is shown in answers; give them as Username \
             and Password"
                .to_owned(),
        );
    }
    if parsed.scheme() != "rtsp" {
        return invalid(format!(
            "has the scheme {:?}; only rtsp is supported, write rtsp://HOST[:PORT]/PATH",
            parsed.scheme()
        ));
    }
    if parsed.host_str().is_none_or(str::is_empty) {
        return invalid("names no host; write rtsp://HOST[:PORT]/PATH".to_owned());
    }
    if parsed.fragment().is_some() {
        return invalid("has a part after '#', which cameras do not get; leave it out".to_owned());
    }
    // `Url` drops tabs and line breaks silently; the camera's process would see them.
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return invalid("holds blanks or control characters; remove or percent-encode them".into());
    }
    Ok(())
}

/// Whether a name and a password can be sent to a camera.
pub fn check_credentials(field: &str, credentials: &Credentials) -> Result<(), Invalid> {
    for (member, value) in [
        ("Username", &credentials.username),
        ("Password", &credentials.password),
    ] {
        if value.chars().count() > VALUE_CHARACTERS {
            return Err(Invalid::new(
                format!("{field}.{member}"),
                format!("must have at most {VALUE_CHARACTERS} characters"),
            ));
        }
        if value.chars().any(char::is_control) {
            return Err(Invalid::new(
                format!("{field}.{member}"),
                "holds a line break or another control character, which RTSP cannot carry",
            ));
        }
    }
    // Basic and digest authentication separate the name from the rest by a colon (RFC 7617 2).
    if credentials.username.contains(':') {
        return Err(Invalid::new(
            format!("{field}.Username"),
            "holds ':', which HTTP and RTSP authentication cannot carry",
        ));
    }
    Ok(())
}

/// package.json of a camera made from the template (`spec/manifests.md` 4.4). Its bytes depend on
/// the arguments alone, so that their hash can name the patch. It holds no credentials and not
/// even the name of their secret: that may change without a new patch.
pub fn package_json(
    package: &str,
    version: &str,
    node: &str,
    description: Option<&str>,
    url: &str,
) -> Result<String, serde_json::Error> {
    let mut interface = serde_json::json!({
        "name": node,
        "category": "media_source",
        "asset": "rtsp_camera",
        "inputs": [
            { "name": "username", "type": "string", "default": "" },
            { "name": "password", "type": "string", "default": "" },
            { "name": "streamUrl", "type": "string", "default": url },
        ],
        "outputs": [
            { "name": "video_out", "type": "media", "description": "Video stream output" },
        ],
    });
    if let (Some(description), Some(members)) = (description, interface.as_object_mut()) {
        members.insert("description".to_owned(), description.into());
    }
    serde_json::to_string(&serde_json::json!({
        "nodePackage": {
            "envelopeVersion": "2021-01-01",
            "name": package,
            "version": version,
            "description": "Camera made from the template RTSP_CAMERA_STREAM",
            "assets": [{
                "name": "rtsp_camera",
                "implementations": [{ "type": "system", "assetUri": RTSP_DRIVER }],
            }],
            "interfaces": [interface],
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn an_address_is_rtsp_with_a_host_and_without_credentials() {
        for (url, fault) in [
            ("rtsp://10.0.0.30:554/s1", None),
            ("rtsp://[fd00::1]/s1?channel=2", None),
            ("rtsp://camera.example/", None),
            ("", Some("characters")),
            ("camera", Some("no URL")),
            ("http://10.0.0.30/", Some("scheme")),
            ("rtsps://10.0.0.30/", Some("scheme")),
            ("rtsp:///path", Some("host")),
            (
                "rtsp://user:topsecret@10.0.0.30/",
                Some("Username and Password"),
            ),
            ("rtsp://user@10.0.0.30/", Some("Username and Password")),
            ("rtsp://10.0.0.30/a#b", Some("#")),
            ("rtsp://10.0.0.30/a b", Some("blanks")),
            ("rtsp://10.0.0.30/a\nb", Some("blanks")),
        ] {
            let outcome = check_url("StreamUrl", url);
            match fault {
                None => assert_eq!(outcome, Ok(()), "{url}"),
                Some(words) => {
                    let invalid = outcome.expect_err(url);
                    assert!(invalid.message.contains(words), "{url:?}: {invalid}");
                    assert!(!invalid.message.contains("topsecret"));
                }
            }
        }
    }

    #[test]
    fn template_parameters_are_the_three_known_ones() {
        let url = ("StreamUrl", "rtsp://10.0.0.30/s1");
        let open = template_settings(&parameters(&[url])).map(|s| s.credentials.is_some());
        assert_eq!(open, Ok(false));
        let closed = template_settings(&parameters(&[url, ("Username", "a"), ("Password", "b")]));
        let credentials = closed
            .ok()
            .and_then(|s| s.credentials)
            .expect("credentials");
        assert_eq!(
            (credentials.username.as_str(), credentials.password.as_str()),
            ("a", "b")
        );
        for (given, field) in [
            (vec![], "TemplateParameters.StreamUrl"),
            (vec![url, ("Password", "b")], "TemplateParameters.Username"),
            (vec![url, ("username", "a")], "TemplateParameters"),
            (
                vec![url, ("Username", "a:b")],
                "TemplateParameters.Username",
            ),
            (
                vec![url, ("Username", "a"), ("Password", "b\r\n")],
                "TemplateParameters.Password",
            ),
        ] {
            let invalid = template_settings(&parameters(&given))
                .err()
                .expect("refused");
            assert_eq!(invalid.field, field, "{given:?}");
        }
    }

    #[test]
    fn answers_show_no_credentials() {
        let shown = masked(&parameters(&[
            ("StreamUrl", "rtsp://10.0.0.30/s1"),
            ("Username", "viewer"),
            ("Password", "hunter2"),
        ]));
        assert_eq!(shown["StreamUrl"], "rtsp://10.0.0.30/s1");
        assert_eq!(
            (shown["Username"].as_str(), shown["Password"].as_str()),
            (MASK, MASK)
        );
    }

    #[test]
    fn the_same_camera_gives_the_same_package() {
        let one = package_json("cam", "1.0", "cam", Some("north"), "rtsp://h/1").expect("json");
        let two = package_json("cam", "1.0", "cam", Some("north"), "rtsp://h/1").expect("json");
        assert_eq!(one, two);
        let value: serde_json::Value = serde_json::from_str(&one).expect("json");
        assert_eq!(
            value["nodePackage"]["interfaces"][0]["description"],
            "north"
        );
    }
}
