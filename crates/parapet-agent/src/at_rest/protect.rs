//! What opens the key of an encrypted state directory: the machine's TPM, or a passphrase.
//!
//! A passphrase is stretched by PBKDF2 with HMAC-SHA512 (NIST SP 800-132), which the crypto library
//! at hand has; the key that comes of it seals the directory's with AES-256-GCM-SIV. It is read
//! from a file that others cannot read, or asked for at the terminal, and never from the command
//! line or the environment.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{pbkdf2, rand};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::settings::{KeySettings, TpmUse};
use super::tpm::{NoTpm, Sealed, Tpm, TpmError};

/// OWASP names 210,000 for this function; half a second at an appliance's start.
const ITERATIONS: u32 = 600_000;
/// What is stored is bounded too: nobody waits for hours.
const MOST_ITERATIONS: u32 = 20_000_000;
const SHORTEST: usize = 12;
const LONGEST: usize = 1024;
const PURPOSE: &[u8] = b"parapet: key of the state directory";

/// Why the key of a state directory is not to be had.
#[derive(Debug, Error)]
pub enum ProtectError {
    /// No TPM, and one is required.
    #[error("use keys.tpm = \"require\": {0}")]
    Required(#[source] NoTpm),
    /// What was sealed by a TPM, without it.
    #[error("open what a TPM has sealed")]
    NoTpm(#[source] NoTpm),
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The passphrase's file.
    #[error("read the passphrase in {path}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    /// Others can read it.
    #[error("read the passphrase in {path}: others can read it too; chmod 600", path = .0.display())]
    Open(PathBuf),
    /// No terminal.
    #[error(
        "ask for the passphrase: there is no terminal. Unlock it at one, \
         `parapet agent --unlock-data --data DIR`, or name a file as keys.passphrase_file"
    )]
    NoTerminal(#[source] io::Error),
    /// Too short or too long.
    #[error("use the passphrase: give {SHORTEST} to {LONGEST} bytes on one line")]
    Length,
    /// Two different ones.
    #[error("use the passphrase: the second was another")]
    Differs,
    /// It opens nothing.
    #[error("open the key of the state directory: the passphrase is another, or it is damaged")]
    Wrong,
    /// What is stored is not what it should be.
    #[error("open the key of the state directory: what is stored is damaged")]
    Damaged,
    /// Cipher or random source.
    #[error("use the cipher that seals the key of the state directory")]
    Cipher,
}

/// What is stored of a protected key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Protected {
    /// By the TPM.
    Tpm2(Sealed),
    /// By a passphrase.
    Passphrase(Wrapped),
}

/// A key under a passphrase; bytes in hexadecimal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wrapped {
    /// Of PBKDF2 with HMAC-SHA512.
    iterations: u32,
    salt: String,
    nonce: String,
    sealed: String,
}

/// Who may be asked for a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Whoever sits at the terminal.
    Terminal,
    /// Nobody: a file alone.
    Nobody,
}

impl Protected {
    /// What opens it, for a sentence.
    pub(super) fn by(&self) -> &'static str {
        match self {
            Self::Tpm2(_) => "this machine's TPM",
            Self::Passphrase(_) => "a passphrase",
        }
    }
}

/// Protects a new key: by the TPM where one can be used, else by a passphrase.
pub(super) fn protect(settings: &KeySettings, key: &[u8]) -> Result<Protected, ProtectError> {
    if settings.tpm != TpmUse::Never {
        match Tpm::find(settings) {
            Ok(tpm) => {
                let sealed = tpm.seal_and_try(key, settings.pcr7)?;
                return Ok(Protected::Tpm2(sealed));
            }
            Err(why) if settings.tpm == TpmUse::Require => {
                return Err(ProtectError::Required(why));
            }
            Err(_) => {}
        }
    }
    let passphrase = if let Some(file) = &settings.passphrase_file {
        from_file(file)?
    } else {
        let first = from_terminal("Passphrase for the state directory: ")?;
        if *from_terminal("The same again: ")? != *first {
            return Err(ProtectError::Differs);
        }
        first
    };
    Ok(Protected::Passphrase(wrap(&passphrase, key, ITERATIONS)?))
}

/// The key again.
pub(super) fn open(
    settings: &KeySettings,
    protected: &Protected,
    ask: Ask,
) -> Result<Zeroizing<Vec<u8>>, ProtectError> {
    match protected {
        Protected::Tpm2(sealed) => {
            let tpm = Tpm::find(settings).map_err(ProtectError::NoTpm)?;
            Ok(tpm.unseal(sealed)?)
        }
        Protected::Passphrase(wrapped) => {
            let passphrase = match (&settings.passphrase_file, ask) {
                (Some(file), _) => from_file(file)?,
                (None, Ask::Terminal) => from_terminal("Passphrase of the state directory: ")?,
                (None, Ask::Nobody) => {
                    return Err(ProtectError::NoTerminal(io::ErrorKind::NotFound.into()));
                }
            };
            unwrap(&passphrase, wrapped)
        }
    }
}

