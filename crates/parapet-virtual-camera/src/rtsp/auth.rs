//! Who may watch: Digest (RFC 2617 with MD5, as cameras still do) or Basic.
//!
//! Pure: the nonce is handed in. MD5 is what the protocol demands; a virtual camera guards nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

const REALM: &str = "Parapet virtual camera";

/// How a client has to show that it knows the password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuthScheme {
    /// By a hash over a number of the camera.
    #[default]
    Digest,
    /// In clear text.
    Basic,
}

/// A user who may watch.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// How it is shown.
    pub scheme: AuthScheme,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// The `WWW-Authenticate` header that asks for them.
    pub(crate) fn challenge(&self, nonce: &str) -> String {
        match self.scheme {
            AuthScheme::Digest => {
                format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm=MD5")
            }
            AuthScheme::Basic => format!("Basic realm=\"{REALM}\""),
        }
    }

    /// Whether an `Authorization` header for this request knows the password.
    pub(crate) fn admit(&self, header: &str, method: &str, uri: &str, nonce: &str) -> bool {
        match (self.scheme, header.split_once(' ')) {
            (AuthScheme::Digest, Some((scheme, fields)))
                if scheme.eq_ignore_ascii_case("digest") =>
            {
                self.admit_digest(fields, method, uri, nonce)
            }
            (AuthScheme::Basic, Some((scheme, token))) if scheme.eq_ignore_ascii_case("basic") => {
                let expected = format!("{}:{}", self.user, self.password);
                STANDARD
                    .decode(token.trim())
                    .is_ok_and(|given| given == expected.as_bytes())
            }
            _ => false,
        }
    }

    fn admit_digest(&self, fields: &str, method: &str, uri: &str, nonce: &str) -> bool {
        let field = |name: &str| {
            fields.split(',').find_map(|part| {
                let (key, value) = part.split_once('=')?;
                key.trim()
                    .eq_ignore_ascii_case(name)
                    .then(|| value.trim().trim_matches('"'))
            })
        };
        let first = digest(&format!("{}:{REALM}:{}", self.user, self.password));
        let second = digest(&format!("{method}:{uri}"));
        let expected = digest(&format!("{first}:{nonce}:{second}"));
        field("username") == Some(&self.user)
            && field("nonce") == Some(nonce)
            && field("uri") == Some(uri)
            && field("response").is_some_and(|given| given.eq_ignore_ascii_case(&expected))
    }
}

fn digest(text: &str) -> String {
    hex::encode(Md5::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(scheme: AuthScheme) -> Credentials {
        Credentials {
            user: "viewer".to_owned(),
            password: "s3cret".to_owned(),
            scheme,
        }
    }

    fn answer(password: &str, nonce: &str, uri: &str) -> String {
        let first = digest(&format!("viewer:{REALM}:{password}"));
        let second = digest(&format!("DESCRIBE:{uri}"));
        let response = digest(&format!("{first}:{nonce}:{second}"));
        format!(
            "Digest username=\"viewer\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\""
        )
    }

    #[test]
    fn digest_admits_the_password_for_this_request_and_number_only() {
        let admit = |header: &str| {
            viewer(AuthScheme::Digest).admit(header, "DESCRIBE", "rtsp://h/gate", "n1")
        };
        assert!(admit(&answer("s3cret", "n1", "rtsp://h/gate")));
        assert!(!admit(&answer("wrong", "n1", "rtsp://h/gate")));
        assert!(!admit(&answer("s3cret", "n0", "rtsp://h/gate")));
        assert!(!admit(&answer("s3cret", "n1", "rtsp://h/other")));
        assert!(!admit("Basic dmlld2VyOnMzY3JldA=="));
        assert!(!admit("Digest"));
    }

    #[test]
    fn basic_admits_the_password_only() {
        let admit =
            |header: &str| viewer(AuthScheme::Basic).admit(header, "PLAY", "rtsp://h/", "n");
        assert!(admit("Basic dmlld2VyOnMzY3JldA=="));
        assert!(!admit("Basic dmlld2VyOndyb25n"));
        assert!(!admit("Basic %"));
    }

    #[test]
    fn the_hash_is_the_one_of_rfc_2617() {
        // Section 3.5's A1, whose hash is printed in many implementations' tests.
        assert_eq!(
            digest("Mufasa:testrealm@host.com:Circle Of Life"),
            "939e7578ed9e3c518a452acee763bce9"
        );
    }

    #[test]
    fn a_password_is_not_printed() {
        assert!(!format!("{:?}", viewer(AuthScheme::Digest)).contains("s3cret"));
    }
}
