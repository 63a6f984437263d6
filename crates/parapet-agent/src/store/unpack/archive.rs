//! tar.gz: headers one by one, with the extensions that make long names.
//!
//! Reads raw headers of `tar` and joins long names itself: the crate would read a name of any
//! length into memory. What two programs could read in two ways is refused: names or sizes given
//! twice and differently, sparse files, kinds of entry that are neither POSIX nor GNU.
//! Format: POSIX.1-2017 `pax`, and tar(5) for GNU's `L` and `K`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry as RawEntry, EntryType, PaxExtensions};

use super::{Entry, Kind, LONGEST_PATH, Limits, Taken, UnpackError, odd, paths};

/// Longest PAX record: names of 4096 bytes, times, attributes.
const LONGEST_RECORD: u64 = 64 * 1024;

type Raw<'a> = RawEntry<'a, MultiGzDecoder<File>>;

/// What stands before an entry and is about it.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Vec<u8>>,
}

/// The words of a PAX record that matter here.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
    attributes: bool,
}

pub(super) fn each_entry(
    file: File,
    limits: &mut Limits,
    taken: &mut Taken,
    mut take: impl FnMut(Entry<'_>) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let mut archive = Archive::new(MultiGzDecoder::new(file));
    let mut before = Extensions::default();
    for raw in archive.entries().map_err(UnpackError::Read)?.raw(true) {
        let mut raw = raw.map_err(UnpackError::Read)?;
        // Also what is skipped: it has to be decompressed.
        limits.count(raw.size())?;
        let slot = match raw.header().entry_type() {
            EntryType::GNULongName => &mut before.long_name,
            EntryType::GNULongLink => &mut before.long_link,
            EntryType::XHeader => &mut before.pax,
            // Says something of all entries, such as which commit they are from.
            EntryType::XGlobalHeader => {
                global(&mut raw)?;
                continue;
            }
            _ => {
                one(std::mem::take(&mut before), &mut raw, taken, &mut take)?;
                continue;
            }
        };
        let most = if raw.header().entry_type() == EntryType::XHeader {
            LONGEST_RECORD
        } else {
            LONGEST_PATH as u64 + 1
        };
        let text = bounded(&mut raw, most)?;
        if slot.replace(text).is_some() {
            return Err(named(&raw, "its name is given twice"));
        }
    }
    Ok(())
}

/// Names and sizes for all that follows are none that any program of today writes.
fn global(raw: &mut Raw<'_>) -> Result<(), UnpackError> {
    let record = bounded(raw, LONGEST_RECORD)?;
    let pax = Pax::read(&record).map_err(|what| named(raw, what))?;
    if pax.path.is_some() || pax.link.is_some() || pax.size.is_some() || pax.sparse {
        return Err(named(raw, "it gives one name or size to many entries"));
    }
    Ok(())
}

fn bounded(raw: &mut Raw<'_>, most: u64) -> Result<Vec<u8>, UnpackError> {
    if raw.size() > most {
        return Err(named(raw, "its name or its attributes have no end"));
    }
    let mut bytes = Vec::new();
    raw.read_to_end(&mut bytes).map_err(UnpackError::Read)?;
    Ok(bytes)
}

fn named(raw: &Raw<'_>, what: &'static str) -> UnpackError {
    let name: String = String::from_utf8_lossy(&raw.path_bytes())
        .chars()
        .take(100)
        .collect();
    odd(Path::new(&name), what)
}

impl Pax {
    fn read(record: &[u8]) -> Result<Self, &'static str> {
        let mut pax = Self::default();
        for word in PaxExtensions::new(record) {
            let word = word.map_err(|_| "its PAX record is broken")?;
            let (key, value) = (word.key_bytes(), word.value_bytes());
            let before = match key {
                b"path" => pax.path.replace(value.to_vec()).is_some(),
                b"linkpath" => pax.link.replace(value.to_vec()).is_some(),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|t| t.parse().ok());
                    let size = size.ok_or("its size is no number")?;
                    pax.size.replace(size).is_some()
                }
                _ => false,
            };
            if before {
                return Err("its PAX record says something twice");
            }
            pax.sparse |= key.starts_with(b"GNU.sparse.");
            pax.attributes |= [
                &b"SCHILY.xattr."[..],
                b"LIBARCHIVE.xattr.",
                b"RHT.security.",
            ]
            .iter()
            .any(|prefix| key.starts_with(prefix));
        }
        Ok(pax)
    }
}

fn one(
    before: Extensions,
    raw: &mut Raw<'_>,
    taken: &mut Taken,
    take: &mut impl FnMut(Entry<'_>) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let record = before.pax.unwrap_or_default();
    let pax = Pax::read(&record).map_err(|what| named(raw, what))?;
    let name = agreed(before.long_name, pax.path)
        .map_err(|what| named(raw, what))?
        .unwrap_or_else(|| raw.path_bytes().into_owned());
    let path = paths::plain(&name)?;
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let link = agreed(before.long_link, pax.link)
        .map_err(|what| odd(&path, what))?
        .unwrap_or_else(|| raw.link_name_bytes().unwrap_or_default().into_owned());
    if pax.size.is_some_and(|size| size != raw.size()) {
        return Err(odd(&path, "its size is given twice, and differently"));
    }
    let kind = raw.header().entry_type();
    if pax.sparse || kind == EntryType::GNUSparse {
        return Err(odd(&path, "it is stored as a sparse file"));
    }
    if pax.attributes {
        taken.note("file capabilities and other extended attributes", &path);
    }
    let mode = raw.header().mode().map_err(UnpackError::Read)?;
    let bytes = raw.size();
    let regular = matches!(kind, EntryType::Regular | EntryType::Continuous);
    if regular && mode & 0o6000 != 0 {
        taken.note("setuid and setgid bits", &path);
    }
    if !regular && bytes != 0 {
        return Err(odd(&path, "it is no file and has contents"));
    }
    let kind = match kind {
        EntryType::Regular | EntryType::Continuous => Kind::File {
            executable: mode & 0o111 != 0,
            bytes,
            contents: raw,
        },
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(paths::link_target(&path, link)?),
        EntryType::Link => Kind::HardLink(hard_link(&path, &link)?),
        EntryType::Char | EntryType::Block => Kind::Special(paths::DEVICE),
        EntryType::Fifo => Kind::Special("pipe"),
        _ => return Err(odd(&path, "it is of an unknown kind")),
    };
    take(Entry { path, kind })
}

fn hard_link(path: &Path, target: &[u8]) -> Result<PathBuf, UnpackError> {
    paths::plain(target).map_err(|_| UnpackError::HardLink(path.display().to_string()))
}

/// A name by GNU's extension (with its null bytes) and by PAX must be one.
fn agreed(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, &'static str> {
    let gnu = gnu.map(|mut name| {
        if name.last() == Some(&0) {
            name.pop();
        }
        name
    });
    match (gnu, pax) {
        (Some(one), Some(other)) if one != other => Err("its name is given twice, and differently"),
        (one, other) => Ok(one.or(other)),
    }
}
