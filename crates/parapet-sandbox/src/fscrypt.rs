//! Directories that the file system encrypts (fscrypt): keys and policies, as ioctls.
//!
//! Follows the kernel's `Documentation/filesystems/fscrypt.rst` and `linux/fscrypt.h`. Policies of
//! version 2 only: AES-256-XTS for contents, AES-256-CTS for names, which every kernel with
//! fscrypt has. A key is the file system's and counts for everybody who may read the files; the
//! kernel forgets it at the unmount. Decides nothing.

#![expect(
    unsafe_code,
    reason = "the ioctls of fscrypt have no safe wrapper; libc knows none of them"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of a master key: as many as AES-256-XTS takes.
pub const KEY_BYTES: usize = 64;

/// What the kernel calls a master key by: derived from it, not secret.
pub type Identifier = [u8; 16];

/// How a directory is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Not at all, though its file system could.
    None,
    /// By a policy of version 2, with this master key.
    Encrypted(Identifier),
    /// By a policy of another version: not ours.
    Other,
    /// The file system, or the kernel, cannot.
    Unsupported,
}

/// What the kernel has of a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// Nothing: names and contents are unreadable.
    Absent,
    /// All: files can be opened.
    Present,
    /// It was taken away while files were open: those stay open, no other can be opened.
    InUse,
}

const SPECIFIER_IDENTIFIER: u32 = 2;
const POLICY_V2: u8 = 2;
const MODE_AES_256_XTS: u8 = 1;
const MODE_AES_256_CTS: u8 = 4;
/// Names are padded to 32 bytes: their lengths tell little.
const PAD_32: u8 = 3;
/// Status of a key (`fscrypt_get_key_status_arg`).
const STATUS_ABSENT: u32 = 1;
const STATUS_PRESENT: u32 = 2;

/// `struct fscrypt_key_specifier`, of type identifier.
#[repr(C)]
struct Specifier {
    kind: u32,
    reserved: u32,
    identifier: Identifier,
    rest: [u8; 16],
}

/// `struct fscrypt_add_key_arg` with its key.
#[repr(C)]
struct AddKey {
    specifier: Specifier,
    raw_size: u32,
    key_id: u32,
    reserved: [u32; 8],
    raw: [u8; KEY_BYTES],
}

/// `struct fscrypt_remove_key_arg`.
#[repr(C)]
struct RemoveKey {
    specifier: Specifier,
    removal_status_flags: u32,
    reserved: [u32; 5],
}

/// `struct fscrypt_get_key_status_arg`.
#[repr(C)]
struct GetKeyStatus {
    specifier: Specifier,
    reserved: [u32; 6],
    status: u32,
    status_flags: u32,
    user_count: u32,
    out_reserved: [u32; 13],
}

/// `struct fscrypt_policy_v2`.
#[repr(C)]
#[derive(Default)]
struct PolicyV2 {
    version: u8,
    contents: u8,
    names: u8,
    flags: u8,
    reserved: [u8; 4],
    identifier: Identifier,
}

/// `struct fscrypt_get_policy_ex_arg`.
#[repr(C)]
struct GetPolicy {
    size: u64,
    policy: PolicyV2,
}

const READ: u32 = 2;
const READ_WRITE: u32 = 3;

/// `_IOC(direction, 'f', number, size)`, as most architectures number it: x86-64 and arm64 do.
const fn request(direction: u32, number: u32, size: usize) -> u32 {
    (direction << 30) | ((size as u32) << 16) | ((b'f' as u32) << 8) | number
}

/// The kernel numbers it by the first version of its argument, of 12 bytes.
const SET_POLICY: u32 = request(READ, 19, 12);
/// The kernel numbers it by the first 9 bytes of its argument.
const GET_POLICY: u32 = request(READ_WRITE, 22, 9);
/// Without the key itself.
const ADD_KEY: u32 = request(READ_WRITE, 23, size_of::<AddKey>() - KEY_BYTES);
const REMOVE_KEY_ALL_USERS: u32 = request(READ_WRITE, 25, size_of::<RemoveKey>());
const GET_KEY_STATUS: u32 = request(READ_WRITE, 26, size_of::<GetKeyStatus>());

impl Specifier {
    fn of(identifier: Identifier) -> Self {
        Self {
            kind: SPECIFIER_IDENTIFIER,
            reserved: 0,
            identifier,
            rest: [0; 16],
        }
    }
}

