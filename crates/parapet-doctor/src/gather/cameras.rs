//! Asking cameras whether a well-known password opens them, in RTSP, within bounds.
//!
//! Cameras are taken for hostile: an answer has a limit of bytes and time, nothing of it is
//! followed, and only its status, its challenge and its `Server` line are read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use base64::Engine as _;
use md5::{Digest as _, Md5};

use crate::facts::{Known, Passwords, Unknown};
use crate::report::plain;

/// For a connection and for each answer.
const LIMIT: Duration = Duration::from_secs(3);
/// Largest head of an answer that is read.
const LARGEST_HEAD: usize = 16 * 1024;

/// What cameras leave their factories with, the most frequent first.
pub(crate) const WELL_KNOWN: [(&str, &str); 10] = [
    ("admin", "admin"),
    ("admin", "12345"),
    ("admin", ""),
    ("admin", "123456"),
    ("root", "pass"),
    ("admin", "password"),
    ("root", "root"),
    ("admin", "1234"),
    ("admin", "9999"),
    ("user", "user"),
];

/// What a camera told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) passwords: Known<Passwords>,
    pub(crate) server: Option<String>,
}

/// Tries at most `attempts` of the well-known pairs on the stream at `url`, whose host is at
/// `address`. Ends at the first that is let in.
pub(crate) fn try_passwords(address: SocketAddr, url: &str, attempts: usize) -> Told {
    let mut server = None;
    let passwords = ask(address, url, attempts, &mut server);
    Told { passwords, server }
}

fn ask(
    address: SocketAddr,
    url: &str,
    attempts: usize,
    server: &mut Option<String>,
) -> Known<Passwords> {
    let first = describe(address, url, 1, None)?;
    *server = first.header("server").map(plain);
    let challenge = match first.status {
        200 => return Ok(Passwords::NoneAsked),
        401 => first.challenge().ok_or_else(|| {
            Unknown::because("the camera asks for a password in a way that is not known here")
        })?,
        status => {
            return Err(Unknown::because(format!(
                "the camera answers {status} to a question without a password"
            )));
        }
    };
    let mut challenge = challenge;
    let mut refused = 0;
    for (user, password) in WELL_KNOWN.into_iter().take(attempts) {
        let authorization = challenge.answer(user, password, url);
        let answer = describe(address, url, 2, Some(&authorization))?;
        match answer.status {
            // A path that is not there is told to whoever was let in.
            200 | 404 => return Ok(Passwords::WellKnown(user.to_owned())),
            401 | 403 => refused += 1,
            status => {
                return Err(Unknown::because(format!(
                    "the camera answers {status} after {refused} refused passwords"
                )));
            }
        }
        // A nonce may be good for one answer.
        challenge = answer.challenge().unwrap_or(challenge);
    }
    Ok(Passwords::Refused(refused))
}

/// A connection of its own for each question: many cameras close after a refusal.
fn describe(
    address: SocketAddr,
    url: &str,
    number: u32,
    authorization: Option<&str>,
) -> Known<Answer> {
    let failed = |what: &str, error: &std::io::Error| {
        Unknown::because(format!("the camera at {address} {what}: {error}"))
    };
    let deadline = Instant::now() + LIMIT;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)
        .map_err(|error| failed("cannot be reached", &error))?;
    let mut request = format!(
        "DESCRIBE {url} RTSP/1.0\r\nCSeq: {number}\r\nUser-Agent: parapet-doctor\r\n\
         Accept: application/sdp\r\n"
    );
    if let Some(authorization) = authorization {
        request.push_str("Authorization: ");
        request.push_str(authorization);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream
        .set_write_timeout(Some(LIMIT))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .map_err(|error| failed("takes no question", &error))?;
    let mut head = Vec::new();
    let mut chunk = [0; 2048];
    loop {
        // A byte now and then must not keep the connection open.
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Unknown::because(format!(
                "the camera at {address} does not answer within {} s",
                LIMIT.as_secs()
            )));
        }
        let count = stream
            .set_read_timeout(Some(left))
            .and_then(|()| stream.read(&mut chunk))
            .map_err(|error| failed("does not answer", &error))?;
        head.extend_from_slice(&chunk[..count]);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            head.truncate(end);
            break;
        }
        if count == 0 || head.len() > LARGEST_HEAD {
            return Err(Unknown::because(format!(
                "the camera at {address} answers with something that is not RTSP"
            )));
        }
    }
    Answer::parse(&String::from_utf8_lossy(&head)).ok_or_else(|| {
        Unknown::because(format!(
            "the camera at {address} answers with something that is not RTSP"
        ))
    })
}

