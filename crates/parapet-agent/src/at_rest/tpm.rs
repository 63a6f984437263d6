//! Secrets that only this machine's TPM opens.
//!
//! A primary key under the owner hierarchy, made from its seed each time and never kept; below it
//! an object that holds the secret, of which the TPM's public and private parts are stored. Talks
//! through the programs of tpm2-tools: the agent links no C library of the TPM. Secrets go to them
//! and come from them through pipes, never as arguments, never as files.
//!
//! Never makes anything anew when the TPM does not open what it sealed.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand;
use parapet_sandbox::programs::{Program, ProgramError};
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::settings::KeySettings;

/// A discrete TPM makes a key in a second or two.
const LIMIT: Duration = Duration::from_secs(30);
/// Everything that is used of tpm2-tools, so that half an installation is found at the beginning.
const TOOLS: [&str; 6] = [
    "tpm2_createprimary",
    "tpm2_create",
    "tpm2_load",
    "tpm2_unseal",
    "tpm2_createpolicy",
    "tpm2_flushcontext",
];
/// The primary key, spelt out: what the tools take by themselves may change with their version, and
/// another template is another key.
const PRIMARY: &str = "ecc256:aes128cfb";
const PRIMARY_ATTRIBUTES: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
/// Longer than any public or private part of a sealed object.
const LONGEST_BLOB: usize = 512;
const PCRS: &str = "sha256:7";

/// Why there is no TPM to use.
#[derive(Debug, Error)]
pub enum NoTpm {
    /// No device.
    #[error("there is no TPM at {path}", path = .0.display())]
    Absent(PathBuf),
    /// Neither a device nor a socket.
    #[error("{path} is no TPM: name a device or a software TPM's socket as keys.tpm_device", path = .0.display())]
    Foreign(PathBuf),
    /// Not for this user.
    #[error("the TPM at {path} is closed to this user", path = .0.display())]
    Closed(PathBuf),
    /// Its tools.
    #[error("the TPM cannot be used")]
    Tools(#[source] ProgramError),
}

/// Why the TPM did not do its work.
#[derive(Debug, Error)]
pub enum TpmError {
    /// A place for the tools' contexts.
    #[error("make a directory for the TPM's tools")]
    Work(#[source] io::Error),
    /// A tool.
    #[error("ask the TPM")]
    Tool(#[from] ProgramError),
    /// It is another TPM, or was cleared.
    #[error(
        "open what a TPM has sealed: this TPM did not seal it ({0}): it was cleared, or the disk \
         is in another machine. Put both together again; if that cannot be, empty the appliance \
         with `parapet agent reset` and enrol it anew"
    )]
    Stranger(String),
    /// PCR 7 has another value.
    #[error(
        "open what the TPM has sealed: it holds the secret back ({0}). With keys.pcr7 that follows \
         a change of secure boot or its keys: start as before once, with pcr7 = false, then change; \
         if that cannot be, empty the appliance with `parapet agent reset` and enrol it anew"
    )]
    HeldBack(String),
    /// What is stored is no sealed secret.
    #[error("read what the TPM has sealed: it is damaged")]
    Damaged,
}

/// What is stored: of use with its TPM only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    /// `TPM2B_PUBLIC`, hexadecimal.
    public: String,
    /// `TPM2B_PRIVATE`, hexadecimal.
    private: String,
    /// Whether it opens under the PCR 7 of its sealing only.
    pub(super) pcr7: bool,
}

/// A TPM that can be asked.
#[derive(Debug)]
pub(super) struct Tpm {
    /// How the tools are told which.
    tcti: String,
    /// Whether nobody but its user clears its few places: a software TPM, without the kernel's
    /// resource manager.
    is_bare: bool,
}