/// What a TPM has sealed under another binding to PCR 7 than the one that is wanted now, sealed as
/// wanted; `None` where all is as it should be.
pub(super) fn sealed_anew(
    settings: &KeySettings,
    protected: &Protected,
) -> Result<Option<Protected>, ProtectError> {
    match protected {
        Protected::Tpm2(sealed) if sealed.pcr7 != settings.pcr7 => {
            let tpm = Tpm::find(settings).map_err(ProtectError::NoTpm)?;
            let key = tpm.unseal(sealed)?;
            Ok(Some(Protected::Tpm2(
                tpm.seal_and_try(&key, settings.pcr7)?,
            )))
        }
        _ => Ok(None),
    }
}

fn wrap(passphrase: &[u8], key: &[u8], iterations: u32) -> Result<Wrapped, ProtectError> {
    let (mut salt, mut nonce) = ([0; 32], [0; NONCE_LEN]);
    for random in [&mut salt[..], &mut nonce[..]] {
        rand::fill(random).map_err(|_| ProtectError::Cipher)?;
    }
    let mut sealed = Zeroizing::new(Vec::with_capacity(key.len() + 16));
    sealed.extend_from_slice(key);
    cipher(passphrase, &salt, iterations)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(PURPOSE),
            &mut *sealed,
        )
        .map_err(|_| ProtectError::Cipher)?;
    Ok(Wrapped {
        iterations,
        salt: hex::encode(salt),
        nonce: hex::encode(nonce),
        sealed: hex::encode(&*sealed),
    })
}

fn unwrap(passphrase: &[u8], wrapped: &Wrapped) -> Result<Zeroizing<Vec<u8>>, ProtectError> {
    let decoded = |text: &str| hex::decode(text).map_err(|_| ProtectError::Damaged);
    let nonce: [u8; NONCE_LEN] = decoded(&wrapped.nonce)?
        .try_into()
        .map_err(|_| ProtectError::Damaged)?;
    if wrapped.iterations > MOST_ITERATIONS {
        return Err(ProtectError::Damaged);
    }
    let mut sealed = Zeroizing::new(decoded(&wrapped.sealed)?);
    let cipher = cipher(passphrase, &decoded(&wrapped.salt)?, wrapped.iterations)?;
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = cipher
        .open_in_place(nonce, Aad::from(PURPOSE), &mut sealed)
        .map_err(|_| ProtectError::Wrong)?
        .len();
    sealed.truncate(length);
    Ok(sealed)
}

fn cipher(passphrase: &[u8], salt: &[u8], iterations: u32) -> Result<LessSafeKey, ProtectError> {
    let iterations = NonZeroU32::new(iterations).ok_or(ProtectError::Damaged)?;
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA512,
        iterations,
        salt,
        passphrase,
        &mut *key,
    );
    let key = UnboundKey::new(&AES_256_GCM_SIV, &*key).map_err(|_| ProtectError::Cipher)?;
    Ok(LessSafeKey::new(key))
}

fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, ProtectError> {
    let failed = |error| ProtectError::File(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(ProtectError::Open(path.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
    file.take(LONGEST as u64 + 2)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    measured(bytes)
}

fn from_terminal(question: &str) -> Result<Zeroizing<Vec<u8>>, ProtectError> {
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(ProtectError::NoTerminal)?;
    let failed = |errno: rustix::io::Errno| ProtectError::NoTerminal(errno.into());
    let before = tcgetattr(&terminal).map_err(failed)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let answer = (|| {
        (&terminal).write_all(question.as_bytes())?;
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        let mut line = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
        BufReader::with_capacity(1, &terminal)
            .take(LONGEST as u64 + 2)
            .read_until(b'\n', &mut line)?;
        (&terminal).write_all(b"\n")?;
        Ok(line)
    })();
    tcsetattr(&terminal, OptionalActions::Flush, &before).map_err(failed)?;
    measured(answer.map_err(ProtectError::NoTerminal)?)
}

/// Without the end of its line, and neither too short nor too long.
fn measured(mut line: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, ProtectError> {
    while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        line.pop();
    }
    if (SHORTEST..=LONGEST).contains(&line.len()) && !line.contains(&b'\n') {
        Ok(line)
    } else {
        Err(ProtectError::Length)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_passphrase_opens_what_it_wrapped_and_another_does_not() {
        let wrapped = wrap(b"correct horse battery", &[5; 64], 1000).unwrap();
        let opened = unwrap(b"correct horse battery", &wrapped).unwrap();
        assert_eq!(opened.as_slice(), [5; 64]);
        let refused = unwrap(b"correct horse buttery", &wrapped).unwrap_err();
        assert!(matches!(refused, ProtectError::Wrong), "{refused}");
        let endless = Wrapped {
            iterations: u32::MAX,
            ..wrapped
        };
        let refused = unwrap(b"correct horse battery", &endless).unwrap_err();
        assert!(matches!(refused, ProtectError::Damaged), "{refused}");
    }

    #[test]
    fn a_passphrase_is_one_line_of_a_file_that_others_cannot_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            from_file(&path)
        };
        let passphrase = write("correct horse battery\n", 0o600).unwrap();
        assert_eq!(passphrase.as_slice(), b"correct horse battery");
        let refused = write("correct horse battery\n", 0o640).unwrap_err();
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        for wrong in ["short\n", "one line\nand another\n", &"x".repeat(2000)] {
            let refused = write(wrong, 0o600).unwrap_err();
            assert!(matches!(refused, ProtectError::Length), "{refused}");
        }
    }
}
