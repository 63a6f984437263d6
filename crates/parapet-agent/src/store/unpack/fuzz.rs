//! Assets that nobody packed, of both formats.

use std::os::unix::fs::MetadataExt as _;

use super::*;

/// An asset is unpacked below its directory, or refused with a sentence. Nothing beside it is
/// touched, and nothing inside is more than a file, a directory or a link of the agent's own.
fn feed(name: &str, words: &[&str], packed: fn(&[u8]) -> Vec<u8>) {
    let place = tempfile::tempdir_in(memory()).unwrap();
    let (asset, target) = (place.path().join("asset"), place.path().join("target"));
    fs::write(place.path().join("outside"), "outside").unwrap();
    parapet_fuzz::feed(&parapet_fuzz::Target {
        name,
        words,
        run: &|bytes| {
            fs::write(&asset, packed(bytes)).unwrap();
            let unpacked = image_noting(&asset, &target, &mut Taken::default());
            if let Err(error) = &unpacked {
                assert!((1..20_000).contains(&error.to_string().len()), "{error}");
            }
            let mut beside: Vec<_> = fs::read_dir(place.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            beside.sort();
            assert_eq!(beside, ["asset", "outside", "target"]);
            let outside = fs::read(place.path().join("outside")).unwrap();
            assert_eq!(outside, b"outside");
            is_plain(&target.join("rootfs"));
            fs::remove_dir_all(&target).unwrap();
            unpacked.is_ok()
        },
    });
}

/// A file system in memory, where there is one.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

fn is_plain(path: &Path) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let found = fs::symlink_metadata(&path).unwrap();
        if found.is_dir() {
            is_plain(&path);
        } else {
            assert!(found.is_file() || found.is_symlink(), "{}", path.display());
        }
        if !found.is_symlink() {
            assert_eq!(found.mode() & 0o6022, 0, "{}", path.display());
        }
    }
}

/// What is not packed is, after the sums of its headers are made right: else hardly anything would
/// get past them.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    const SUM: std::ops::Range<usize> = 148..156;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes.to_vec();
    }
    let mut tar = bytes.to_vec();
    for block in tar.chunks_exact_mut(512) {
        if block[257..].starts_with(b"ustar") {
            block[SUM].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut packer, &tar).unwrap();
    packer.finish().unwrap()
}

#[test]
fn archive_breaks_no_promise() {
    let words = [
        "../",
        "/etc/passwd",
        "ustar",
        "30 mtime=1",
        "path=",
        "linkpath=",
        "GNU.sparse.",
        "\0\0\0\0",
        "77777777777",
    ];
    feed("archive", &words, gzip);
}

#[test]
fn squashfs_breaks_no_promise() {
    feed("squashfs", &["hsqs", "..", "/", "\0\0\0\0"], <[u8]>::to_vec);
}