/// The head of an answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Answer {
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split_whitespace();
        if !first.next()?.starts_with("RTSP/") {
            return None;
        }
        let status = first.next()?.parse().ok()?;
        let headers = lines
            .filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect();
        Some(Self { status, headers })
    }

    fn header(&self, wanted: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    }

    /// The best challenge that can be answered: digest before basic, as a client must choose.
    fn challenge(&self) -> Option<Challenge> {
        let all = self
            .headers
            .iter()
            .filter(|(name, _)| name == "www-authenticate")
            .filter_map(|(_, value)| Challenge::parse(value));
        all.max_by_key(|challenge| match challenge {
            Challenge::Basic => 0,
            Challenge::Digest { sha256, .. } => 1 + u8::from(*sha256),
        })
    }
}

/// How a camera asks for a password (RFC 7616; RFC 2326 section D takes it over).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Challenge {
    Basic,
    Digest {
        realm: String,
        nonce: String,
        opaque: Option<String>,
        with_qop: bool,
        sha256: bool,
    },
}

impl Challenge {
    fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let parameters = parameters(rest);
        let value = |wanted: &str| {
            let found = parameters.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        let sha256 = match value("algorithm").map(|name| name.to_ascii_uppercase()) {
            None => false,
            Some(name) if name == "MD5" => false,
            Some(name) if name == "SHA-256" => true,
            Some(_) => return None,
        };
        let with_qop = match value("qop") {
            None => false,
            Some(list) if list.split(',').any(|one| one.trim() == "auth") => true,
            Some(_) => return None,
        };
        Some(Self::Digest {
            realm: value("realm").unwrap_or_default(),
            nonce: value("nonce")?,
            opaque: value("opaque"),
            with_qop,
            sha256,
        })
    }

    fn answer(&self, user: &str, password: &str, url: &str) -> String {
        let Self::Digest {
            realm,
            nonce,
            opaque,
            with_qop,
            sha256,
        } = self
        else {
            let pair =
                base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            return format!("Basic {pair}");
        };
        let hash = |text: String| {
            if *sha256 {
                hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
            } else {
                hex::encode(Md5::digest(text.as_bytes()))
            }
        };
        let who = hash(format!("{user}:{realm}:{password}"));
        let what = hash(format!("DESCRIBE:{url}"));
        let (response, extra) = if *with_qop {
            // Nothing is kept secret by it here: the passwords are known to everybody.
            let (count, own) = ("00000001", "parapet");
            (
                hash(format!("{who}:{nonce}:{count}:{own}:auth:{what}")),
                format!(", qop=auth, nc={count}, cnonce=\"{own}\""),
            )
        } else {
            (hash(format!("{who}:{nonce}:{what}")), String::new())
        };
        let algorithm = if *sha256 { ", algorithm=SHA-256" } else { "" };
        let opaque = opaque
            .as_ref()
            .map(|opaque| format!(", opaque=\"{opaque}\""))
            .unwrap_or_default();
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{url}\", \
             response=\"{response}\"{algorithm}{opaque}{extra}"
        )
    }
}

