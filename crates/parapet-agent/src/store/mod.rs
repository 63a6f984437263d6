//! What is on the device: blobs as fetched, images and models as unpacked.
//!
//! Owns `blobs/`, `images/` and `models/` below the state directory. Everything is named by the
//! SHA-256 of the blob it came from, appears by a rename when it is whole, and is never changed.

pub(crate) mod unpack;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use parapet_device::BlobDigest;
use parapet_device::desired::Blob;
use parapet_plan::{Asset, AssetKind};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::durable;
use crate::link::{Origin, OriginError};
use unpack::UnpackError;

/// Largest blob an appliance takes; a CUDA image has 4 to 8 GB.
const LARGEST_BLOB: u64 = 32 * 1024 * 1024 * 1024;
/// A transfer that brings nothing for so long is begun anew where it stopped.
const SILENT: Duration = Duration::from_secs(30);

/// Why an asset is not on the device.
#[derive(Debug, Error)]
pub(crate) enum AssetError {
    #[error("fetch blob {0}")]
    Fetch(BlobDigest, #[source] OriginError),
    #[error("fetch blob {digest}: nothing came for {} s", SILENT.as_secs())]
    Silent { digest: BlobDigest },
    #[error("fetch blob {digest}: {found} bytes came instead of {wanted}")]
    Length {
        digest: BlobDigest,
        found: u64,
        wanted: u64,
    },
    #[error("check blob {0}: its contents do not have that SHA-256; upload the package again")]
    Damaged(BlobDigest),
    #[error("take blob {digest}: {bytes} bytes are more than {LARGEST_BLOB}")]
    TooLarge { digest: BlobDigest, bytes: u64 },
    #[error("store {path}", path = .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("unpack blob {0}")]
    Unpack(BlobDigest, #[source] UnpackError),
}

impl AssetError {
    /// Whether trying again cannot help: the package itself is at fault.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Fetch(..) | Self::Silent { .. } | Self::Length { .. } | Self::Write(..) => false,
            Self::Damaged(..) | Self::TooLarge { .. } => true,
            Self::Unpack(_, error) => error.is_final(),
        }
    }
}

/// The device's assets.
pub(crate) struct Store {
    root: PathBuf,
    origin: Origin,
    /// One asset at a time: they share the line and the disk.
    busy: Mutex<()>,
}

