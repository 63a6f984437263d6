//! What a camera's settings may be, and the package that a template makes of them.
//!
//! An address is `rtsp://HOST[:PORT]/PATH` or `rtsps://…`, and where an administrator has allowed it
//! `file:///PATH`, because that is what appliances read: an address that is taken here and then
//! never gives a picture would mislead. Nothing in it is ever given to a shell, a player or another protocol's client.

use parapet_api::RtspCameraParameters;

use parapet_device::confinement::host_name;

use super::Invalid;
use super::confinement::is_no_camera;

/// The driver that camera packages name as their asset.
pub const RTSP_DRIVER: &str = "source/video/camera/rtsp/source_rtsp";
/// What is said of devices.
const NOT_READ: &str = "appliances read cameras over the network and files only: write \
                        rtsp://HOST[:PORT]/PATH or file:///PATH";
/// What is said of files where nobody has allowed them.
const NOT_ALLOWED: &str = "is a file of the appliance, which this control plane does not allow: its \
                           administrator can, with `[cameras] files = true` in its configuration; \
                           or write rtsp://HOST[:PORT]/PATH";

/// Which cameras an administrator has allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allowed {
    /// Those of the network.
    #[default]
    Network,
    /// Files of an appliance as well, of which the appliance has a list of its own.
    Files,
}
/// Longest template value (`TemplateValue`), and so the longest address, name and password.
const VALUE_CHARACTERS: usize = 255;

/// Whether the parameters of the template `RTSP_CAMERA_STREAM` make a camera.
pub fn check_parameters(
    parameters: &RtspCameraParameters,
    allowed: Allowed,
) -> Result<(), Invalid> {
    const FIELD: &str = "TemplateParameters";
    check_url(
        &format!("{FIELD}.StreamUrl"),
        &parameters.stream_url,
        allowed,
    )?;
    if parameters.username.is_none() && parameters.password.is_some() {
        return Err(Invalid::new(
            format!("{FIELD}.Username"),
            "missing although Password is given; give both or none",
        ));
    }
    let username = parameters.username.as_deref().unwrap_or_default();
    let password = parameters.password.as_deref().unwrap_or_default();
    check_credentials(FIELD, username, password)
}

