//! `parapet agent --encrypt-data`: a state directory becomes an encrypted one.
//!
//! A policy can be set on an empty directory only, so the state is copied into a fresh one beside
//! it, both change names in one step, and what was there before is overwritten and deleted. Cut off
//! before that step nothing has happened, and what was begun is thrown away; cut off after it the
//! repetition wipes what is left. As root, with the agent stopped.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand;
use parapet_sandbox::fscrypt::{self, KEY_BYTES, Policy};
use parapet_sandbox::programs::{Program, ProgramError};
use parapet_sandbox::remove::{remove, remove_unmovable};
use rustix::fs::{CWD, Mode, RenameFlags, chmod, chown, renameat_with, syncfs};
use rustix::io::Errno;
use thiserror::Error;
use zeroize::Zeroizing;

use super::data::{self, Around, DataError, ENCRYPTING, Stored, UNLOCK, policy_of};
use super::protect::{self, Ask, ProtectError};
use super::settings::KeySettings;
use crate::state::{self, LockError};

/// Gigabytes of images on a slow disk; nobody waits for a program that stands still for ever.
const COPY_LIMIT: Duration = Duration::from_hours(24);

/// Why a state directory is not encrypted.
#[derive(Debug, Error)]
pub enum EncryptError {
    /// Not root.
    #[error("encrypt the state directory: only root can; run it as root")]
    NotRoot,
    /// An agent runs.
    #[error("hold the state directory")]
    Lock(#[from] LockError),
    /// The file system cannot.
    #[error(
        "encrypt {path}: its file system does not do it. Switch it on where it can (ext4: \
         `tune2fs -O encrypt DEVICE`; f2fs, unmounted: `fsck.f2fs -O encrypt DEVICE`); else encrypt \
         the disk below, LUKS with `systemd-cryptenroll --tpm2-device=auto DEVICE` \
         (docs/hardening.md)",
        path = .0.display()
    )]
    Unsupported(PathBuf),
    /// Encrypted by somebody else.
    #[error("encrypt {path}: a policy of another kind encrypts it already", path = .0.display())]
    Foreign(PathBuf),
    /// A mount cannot change its name.
    #[error(
        "encrypt {path}: a file system is mounted there; mount it one level higher and keep the \
         state in a directory on it",
        path = .0.display()
    )]
    Mount(PathBuf),
    /// The key's protection.
    #[error("protect the key of the state directory")]
    Protect(#[from] ProtectError),
    /// The directory around it, or its key.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Copying.
    #[error("copy the state")]
    Copy(#[from] ProgramError),
    /// A step, after which all is as before or the repetition goes on.
    #[error("{step} {path}; repeat it", path = path.display())]
    Step {
        /// What was tried.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The random source.
    #[error("make a key: no random number")]
    Random,
}

/// Encrypts a state directory, which is made where there is none. `tell` hears each step when it is
/// done.
pub fn encrypt_data(
    data: &Path,
    settings: &KeySettings,
    tell: &mut dyn FnMut(&str),
) -> Result<(), EncryptError> {
    if !rustix::process::geteuid().is_root() {
        return Err(EncryptError::NotRoot);
    }
    let around = Around::of(data)?;
    let path = around.path.clone();
    let failed = step(&path);
    if !path.exists() {
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700))
            .map_err(|errno| failed("make")(errno.into()))?;
    }
    match policy_of(&path).map_err(failed("look at"))? {
        Policy::Unsupported => return Err(EncryptError::Unsupported(path)),
        Policy::Other => return Err(EncryptError::Foreign(path)),
        Policy::Encrypted(_) => {
            data::unlock_data(&path, settings, Ask::Terminal)?;
            let _lock = state::hold(&path)?;
            finish(&around, tell)?;
            tell("the state directory is encrypted");
            return Ok(());
        }
        Policy::None => {}
    }
    let _lock = state::hold(&path)?;
    let above = path.parent().unwrap_or(Path::new("/"));
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev());
    if device(&path).map_err(failed("look at"))? != device(above).map_err(failed("look at"))? {
        return Err(EncryptError::Mount(path));
    }
    begin_anew(&around)?;

    let identifier = make_key(&around, &path, settings, tell)?;
    let fresh = around.place.path(&around.sibling(ENCRYPTING));
    let made = step(&fresh);
    let before = path.metadata().map_err(failed("look at"))?;
    rustix::fs::mkdir(&fresh, Mode::from_raw_mode(0o700))
        .map_err(|errno| made("make")(errno.into()))?;
    let directory = File::open(&fresh).map_err(made("open"))?;
    fscrypt::encrypt(directory.as_fd(), identifier).map_err(made("encrypt"))?;
    copy(&path, &fresh)?;
    // As `cp` leaves it where there was nothing to copy, too.
    let (user, group) = (
        rustix::fs::Uid::from_raw(before.uid()),
        rustix::fs::Gid::from_raw(before.gid()),
    );
    chown(&fresh, Some(user), Some(group)).map_err(|errno| made("give away")(errno.into()))?;
    chmod(&fresh, Mode::from_raw_mode(before.mode() & 0o7777))
        .map_err(|errno| made("close")(errno.into()))?;
    syncfs(&directory).map_err(|errno| made("write")(errno.into()))?;
    tell("everything is copied into an encrypted directory");

    renameat_with(CWD, &fresh, CWD, &path, RenameFlags::EXCHANGE).map_err(|errno| match errno {
        Errno::BUSY | Errno::XDEV => EncryptError::Mount(path.clone()),
        errno => failed("put the encrypted directory in the place of")(errno.into()),
    })?;
    syncfs(&directory).map_err(|errno| failed("write")(errno.into()))?;
    finish(&around, tell)?;
    tell("the state directory is encrypted");
    Ok(())
}