impl Store {
    /// Opens the store and deletes what an interrupted agent left unfinished.
    pub(crate) fn open(root: &Path, origin: Origin) -> Result<Self, AssetError> {
        for name in ["blobs", "images", "models"] {
            let path = root.join(name);
            let failed = |error| AssetError::Write(path.clone(), error);
            fs::create_dir_all(&path).map_err(failed)?;
            for entry in fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if entry.file_name().to_string_lossy().ends_with(".new") {
                    remove(&entry.path()).map_err(failed)?;
                }
            }
        }
        Ok(Self {
            root: root.to_owned(),
            origin,
            busy: Mutex::new(()),
        })
    }

    /// What is unpacked already.
    pub(crate) fn unpacked(&self) -> Vec<Asset> {
        let mut assets = Vec::new();
        for (name, kind) in [("images", AssetKind::Image), ("models", AssetKind::Model)] {
            let Ok(entries) = fs::read_dir(self.root.join(name)) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let digest = name
                    .to_str()
                    .map(|name| name.trim_end_matches(".onnx").parse());
                if let Some(Ok(sha256)) = digest {
                    assets.push(Asset { kind, sha256 });
                }
            }
        }
        assets
    }

    /// Where an unpacked asset is, or will be.
    pub(crate) fn path(&self, asset: Asset) -> PathBuf {
        match asset.kind {
            AssetKind::Image => self.root.join("images").join(asset.sha256.to_string()),
            AssetKind::Model => self
                .root
                .join("models")
                .join(format!("{}.onnx", asset.sha256)),
        }
    }

    /// Makes `images/<sha256>/rootfs` of a fetched code asset.
    pub(crate) async fn unpack_image(&self, sha256: &BlobDigest) -> Result<(), AssetError> {
        let asset = Asset {
            kind: AssetKind::Image,
            sha256: *sha256,
        };
        self.unpack(asset, unpack::image).await
    }

    /// Makes `models/<sha256>.onnx` of a fetched model asset.
    pub(crate) async fn unpack_model(&self, sha256: &BlobDigest) -> Result<(), AssetError> {
        let asset = Asset {
            kind: AssetKind::Model,
            sha256: *sha256,
        };
        self.unpack(asset, unpack::model).await
    }

    async fn unpack(
        &self,
        asset: Asset,
        unpack: fn(&Path, &Path) -> Result<(), UnpackError>,
    ) -> Result<(), AssetError> {
        let _busy = self.busy.lock().await;
        let digest = asset.sha256;
        let target = self.path(asset);
        let blob = self.blob_path(&digest);
        let mut temporary = target.clone().into_os_string();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let work = move || {
            let failed = |error| AssetError::Write(target.clone(), error);
            if fs::exists(&target).map_err(failed)? {
                return Ok(());
            }
            remove(&temporary).map_err(failed)?;
            unpack(&blob, &temporary).map_err(|error| AssetError::Unpack(digest, error))?;
            fs::rename(&temporary, &target).map_err(failed)?;
            durable::sync_directory(target.parent().unwrap_or(&target)).map_err(failed)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(panic) => {
                let source = UnpackError::Write(digest.to_string(), io::Error::other(panic));
                Err(AssetError::Unpack(digest, source))
            }
        }
    }

    fn blob_path(&self, digest: &BlobDigest) -> PathBuf {
        self.root.join("blobs").join(digest.to_string())
    }

    /// Deletes an asset and the blob it came from. Where the same blob is used in the other form
    /// too, it is unpacked already or fetched again.
    pub(crate) async fn discard(&self, asset: Asset) -> io::Result<()> {
        let _busy = self.busy.lock().await;
        let (path, blob) = (self.path(asset), self.blob_path(&asset.sha256));
        let work = move || {
            remove(&path)?;
            remove(&blob.with_extension("part"))?;
            remove(&blob)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other)?
    }

    /// Fetches a blob, going on where an earlier try stopped.
    pub(crate) async fn fetch(&self, blob: &Blob) -> Result<PathBuf, AssetError> {
        let _busy = self.busy.lock().await;
        let digest = blob.sha256;
        if blob.bytes > LARGEST_BLOB {
            return Err(AssetError::TooLarge {
                digest,
                bytes: blob.bytes,
            });
        }
        let path = self.blob_path(&digest);
        let failed = |error| AssetError::Write(path.clone(), error);
        if fs::exists(&path).map_err(failed)? {
            return Ok(path);
        }
        let part = path.with_extension("part");
        let (mut hash, mut length) = hash_part(&part).await.map_err(failed)?;
        let mut file = tokio::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&part)
            .await
            .map_err(failed)?;
        if length < blob.bytes {
            let fetch_failed = |error| AssetError::Fetch(digest, error);
            let mut stream = timeout(SILENT, self.origin.blob(&digest, length))
                .await
                .map_err(|_| AssetError::Silent { digest })?
                .map_err(fetch_failed)?;
            let mut buffer = vec![0; 256 * 1024];
            while length <= blob.bytes {
                let read = timeout(SILENT, stream.read(&mut buffer))
                    .await
                    .map_err(|_| AssetError::Silent { digest })?
                    .map_err(|error| fetch_failed(OriginError::Read(part.clone(), error)))?;
                if read == 0 {
                    break;
                }
                hash.update(&buffer[..read]);
                file.write_all(&buffer[..read]).await.map_err(failed)?;
                length += read as u64;
            }
        }
        file.flush().await.map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        if length < blob.bytes {
            // What has come is kept: the next try goes on there.
            return Err(AssetError::Length {
                digest,
                found: length,
                wanted: blob.bytes,
            });
        }
        if length > blob.bytes || hash.finish().as_ref() != digest.as_bytes() {
            tokio::fs::remove_file(&part).await.map_err(failed)?;
            return Err(AssetError::Damaged(digest));
        }
        tokio::fs::rename(&part, &path).await.map_err(failed)?;
        Ok(path)
    }
}