/// How a directory is encrypted, told with its key or without.
pub fn policy(directory: BorrowedFd<'_>) -> io::Result<Policy> {
    let mut argument = GetPolicy {
        size: size_of::<PolicyV2>() as u64,
        policy: PolicyV2::default(),
    };
    match call(directory, GET_POLICY, &mut argument) {
        Ok(()) if argument.policy.version == POLICY_V2 => {
            Ok(Policy::Encrypted(argument.policy.identifier))
        }
        Ok(()) => Ok(Policy::Other),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENODATA) => Ok(Policy::None),
            Some(libc::EOVERFLOW) => Ok(Policy::Other),
            Some(libc::ENOTTY | libc::EOPNOTSUPP) => Ok(Policy::Unsupported),
            _ => Err(error),
        },
    }
}

/// Has everything that will be made in an empty directory encrypted with a key that the file
/// system has.
pub fn encrypt(directory: BorrowedFd<'_>, identifier: Identifier) -> io::Result<()> {
    let mut argument = PolicyV2 {
        version: POLICY_V2,
        contents: MODE_AES_256_XTS,
        names: MODE_AES_256_CTS,
        flags: PAD_32,
        reserved: [0; 4],
        identifier,
    };
    call(directory, SET_POLICY, &mut argument)
}

/// Gives a master key to the file system of `anywhere`, and says what it is called by.
pub fn add_key(anywhere: BorrowedFd<'_>, key: &[u8; KEY_BYTES]) -> io::Result<Identifier> {
    let mut argument = AddKey {
        specifier: Specifier::of([0; 16]),
        raw_size: KEY_BYTES as u32,
        key_id: 0,
        reserved: [0; 8],
        raw: *key,
    };
    let added = call(anywhere, ADD_KEY, &mut argument);
    argument.raw = [0; KEY_BYTES];
    // So that the overwriting is not taken for useless: the key lay on this stack.
    std::hint::black_box(&argument.raw);
    added.map(|()| argument.specifier.identifier)
}

/// Takes a master key away from a file system, whoever gave it. Needs root. The status is
/// [`KeyStatus::InUse`] while files are open.
pub fn remove_key(anywhere: BorrowedFd<'_>, identifier: Identifier) -> io::Result<KeyStatus> {
    let mut argument = RemoveKey {
        specifier: Specifier::of(identifier),
        removal_status_flags: 0,
        reserved: [0; 5],
    };
    match call(anywhere, REMOVE_KEY_ALL_USERS, &mut argument) {
        Ok(()) if argument.removal_status_flags == 0 => Ok(KeyStatus::Absent),
        Ok(()) => Ok(KeyStatus::InUse),
        Err(error) if error.raw_os_error() == Some(libc::ENOKEY) => Ok(KeyStatus::Absent),
        Err(error) => Err(error),
    }
}

/// What the kernel has of a master key.
pub fn key_status(anywhere: BorrowedFd<'_>, identifier: Identifier) -> io::Result<KeyStatus> {
    let mut argument = GetKeyStatus {
        specifier: Specifier::of(identifier),
        reserved: [0; 6],
        status: 0,
        status_flags: 0,
        user_count: 0,
        out_reserved: [0; 13],
    };
    call(anywhere, GET_KEY_STATUS, &mut argument)?;
    Ok(match argument.status {
        STATUS_ABSENT => KeyStatus::Absent,
        STATUS_PRESENT => KeyStatus::Present,
        _ => KeyStatus::InUse,
    })
}

fn call<T>(fd: BorrowedFd<'_>, request: u32, argument: &mut T) -> io::Result<()> {
    // SAFETY: `argument` is one of the structures above, laid out as the kernel's (their sizes are
    // in the request's number, or, for the two that are numbered by their first version, told in
    // the argument), alive and exclusive for the call; the kernel keeps no pointer to it.
    let result =
        unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), std::ptr::from_mut(argument)) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn structures_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<AddKey>() - KEY_BYTES, 80);
        assert_eq!(size_of::<RemoveKey>(), 64);
        assert_eq!(size_of::<GetKeyStatus>(), 128);
        assert_eq!(size_of::<PolicyV2>(), 24);
        assert_eq!(std::mem::offset_of!(GetPolicy, policy), 8);
    }

    #[test]
    fn a_file_system_without_encryption_says_so() {
        let proc = File::open("/proc/self").unwrap();
        assert_eq!(policy(proc.as_fd()).unwrap(), Policy::Unsupported);
        assert!(encrypt(proc.as_fd(), [0; 16]).is_err());
    }
}