/// Makes the directory's key, writes it down protected, and gives it to the kernel.
fn make_key(
    around: &Around,
    path: &Path,
    settings: &KeySettings,
    tell: &mut dyn FnMut(&str),
) -> Result<fscrypt::Identifier, EncryptError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(&mut *key).map_err(|_| EncryptError::Random)?;
    let protected = protect::protect(settings, &*key)?;
    let by = protected.by();
    let failed = step(path);
    let directory = File::open(path).map_err(failed("open"))?;
    let identifier =
        fscrypt::add_key(directory.as_fd(), &key).map_err(failed("give the kernel the key of"))?;
    let stored = Stored::new(identifier, protected);
    let name = around.sibling(UNLOCK);
    let written = step(&around.place.path(&name));
    let text = serde_json::to_vec(&stored).map_err(|error| written("write")(error.into()))?;
    around
        .place
        .replace(&name, &text)
        .map_err(written("write"))?;
    tell(&format!("a key is made; {by} opens it"));
    Ok(identifier)
}

/// Throws away what an encryption that was cut off before the exchange has left.
fn begin_anew(around: &Around) -> Result<(), EncryptError> {
    let unlock = around.sibling(UNLOCK);
    around
        .place
        .destroy(&unlock)
        .map_err(step(&around.place.path(&unlock))("delete"))?;
    let fresh = around.sibling(ENCRYPTING);
    throw_away(around, &fresh)
}

/// After the exchange: overwrites and deletes the plain directory that was there before.
fn finish(around: &Around, tell: &mut dyn FnMut(&str)) -> Result<(), EncryptError> {
    let name = around.sibling(ENCRYPTING);
    let path = around.place.path(&name);
    let failed = step(&path);
    if !around.place.has(&name).map_err(failed("look at"))? {
        return Ok(());
    }
    let Some(before) = around.place.below(&name).map_err(failed("open"))? else {
        return Ok(());
    };
    let too_deep = before.overwrite_all().map_err(failed("overwrite"))?;
    if too_deep > 0 {
        tell(&format!(
            "{too_deep} directories lie too deep to be overwritten: they are only deleted"
        ));
    }
    throw_away(around, &name)?;
    tell("what lay there before is overwritten and deleted");
    Ok(())
}

/// At a start, as root: wipes what an encryption that was cut off has left, and says so.
pub(crate) fn tidy_up(data: &Path) -> Result<(), EncryptError> {
    let around = Around::of(data)?;
    let is_encrypted = matches!(
        policy_of(&around.path).map_err(step(&around.path)("look at"))?,
        Policy::Encrypted(_)
    );
    if is_encrypted {
        finish(&around, &mut |step| {
            tracing::info!(step, "an encryption of the state directory goes on");
        })
    } else {
        let fresh = around.sibling(ENCRYPTING);
        if around.place.has(&fresh).is_ok_and(|has| has) {
            tracing::warn!(
                "an encryption of the state directory was cut off and nothing is encrypted: repeat \
                 `parapet agent --encrypt-data`"
            );
        }
        Ok(())
    }
}

fn throw_away(around: &Around, name: &str) -> Result<(), EncryptError> {
    let path = around.place.path(name);
    let failed = step(&path);
    let text = std::ffi::CString::new(name).map_err(|error| failed("delete")(error.into()))?;
    let is_encrypted = matches!(
        policy_of(&path).map_err(failed("look at"))?,
        Policy::Encrypted(_)
    );
    // Locked, since its key is thrown away too, nothing in it can be moved.
    let delete = if is_encrypted {
        remove_unmovable
    } else {
        remove
    };
    delete(around.place.as_fd(), &text)
        .map_err(|error| failed("delete")(io::Error::other(error)))?;
    around.place.sync().map_err(failed("write"))
}

/// `cp`, since it keeps owners, times, links and holes.
fn copy(from: &Path, to: &Path) -> Result<(), EncryptError> {
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    let words = ["--archive", "--one-file-system", "-T", "--", &from, &to];
    Program::cp()?.run_within(COPY_LIMIT, "copy the state", &words, &[])?;
    Ok(())
}

/// From what is tried with a path to the error of its failure.
fn step(
    path: &Path,
) -> impl Fn(&'static str) -> Box<dyn FnOnce(io::Error) -> EncryptError> + use<> {
    let path = path.to_owned();
    move |step| {
        let path = path.clone();
        Box::new(move |source| EncryptError::Step { step, path, source })
    }
}