/// Deletes a file or a tree of the agent's own making; nothing there is fine.
fn remove(path: &Path) -> io::Result<()> {
    let deleted = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match deleted {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Hash and length of what an earlier try has left.
async fn hash_part(part: &Path) -> io::Result<(Context, u64)> {
    let part = part.to_owned();
    let work = move || {
        let mut hash = Context::new(&SHA256);
        let mut length = 0;
        let mut file = match fs::File::open(&part) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((hash, 0)),
            Err(error) => return Err(error),
        };
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok((hash, length));
            }
            hash.update(&buffer[..read]);
            length += read as u64;
        }
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> BlobDigest {
        let hash = aws_lc_rs::digest::digest(&SHA256, bytes);
        BlobDigest::from_bytes(hash.as_ref().try_into().unwrap())
    }

    fn store(dir: &Path) -> Store {
        fs::create_dir_all(dir.join("origin/blobs")).unwrap();
        let origin = Origin::File(dir.join("origin/desired.json"));
        Store::open(&dir.join("state"), origin).unwrap()
    }

    #[tokio::test]
    async fn a_blob_is_taken_on_from_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let bytes: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
        let blob = Blob {
            sha256: digest(&bytes),
            bytes: bytes.len() as u64,
        };
        let there = dir
            .path()
            .join("origin/blobs")
            .join(blob.sha256.to_string());
        fs::write(&there, &bytes[..600_000]).unwrap();
        let short = store.fetch(&blob).await;
        assert!(
            matches!(short, Err(AssetError::Length { found: 600_000, .. })),
            "{short:?}"
        );
        // Only the rest is asked for: a changed beginning is not seen.
        let mut changed = bytes.clone();
        changed[0] ^= 1;
        fs::write(&there, &changed).unwrap();
        let path = store.fetch(&blob).await.unwrap();
        assert_eq!(fs::read(path).unwrap(), bytes);
    }

    #[tokio::test]
    async fn a_blob_with_other_contents_is_refused_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let blob = Blob {
            sha256: digest(b"right"),
            bytes: 5,
        };
        fs::write(
            dir.path()
                .join("origin/blobs")
                .join(blob.sha256.to_string()),
            b"wrong",
        )
        .unwrap();
        let refused = store.fetch(&blob).await;
        assert!(
            matches!(&refused, Err(e @ AssetError::Damaged(_)) if e.is_final()),
            "{refused:?}"
        );
        assert_eq!(
            fs::read_dir(dir.path().join("state/blobs"))
                .unwrap()
                .count(),
            0
        );
    }

    #[tokio::test]
    async fn a_model_is_found_again_after_a_restart_and_gone_once_discarded() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::fast(),
        ));
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        tar.append_data(&mut header, "net.onnx", &b"model"[..])
            .unwrap();
        let bytes = tar.into_inner().unwrap().finish().unwrap();
        let blob = Blob {
            sha256: digest(&bytes),
            bytes: bytes.len() as u64,
        };
        fs::write(
            dir.path()
                .join("origin/blobs")
                .join(blob.sha256.to_string()),
            &bytes,
        )
        .unwrap();
        store.fetch(&blob).await.unwrap();
        store.unpack_model(&blob.sha256).await.unwrap();
        let asset = Asset {
            kind: AssetKind::Model,
            sha256: blob.sha256,
        };
        assert_eq!(fs::read(store.path(asset)).unwrap(), b"model");
        let again = Store::open(&store.root, store.origin.clone()).unwrap();
        assert_eq!(again.unpacked(), [asset]);
        again.discard(asset).await.unwrap();
        assert_eq!(again.unpacked(), []);
        assert_eq!(
            fs::read_dir(dir.path().join("state/blobs"))
                .unwrap()
                .count(),
            0
        );
    }
}