/// `a="b", c=d` with commas inside quotes. What a camera put in quotes cannot hold a quote or a
/// line's end here, so that it cannot write a header of its own into the next question.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        let name = name.trim_matches([' ', ',', '\t']).to_ascii_lowercase();
        let value: String = value
            .chars()
            .filter(|c| !c.is_control() && *c != '\\')
            .collect();
        found.push((name, value.trim().to_owned()));
        rest = left;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A camera that answers each question by `answer`, and how often it was asked.
    fn camera(answer: fn(&str) -> Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let mut bytes = vec![0; 4096];
                let read = stream.read(&mut bytes).unwrap_or(0);
                let question = String::from_utf8_lossy(&bytes[..read]).into_owned();
                // The asker may have gone.
                let _ = stream.write_all(&answer(&question));
            }
        });
        (address, asked)
    }

    const URL: &str = "rtsp://cam/1";
    const CHALLENGE: &str = "RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nServer: Cam/1\r\n\
         WWW-Authenticate: Digest realm=\"r, s\", nonce=\"n\", qop=\"auth\"\r\n\r\n";

    fn is_opened_by(question: &str, user: &str, password: &str) -> bool {
        let challenge =
            Challenge::parse("Digest realm=\"r, s\", nonce=\"n\", qop=\"auth\"").unwrap();
        question.contains(&challenge.answer(user, password, URL))
    }

    #[test]
    fn a_well_known_password_is_found_and_nothing_is_tried_after_it() {
        let (address, asked) = camera(|question| {
            if is_opened_by(question, "admin", "12345") {
                b"RTSP/1.0 200 OK\r\n\r\n".to_vec()
            } else {
                CHALLENGE.into()
            }
        });
        let told = try_passwords(address, URL, 5);
        assert_eq!(told.passwords, Ok(Passwords::WellKnown("admin".to_owned())));
        assert_eq!(told.server.as_deref(), Some("Cam/1"));
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn no_more_passwords_are_tried_than_allowed() {
        let (address, asked) = camera(|_| CHALLENGE.into());
        let told = try_passwords(address, URL, 3);
        assert_eq!(told.passwords, Ok(Passwords::Refused(3)));
        assert_eq!(
            asked.load(Ordering::SeqCst),
            4,
            "one to learn the challenge"
        );
    }

    #[test]
    fn a_camera_without_a_password_is_found() {
        let (address, _) = camera(|_| b"RTSP/1.0 200 OK\r\n\r\n".to_vec());
        assert_eq!(
            try_passwords(address, URL, 3).passwords,
            Ok(Passwords::NoneAsked)
        );
    }

    #[test]
    fn whatever_a_camera_answers_the_doctor_goes_on() {
        let answers: [fn(&str) -> Vec<u8>; 8] = [
            |_| Vec::new(),
            |_| vec![0; 1 << 20],
            |_| b"RTSP/1.0\r\n\r\n".to_vec(),
            |_| b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
            |_| b"RTSP/1.0 99999999 x\r\n\r\n".to_vec(),
            |_| b"RTSP/1.0 401 x\r\nWWW-Authenticate: Digest\r\n\r\n".to_vec(),
            |_| b"RTSP/1.0 401 x\r\nWWW-Authenticate: Digest nonce\xff=\"\r\n\r\n".to_vec(),
            |_| b"RTSP/1.0 302 x\r\nLocation: rtsp://192.0.2.1/\r\n\r\n".to_vec(),
        ];
        for answer in answers {
            let (address, _) = camera(answer);
            let told = try_passwords(address, URL, 3);
            assert!(told.passwords.is_err(), "{:?}", told.passwords);
        }
    }

    #[test]
    fn a_camera_that_says_nothing_is_waited_for_in_vain_for_seconds_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let begin = Instant::now();
        assert!(try_passwords(address, URL, 3).passwords.is_err());
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_challenge_writes_no_header_into_the_next_question() {
        let challenge =
            Challenge::parse("Digest realm=\"a\r\nX: y\", nonce=\"n\\\", opaque=\"o\"").unwrap();
        let answer = challenge.answer("u", "p", URL);
        assert!(!answer.contains(['\r', '\n', '\\']), "{answer}");
    }
}