impl Tpm {
    /// The TPM of a configuration, if this process can use it.
    pub(super) fn find(settings: &KeySettings) -> Result<Self, NoTpm> {
        let path = &settings.tpm_device;
        let kind = match path.metadata() {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NoTpm::Absent(path.clone()));
            }
            Err(_) => return Err(NoTpm::Closed(path.clone())),
        };
        let (name, is_bare) = if kind.is_char_device() {
            ("device:", false)
        } else if kind.is_socket() {
            ("swtpm:path=", true)
        } else {
            return Err(NoTpm::Foreign(path.clone()));
        };
        if access(path, Access::READ_OK | Access::WRITE_OK).is_err() {
            return Err(NoTpm::Closed(path.clone()));
        }
        for tool in TOOLS {
            Program::tpm2(tool).map_err(NoTpm::Tools)?;
        }
        Ok(Self {
            tcti: format!("{name}{}", path.display()),
            is_bare,
        })
    }

    /// Seals a secret, and sees whether it opens.
    pub(super) fn seal_and_try(&self, secret: &[u8], pcr7: bool) -> Result<Sealed, TpmError> {
        let sealed = self.seal(secret, pcr7)?;
        if self.unseal(&sealed)?.as_slice() == secret {
            Ok(sealed)
        } else {
            Err(TpmError::Damaged)
        }
    }

    /// Seals a secret of at most 128 bytes (`MAX_SYM_DATA`).
    fn seal(&self, secret: &[u8], pcr7: bool) -> Result<Sealed, TpmError> {
        let work = Work::new()?;
        let primary = self.primary(&work)?;
        let (public, private) = (work.path("public"), work.path("private"));
        let mut words = vec!["-C", &primary, "-g", "sha256", "-i", "-"];
        words.extend(["-u", &public, "-r", &private]);
        let policy = work.path("policy");
        if pcr7 {
            let read = ["--policy-pcr", "-l", PCRS, "-L", &policy];
            self.ask("tpm2_createpolicy", "read PCR 7", &read, &[])?;
            words.extend(["-L", &policy, "-a", "fixedtpm|fixedparent|noda"]);
        } else {
            words.extend(["-a", "fixedtpm|fixedparent|noda|userwithauth"]);
        }
        self.ask("tpm2_create", "seal a secret", &words, secret)?;
        Ok(Sealed {
            public: hex::encode(work.read("public")?),
            private: hex::encode(work.read("private")?),
            pcr7,
        })
    }

    /// The secret again.
    pub(super) fn unseal(&self, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let work = Work::new()?;
        work.write("public", &sealed.public)?;
        work.write("private", &sealed.private)?;
        let primary = self.primary(&work)?;
        let (public, private) = (work.path("public"), work.path("private"));
        let object = work.path("object");
        let words = ["-C", &primary, "-u", &public, "-r", &private, "-c", &object];
        self.ask("tpm2_load", "load it", &words, &[])
            .map_err(|error| match error {
                TpmError::Tool(ProgramError::Refused { said, .. }) => {
                    TpmError::Stranger(last_line(&said))
                }
                other => other,
            })?;
        let mut words = vec!["-c", object.as_str()];
        let pcrs = format!("pcr:{PCRS}");
        if sealed.pcr7 {
            words.extend(["-p", &pcrs]);
        }
        self.ask("tpm2_unseal", "open it", &words, &[])
            .map_err(|error| match error {
                TpmError::Tool(ProgramError::Refused { said, .. }) => {
                    TpmError::HeldBack(last_line(&said))
                }
                other => other,
            })
    }

    /// The same key each time, as long as the TPM is not cleared.
    fn primary(&self, work: &Work) -> Result<String, TpmError> {
        let path = work.path("primary");
        let words = [
            ["-C", "o", "-g", "sha256"],
            ["-G", PRIMARY, "-a", PRIMARY_ATTRIBUTES],
        ];
        let words = [words.concat(), vec!["-c", &path]].concat();
        self.ask("tpm2_createprimary", "make the primary key", &words, &[])?;
        Ok(path)
    }

    fn ask(
        &self,
        tool: &'static str,
        what: &'static str,
        words: &[&str],
        input: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let run = |tool, words: &[&str], input: &[u8]| {
            let all = [&["-T", self.tcti.as_str(), "-Q"], words].concat();
            Program::tpm2(tool)?.run_within(LIMIT, what, &all, input)
        };
        let answer = run(tool, words, input).map(Zeroizing::new);
        if self.is_bare {
            // A place that is not given back is missed by the next tool, whose answer counts.
            for what in ["-t", "-l"] {
                let _ = Program::tpm2("tpm2_flushcontext")?.run_within(
                    LIMIT,
                    "give places back",
                    &["-T", &self.tcti, what],
                    &[],
                );
            }
        }
        Ok(answer?)
    }
}

/// The tools say what led to it first and what it was last.
fn last_line(said: &str) -> String {
    said.rsplit("ERROR: ")
        .find(|line| line.contains('('))
        .unwrap_or(said)
        .trim()
        .to_owned()
}

/// Files that the tools hand to one another: contexts and blobs, nothing secret.
struct Work(PathBuf);

impl Work {
    fn new() -> Result<Self, TpmError> {
        let mut random = [0; 16];
        rand::fill(&mut random)
            .map_err(|_| TpmError::Work(io::Error::other("no random number")))?;
        let name = format!("parapet-tpm-{}", hex::encode(random));
        let path = std::env::temp_dir().join(name);
        // Refused where anything is in its place.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(TpmError::Work)?;
        Ok(Self(path))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, TpmError> {
        std::fs::read(self.0.join(name)).map_err(TpmError::Work)
    }

    /// What is stored was written where the agent may write; the tools that read it are root.
    fn write(&self, name: &str, digits: &str) -> Result<(), TpmError> {
        let bytes = Some(digits)
            .filter(|digits| digits.len() <= LONGEST_BLOB * 2)
            .and_then(|digits| hex::decode(digits).ok())
            .ok_or(TpmError::Damaged)?;
        std::fs::write(self.0.join(name), bytes).map_err(TpmError::Work)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            let path: &Path = &self.0;
            tracing::warn!(path = %path.display(), %error, "a directory of the TPM's tools stays");
        }
    }
}