/// Whether `url` is a camera's address. Its text is not repeated in the error when it holds
/// credentials.
pub fn check_url(field: &str, url: &str, allowed: Allowed) -> Result<(), Invalid> {
    let invalid = |message: String| Err(Invalid::new(field, message));
    if url.is_empty() || url.chars().count() > VALUE_CHARACTERS {
        return invalid(format!("must have 1 to {VALUE_CHARACTERS} characters"));
    }
    // `Url` drops tabs and line breaks silently; the camera's process would see them.
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return invalid("holds blanks or control characters; remove or percent-encode them".into());
    }
    if url.starts_with('/') {
        return invalid(format!("is a path, of a file or device; {NOT_READ}"));
    }
    if url
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"))
    {
        return match allowed {
            Allowed::Network => invalid(NOT_ALLOWED.to_owned()),
            Allowed::Files => check_file(url).map_err(|why| Invalid::new(field, why)),
        };
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
    match parsed.scheme() {
        "rtsp" | "rtsps" => {}
        scheme @ ("v4l2" | "v4l" | "dev") => {
            return invalid(format!("has the scheme {scheme:?}; {NOT_READ}"));
        }
        scheme => {
            return invalid(format!(
                "has the scheme {scheme:?}; only rtsp and rtsps are supported, write rtsp://HOST[:PORT]/PATH"
            ));
        }
    }
    let host = match parsed.host_str() {
        Some(host) if !host.is_empty() => host,
        _ => return invalid("names no host; write rtsp://HOST[:PORT]/PATH".to_owned()),
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    match address {
        Ok(address) if is_no_camera(address) => {
            return invalid(format!(
                "leads to {address}, where no camera is; write the camera's own address"
            ));
        }
        // Brackets hold an address, or `Url` has refused them.
        Err(_) if host_name(host).is_none() => {
            return invalid(
                "names a host in other characters than letters, digits, '-', '_' and '.'; write \
                 rtsp://HOST[:PORT]/PATH"
                    .to_owned(),
            );
        }
        _ => {}
    }
    if parsed.port() == Some(0) {
        return invalid("has the port 0; leave it out for 554 (rtsps: 322)".to_owned());
    }
    if parsed.fragment().is_some() {
        return invalid("has a part after '#', which cameras do not get; leave it out".to_owned());
    }
    Ok(())
}

/// A file's address is its path as it is, so that what is shown, checked and opened is one text.
fn check_file(url: &str) -> Result<(), String> {
    let path = url
        .strip_prefix("file://")
        .filter(|path| path.starts_with('/') && !path.ends_with('/'))
        .ok_or("is no file's address; write file:///PATH with the absolute path of a file")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    if !path.chars().all(plain) {
        return Err(
            "names a file in other characters than letters, digits, '/', '-', '_' and '.'; rename \
             it"
            .to_owned(),
        );
    }
    if path[1..]
        .split('/')
        .any(|part| matches!(part, "" | "." | ".."))
    {
        return Err("names a file with '.', '..' or '//' in its path; leave them out".to_owned());
    }
    Ok(())
}

/// Whether a name and a password can be sent to a camera.
pub fn check_credentials(field: &str, username: &str, password: &str) -> Result<(), Invalid> {
    for (member, value) in [("Username", username), ("Password", password)] {
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
    if username.contains(':') {
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

    fn parameters(username: Option<&str>, password: Option<&str>) -> RtspCameraParameters {
        RtspCameraParameters {
            stream_url: "rtsp://10.0.0.30/s1".to_owned(),
            username: username.map(str::to_owned),
            password: password.map(str::to_owned),
        }
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
            ("rtsps://10.0.0.30/", None),
            ("rtsps://gate.example:7441/s1", None),
            ("rtsps://user@10.0.0.30/", Some("Username and Password")),
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
            let outcome = check_url("StreamUrl", url, Allowed::Network);
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
    fn a_file_is_a_camera_only_where_an_administrator_has_allowed_it() {
        let refused = check_url("StreamUrl", "file:///srv/a.mp4", Allowed::Network).unwrap_err();
        assert!(refused.message.contains("[cameras] files"), "{refused}");
        assert_eq!(
            check_url("StreamUrl", "file:///srv/a.mp4", Allowed::Files),
            Ok(())
        );
        for url in [
            "file:/srv/a.mp4",
            "FILE:///srv/a.mp4",
            "file://host/srv/a.mp4",
            "file:///srv/../etc/shadow",
            "file:///srv/%2e%2e/etc/shadow",
            "file:///srv//a.mp4",
            "file:///srv/a.mp4?x",
            "file:///srv/a.mp4#x",
            "file:///srv/$(id).mp4",
            "file:///srv/",
            "file:///",
            "/srv/a.mp4",
            "v4l2:///dev/video0",
        ] {
            assert!(
                check_url("StreamUrl", url, Allowed::Files).is_err(),
                "{url}"
            );
        }
    }

    /// Attack C1: what other recorders give to a shell, to `FFmpeg`, or to any protocol they know.
    #[test]
    fn an_address_leads_to_no_shell_no_file_and_no_other_protocol() {
        for url in [
            "exec:ffmpeg -i /etc/shadow",
            "exec:id",
            "ffmpeg:rtsp://10.0.0.30/s1#raw=-y",
            "echo:aWQ=",
            "expr:1",
            "concat:/etc/passwd|/etc/shadow",
            "concat:rtsp://10.0.0.30/a|file:///etc/passwd",
            "subfile,,start,0,end,9,,:/etc/passwd",
            "pipe:0",
            "data:video/mp4;base64,AAAA",
            "file:///etc/shadow",
            "file:/etc/shadow",
            "/etc/shadow",
            "/dev/video0",
            "//10.0.0.30/s1",
            "v4l2:/dev/video0",
            "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
            "https://control.example/",
            "rtsp://169.254.169.254/latest/meta-data/",
            "rtsp://[fd00:ec2::254]/",
            "rtsp://[::ffff:169.254.169.254]/",
            "rtsp://0.0.0.0/",
            "rtsp://224.0.0.1/",
            "rtsp://[ff02::1]/",
            "rtsp+http://10.0.0.30/",
            "rtsp+unix:///run/x",
            "rtsp+exec://id",
            "rtspu://10.0.0.30/",
            "rtmp://10.0.0.30/",
            "tcp://10.0.0.30:22",
            "unix:/run/docker.sock",
            "javascript:alert(1)",
            "rtsp:10.0.0.30/s1",
            "rtsp:///etc/shadow",
            "rtsp:file:///etc/shadow",
            "rtsp://10.0.0.30\n/s1",
            "rtsp://10.0.0.30/s1\r\nSETUP rtsp://10.0.0.31/ RTSP/1.0",
            "rtsp://10.0.0.30/\u{0}",
            "\nrtsp://10.0.0.30/",
            "rtsp://$(id)/s1",
            "rtsp://`id`/s1",
            "rtsp://10.0.0.30;id/s1",
            "rtsp://10.0.0.30%0a10.0.0.31/s1",
            "rtsp://10.0.0.30:0/s1",
            "rtsp://10.0.0.30:99999/s1",
            "rtsp://admin:topsecret@10.0.0.30/",
            "rtsp://admin@10.0.0.30/",
            "rtsp://10.0.0.31@10.0.0.30/",
            "-i",
            "",
        ] {
            let refused = check_url("StreamUrl", url, Allowed::Network);
            let invalid = refused.expect_err(url);
            assert!(!invalid.message.contains("topsecret"), "{invalid}");
        }
    }

    #[test]
    fn credentials_come_in_pairs_and_fit_into_a_header() {
        for (username, password, field) in [
            (None, None, None),
            (Some("viewer"), Some("a:b c"), None),
            (Some("viewer"), None, None),
            (None, Some("b"), Some("TemplateParameters.Username")),
            (Some("a:b"), Some("b"), Some("TemplateParameters.Username")),
            (
                Some("a"),
                Some("b\r\n"),
                Some("TemplateParameters.Password"),
            ),
        ] {
            let refused = check_parameters(&parameters(username, password), Allowed::Network).err();
            assert_eq!(
                refused.as_ref().map(|i| i.field.as_str()),
                field,
                "{username:?}"
            );
        }
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
