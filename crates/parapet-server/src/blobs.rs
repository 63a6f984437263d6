//! Contents by their SHA-256: `DATA/blobs/sha256/aa/<hex>`, written once, never changed.
//!
//! A content is written to a temporary file beside its place, synced, renamed, and its directory
//! synced: after [`Draft::keep`] it survives a loss of power, before it nobody sees it. What a crash
//! leaves behind lies in `DATA/blobs/new` and is cleared at the next start. Never interprets a
//! content, never names a file after anything but its hash.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use parapet_device::BlobDigest;

use crate::random;

/// The directory of contents.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
}

/// A content that is being written; dropped without [`keep`](Self::keep) it is gone.
pub struct Draft {
    file: File,
    path: PathBuf,
    root: PathBuf,
    hash: digest::Context,
    bytes: u64,
    kept: bool,
}

impl Blobs {
    /// Opens the directory, makes it when it is missing, and clears what a crash left.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        let new = root.join("new");
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        fs::create_dir_all(&new)?;
        fs::create_dir_all(root.join("sha256"))?;
        fs::create_dir_all(root.join("uploads"))?;
        Ok(Self { root })
    }

    /// Where a content lies, if it is there.
    #[must_use]
    pub fn path(&self, digest: &BlobDigest) -> PathBuf {
        place(&self.root, digest)
    }

    /// Where parts of uploads lie until they are joined.
    #[must_use]
    pub fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// All of a content that is expected to be small. Blocks; for more than `limit` bytes it fails.
    pub fn read(&self, digest: &BlobDigest, limit: u64) -> io::Result<Vec<u8>> {
        let path = self.path(digest);
        let bytes = fs::metadata(&path)?.len();
        if bytes > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{bytes} bytes, at most {limit} are read"),
            ));
        }
        fs::read(path)
    }

    /// Begins a content. Blocks, as does all of [`Draft`].
    pub fn begin(&self) -> io::Result<Draft> {
        let path = self.root.join("new").join(random::hex::<16>()?);
        Ok(Draft {
            file: File::create_new(&path)?,
            path,
            root: self.root.clone(),
            hash: digest::Context::new(&digest::SHA256),
            bytes: 0,
            kept: false,
        })
    }
}

impl Draft {
    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes the content durable; its name and length.
    pub fn keep(mut self) -> io::Result<(BlobDigest, u64)> {
        self.file.sync_all()?;
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.hash.clone().finish().as_ref());
        let digest = BlobDigest::from_bytes(bytes);
        let place = place(&self.root, &digest);
        let directory = place.parent().unwrap_or(&self.root);
        fs::create_dir_all(directory)?;
        fs::rename(&self.path, &place)?;
        self.kept = true;
        File::open(directory)?.sync_all()?;
        // The directory itself may be new.
        File::open(self.root.join("sha256"))?.sync_all()?;
        Ok((digest, self.bytes))
    }

    /// Makes the bytes durable under a name of the caller's, outside of the contents.
    pub fn keep_at(mut self, directory: &Path, name: &str) -> io::Result<u64> {
        self.file.sync_all()?;
        fs::rename(&self.path, directory.join(name))?;
        self.kept = true;
        File::open(directory)?.sync_all()?;
        Ok(self.bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "could not remove a discarded upload");
        }
    }
}

fn place(root: &Path, digest: &BlobDigest) -> PathBuf {
    let hex = digest.to_string();
    root.join("sha256").join(&hex[..2]).join(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_found_by_its_hash_and_a_discarded_one_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let blobs = Blobs::open(dir.path().to_owned()).expect("blobs");
        let mut draft = blobs.begin().expect("a draft");
        draft.write(b"hello ").expect("room");
        draft.write(b"world").expect("room");
        let (digest, bytes) = draft.keep().expect("kept");
        assert_eq!(
            (digest.to_string().as_str(), bytes),
            (
                "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
                11
            )
        );
        assert_eq!(blobs.read(&digest, 11).expect("there"), b"hello world");
        assert!(blobs.read(&digest, 10).is_err());

        let mut draft = blobs.begin().expect("a draft");
        draft.write(b"x").expect("room");
        drop(draft);
        assert_eq!(
            fs::read_dir(dir.path().join("new")).expect("there").count(),
            0
        );
    }

    #[test]
    fn what_a_crash_left_is_cleared() {
        let dir = tempfile::tempdir().expect("a directory");
        let blobs = Blobs::open(dir.path().to_owned()).expect("blobs");
        std::mem::forget(blobs.begin().expect("a draft"));
        Blobs::open(dir.path().to_owned()).expect("blobs");
        assert_eq!(
            fs::read_dir(dir.path().join("new")).expect("there").count(),
            0
        );
    }
}
