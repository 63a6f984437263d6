//! squashfs 4.0 images, read without mounting: the kernel's own reader is not for hostile images.
//!
//! Reads forward, one entry at a time, with an open directory per level and no recursion, so that
//! memory is bounded by depth and block size whatever the image says. Compression: gzip, zstd,
//! none. Format: `Documentation/filesystems/squashfs.rst` and `fs/squashfs/squashfs_fs.h`; all
//! numbers are little-endian.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use flate2::read::ZlibDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::{Entry, Kind, Limits, MOST_ENTRIES, Taken, UnpackError, odd, paths};

/// First bytes of an image.
pub(super) const MAGIC: [u8; 4] = *b"hsqs";

const SUPERBLOCK: usize = 96;
/// Decompressed length of a block of metadata.
const METADATA: usize = 8192;
const LARGEST_BLOCK: u32 = 1 << 20;
const SMALLEST_BLOCK: u32 = 1 << 12;
/// Of a length in the list of a file's blocks: the block is stored as it is.
const STORED: u32 = 1 << 24;
/// The same of a block of metadata.
const METADATA_STORED: u16 = 1 << 15;
const NO_FRAGMENT: u32 = u32::MAX;
const NO_ATTRIBUTES: u32 = u32::MAX;
/// Fragments described by a block of metadata.
const FRAGMENTS: u32 = 512;
/// A frame of zstd may ask for no more memory than a block needs, rounded as encoders do.
const LARGEST_WINDOW: u64 = 8 << 20;

/// What is wrong with an image as a whole.
fn broken(what: &'static str) -> UnpackError {
    UnpackError::Read(io::Error::new(io::ErrorKind::InvalidData, what))
}

pub(super) fn each_entry(
    file: File,
    length: u64,
    limits: &mut Limits,
    taken: &mut Taken,
    mut take: impl FnMut(Entry<'_>) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let image = Image::open(file, length)?;
    let mut fragment = None;
    let root = image.inode((image.root >> 16) as u32, (image.root & 0xffff) as u16)?;
    let Node::Directory(listing) = root.node else {
        return Err(broken("its root is no directory"));
    };
    let mut seen = HashSet::from([root.number]);
    let mut open = vec![(PathBuf::new(), image.listing(listing)?)];
    while let Some((above, listing)) = open.last_mut() {
        let Some(entry) = listing.next(&image)? else {
            open.pop();
            continue;
        };
        let above = above.clone();
        let name = [above.as_os_str().as_encoded_bytes(), b"/", &entry.name].concat();
        let relative = name.strip_prefix(b"/").unwrap_or(&name);
        if entry.name.contains(&b'/') {
            return Err(UnpackError::Path(
                String::from_utf8_lossy(relative).into_owned(),
            ));
        }
        let path = paths::plain(relative)?;
        if path == above {
            // A name of one point.
            return Err(UnpackError::Path(path.display().to_string()));
        }
        let inode = image.inode(entry.block, entry.offset)?;
        if inode.attributes {
            taken.note("file capabilities and other extended attributes", &path);
        }
        let kind = match inode.node {
            Node::Directory(listing) => {
                limits.count(0)?;
                if !seen.insert(inode.number) {
                    return Err(odd(&path, "the directory is at another place, too"));
                }
                take(Entry {
                    path: path.clone(),
                    kind: Kind::Directory,
                })?;
                let listing = image.listing(listing)?;
                open.push((path, listing));
                continue;
            }
            Node::File(stored) => {
                limits.count(stored.bytes)?;
                if inode.mode & 0o6000 != 0 {
                    taken.note("setuid and setgid bits", &path);
                }
                let bytes = stored.bytes;
                let mut contents = Contents::new(&image, stored, &mut fragment);
                take(Entry {
                    path,
                    kind: Kind::File {
                        executable: inode.mode & 0o111 != 0,
                        bytes,
                        contents: &mut contents,
                    },
                })?;
                continue;
            }
            Node::Symlink(target) => Kind::Symlink(paths::link_target(&path, target)?),
            Node::Special(found) => Kind::Special(found),
        };
        limits.count(0)?;
        take(Entry { path, kind })?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Compression {
    Gzip,
    Zstd,
}

struct Image {
    file: File,
    length: u64,
    compression: Compression,
    block: u32,
    fragments: u32,
    root: u64,
    inodes: u64,
    directories: u64,
    fragment_table: u64,
    /// The block of metadata read last, its place, and the next one's: neighbours share one.
    last: RefCell<Option<(u64, Vec<u8>, u64)>>,
}

impl Image {
    fn open(file: File, length: u64) -> Result<Self, UnpackError> {
        let mut bytes = [0; SUPERBLOCK];
        file.read_exact_at(&mut bytes, 0)
            .map_err(UnpackError::Read)?;
        let mut fields = Fields(&bytes);
        let _magic = fields.u32()?;
        let inodes = fields.u32()?;
        let _time = fields.u32()?;
        let block = fields.u32()?;
        let fragments = fields.u32()?;
        let compression = fields.u16()?;
        let log = fields.u16()?;
        let _flags_and_ids = fields.u32()?;
        let (major, minor) = (fields.u16()?, fields.u16()?);
        let root = fields.u64()?;
        let used = fields.u64()?;
        let _ids = fields.u64()?;
        let _attributes = fields.u64()?;
        let inode_table = fields.u64()?;
        let directories = fields.u64()?;
        let fragment_table = fields.u64()?;
        if (major, minor) != (4, 0) {
            return Err(broken("it is no squashfs of version 4.0"));
        }
        if u64::from(inodes) > MOST_ENTRIES {
            return Err(UnpackError::Limit("it has more than a million entries"));
        }
        let sizes = SMALLEST_BLOCK..=LARGEST_BLOCK;
        if !sizes.contains(&block) || !block.is_power_of_two() || block.ilog2() != u32::from(log) {
            return Err(broken("its block size is none"));
        }
        if used > length || inode_table >= used || directories >= used {
            return Err(broken("it is shorter than it says"));
        }
        let compression = match compression {
            1 => Compression::Gzip,
            6 => Compression::Zstd,
            _ => {
                return Err(broken(
                    "its compression is neither gzip nor zstd; make it with mksquashfs -comp zstd",
                ));
            }
        };
        Ok(Self {
            file,
            length,
            compression,
            block,
            fragments,
            root,
            inodes: inode_table,
            directories,
            fragment_table,
            last: RefCell::new(None),
        })
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), UnpackError> {
        if at.saturating_add(bytes.len() as u64) > self.length {
            return Err(broken("it points behind its end"));
        }
        self.file
            .read_exact_at(bytes, at)
            .map_err(UnpackError::Read)
    }

    /// Decompresses to at most `most` bytes.
    fn decompress(&self, packed: &[u8], most: usize) -> Result<Vec<u8>, UnpackError> {
        let failed = |_| broken("a block of it cannot be decompressed");
        let mut bytes = Vec::new();
        let limit = most as u64 + 1;
        match self.compression {
            Compression::Gzip => ZlibDecoder::new(packed)
                .take(limit)
                .read_to_end(&mut bytes)
                .map_err(failed)?,
            Compression::Zstd => StreamingDecoder::new_with_max_window_size(packed, LARGEST_WINDOW)
                .map_err(|_| broken("a block of it cannot be decompressed"))?
                .take(limit)
                .read_to_end(&mut bytes)
                .map_err(failed)?,
        };
        if bytes.len() > most {
            return Err(broken("a block of it is longer than a block may be"));
        }
        Ok(bytes)
    }

    /// The block of metadata at a place, and where the next one is.
    fn metadata(&self, at: u64) -> Result<(Vec<u8>, u64), UnpackError> {
        if let Some((place, bytes, next)) = &*self.last.borrow()
            && *place == at
        {
            return Ok((bytes.clone(), *next));
        }
        let mut head = [0; 2];
        self.read(at, &mut head)?;
        let head = u16::from_le_bytes(head);
        let length = usize::from(head & !METADATA_STORED);
        if length == 0 || length > METADATA {
            return Err(broken("a block of its tables has no length"));
        }
        let mut packed = vec![0; length];
        self.read(at + 2, &mut packed)?;
        let bytes = if head & METADATA_STORED == 0 {
            self.decompress(&packed, METADATA)?
        } else {
            packed
        };
        let next = at + 2 + length as u64;
        *self.last.borrow_mut() = Some((at, bytes.clone(), next));
        Ok((bytes, next))
    }

    fn cursor(&self, table: u64, block: u32, offset: u16) -> Result<Cursor, UnpackError> {
        let (bytes, next) = self.metadata(table.saturating_add(block.into()))?;
        let position = usize::from(offset);
        if position > bytes.len() {
            return Err(broken("it points behind a block of its tables"));
        }
        Ok(Cursor {
            bytes,
            position,
            next,
        })
    }

    fn inode(&self, block: u32, offset: u16) -> Result<Inode, UnpackError> {
        let mut cursor = self.cursor(self.inodes, block, offset)?;
        let kind = cursor.u16(self)?;
        let mode = cursor.u16(self)?;
        let _owners = cursor.u32(self)?;
        let _time = cursor.u32(self)?;
        let number = cursor.u32(self)?;
        let mut attributes = NO_ATTRIBUTES;
        let node = match kind {
            1 => {
                let block = cursor.u32(self)?;
                let _links = cursor.u32(self)?;
                let bytes = cursor.u16(self)?.into();
                let offset = cursor.u16(self)?;
                Node::Directory(Place {
                    block,
                    offset,
                    bytes,
                })
            }
            8 => {
                let _links = cursor.u32(self)?;
                let bytes = cursor.u32(self)?;
                let block = cursor.u32(self)?;
                let _above = cursor.u32(self)?;
                let _index = cursor.u16(self)?;
                let offset = cursor.u16(self)?;
                attributes = cursor.u32(self)?;
                Node::Directory(Place {
                    block,
                    offset,
                    bytes,
                })
            }
            2 => {
                let start = cursor.u32(self)?.into();
                let fragment = cursor.u32(self)?;
                let offset = cursor.u32(self)?;
                let bytes = cursor.u32(self)?.into();
                Node::File(Stored {
                    start,
                    fragment,
                    offset,
                    bytes,
                    blocks: cursor,
                })
            }
            9 => {
                let start = cursor.u64(self)?;
                let bytes = cursor.u64(self)?;
                let _holes = cursor.u64(self)?;
                let _links = cursor.u32(self)?;
                let fragment = cursor.u32(self)?;
                let offset = cursor.u32(self)?;
                attributes = cursor.u32(self)?;
                Node::File(Stored {
                    start,
                    fragment,
                    offset,
                    bytes,
                    blocks: cursor,
                })
            }
            3 | 10 => {
                let _links = cursor.u32(self)?;
                let length = cursor.u32(self)? as usize;
                if length > super::LONGEST_PATH {
                    return Err(broken("a link of it has no end"));
                }
                let target = cursor.bytes(self, length)?;
                if kind == 10 {
                    attributes = cursor.u32(self)?;
                }
                Node::Symlink(target)
            }
            4 | 5 | 11 | 12 => Node::Special(paths::DEVICE),
            6 | 13 => Node::Special("pipe"),
            7 | 14 => Node::Special("socket"),
            _ => return Err(broken("an entry of it is of an unknown kind")),
        };
        Ok(Inode {
            number,
            mode,
            attributes: attributes != NO_ATTRIBUTES,
            node,
        })
    }

    fn listing(&self, place: Place) -> Result<Listing, UnpackError> {
        let Place {
            block,
            offset,
            bytes,
        } = place;
        // The length counts three bytes for `.` and `..`, which are not stored.
        let left = bytes.saturating_sub(3);
        let cursor = if left == 0 {
            Cursor::empty()
        } else {
            self.cursor(self.directories, block, offset)?
        };
        Ok(Listing {
            cursor,
            left,
            run: 0,
            block: 0,
        })
    }

    fn fragment(&self, index: u32) -> Result<Vec<u8>, UnpackError> {
        if index >= self.fragments {
            return Err(broken("a file of it ends in a block that is not there"));
        }
        let mut pointer = [0; 8];
        let place = u64::from(index / FRAGMENTS) * 8;
        self.read(self.fragment_table.saturating_add(place), &mut pointer)?;
        let (table, _) = self.metadata(u64::from_le_bytes(pointer))?;
        let at = (index % FRAGMENTS) as usize * 16;
        let record = table
            .get(at..at + 16)
            .ok_or_else(|| broken("its list of last blocks is too short"))?;
        let mut fields = Fields(record);
        let (start, size) = (fields.u64()?, fields.u32()?);
        self.data(start, size, self.block as usize)
    }

    /// A block of contents, at most `most` bytes long.
    fn data(&self, start: u64, size: u32, most: usize) -> Result<Vec<u8>, UnpackError> {
        let length = size & !STORED;
        if length > self.block {
            return Err(broken("a block of it is longer than a block may be"));
        }
        let mut packed = vec![0; length as usize];
        self.read(start, &mut packed)?;
        if size & STORED == 0 {
            self.decompress(&packed, most)
        } else if packed.len() > most {
            Err(broken("a block of it is longer than a block may be"))
        } else {
            Ok(packed)
        }
    }
}

struct Inode {
    number: u32,
    mode: u16,
    attributes: bool,
    node: Node,
}

enum Node {
    Directory(Place),
    File(Stored),
    Symlink(Vec<u8>),
    Special(&'static str),
}

/// Where a directory's list is.
#[derive(Clone, Copy)]
struct Place {
    block: u32,
    offset: u16,
    bytes: u32,
}

/// Where a file's contents are; `blocks` stands at the lengths of its blocks.
struct Stored {
    start: u64,
    fragment: u32,
    offset: u32,
    bytes: u64,
    blocks: Cursor,
}

/// A place in a table, which goes on from block to block.
struct Cursor {
    bytes: Vec<u8>,
    position: usize,
    next: u64,
}

impl Cursor {
    fn empty() -> Self {
        Self {
            bytes: Vec::new(),
            position: 0,
            next: u64::MAX,
        }
    }

    fn fill(&mut self, image: &Image, out: &mut [u8]) -> Result<(), UnpackError> {
        let mut filled = 0;
        while filled < out.len() {
            if self.position == self.bytes.len() {
                (self.bytes, self.next) = image.metadata(self.next)?;
                self.position = 0;
                if self.bytes.is_empty() {
                    return Err(broken("a block of its tables is empty"));
                }
            }
            let count = (out.len() - filled).min(self.bytes.len() - self.position);
            out[filled..filled + count]
                .copy_from_slice(&self.bytes[self.position..self.position + count]);
            self.position += count;
            filled += count;
        }
        Ok(())
    }

    fn bytes(&mut self, image: &Image, length: usize) -> Result<Vec<u8>, UnpackError> {
        let mut bytes = vec![0; length];
        self.fill(image, &mut bytes)?;
        Ok(bytes)
    }

    fn u16(&mut self, image: &Image) -> Result<u16, UnpackError> {
        let mut bytes = [0; 2];
        self.fill(image, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn u32(&mut self, image: &Image) -> Result<u32, UnpackError> {
        let mut bytes = [0; 4];
        self.fill(image, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self, image: &Image) -> Result<u64, UnpackError> {
        let mut bytes = [0; 8];
        self.fill(image, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Numbers of a record that is whole.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], UnpackError> {
        let (first, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| broken("a record of it is too short"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn u16(&mut self) -> Result<u16, UnpackError> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    fn u32(&mut self) -> Result<u32, UnpackError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, UnpackError> {
        Ok(u64::from_le_bytes(self.take()?))
    }
}

/// A directory that is being read: runs of entries whose inodes are in one block.
struct Listing {
    cursor: Cursor,
    left: u32,
    run: u32,
    block: u32,
}

struct Listed {
    name: Vec<u8>,
    block: u32,
    offset: u16,
}

impl Listing {
    fn next(&mut self, image: &Image) -> Result<Option<Listed>, UnpackError> {
        if self.run == 0 {
            if self.left == 0 {
                return Ok(None);
            }
            self.spend(12)?;
            self.run = self.cursor.u32(image)?.saturating_add(1);
            self.block = self.cursor.u32(image)?;
            let _number = self.cursor.u32(image)?;
            if self.run > 256 {
                return Err(broken("a run of entries is longer than it may be"));
            }
        }
        self.run -= 1;
        self.spend(8)?;
        let offset = self.cursor.u16(image)?;
        let _number_and_kind = self.cursor.u32(image)?;
        let length = u32::from(self.cursor.u16(image)?) + 1;
        if length > 256 {
            return Err(broken("a name of it is longer than a name may be"));
        }
        self.spend(length)?;
        let name = self.cursor.bytes(image, length as usize)?;
        Ok(Some(Listed {
            name,
            block: self.block,
            offset,
        }))
    }

    fn spend(&mut self, bytes: u32) -> Result<(), UnpackError> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| broken("a directory of it ends within an entry"))?;
        Ok(())
    }
}

/// Of the last fragment that was read, since many small files end in one.
type Fragment = Option<(u32, Vec<u8>)>;

/// A file's contents, block by block.
struct Contents<'a> {
    image: &'a Image,
    stored: Stored,
    left: u64,
    block: Vec<u8>,
    position: usize,
    fragment: &'a mut Fragment,
}

impl<'a> Contents<'a> {
    fn new(image: &'a Image, stored: Stored, fragment: &'a mut Fragment) -> Self {
        Self {
            image,
            left: stored.bytes,
            stored,
            block: Vec::new(),
            position: 0,
            fragment,
        }
    }

    fn next_block(&mut self) -> Result<(), UnpackError> {
        let size = self.image.block as usize;
        let wanted = self.left.min(size as u64) as usize;
        self.block = if wanted < size && self.stored.fragment != NO_FRAGMENT {
            self.tail(wanted)?
        } else {
            let length = self.stored.blocks.u32(self.image)?;
            if length & !STORED == 0 {
                // A hole.
                vec![0; wanted]
            } else {
                let start = self.stored.start;
                self.stored.start = start.saturating_add((length & !STORED).into());
                self.image.data(start, length, wanted)?
            }
        };
        if self.block.len() != wanted {
            return Err(broken("a block of a file is shorter than it should be"));
        }
        self.left -= wanted as u64;
        self.position = 0;
        Ok(())
    }

    fn tail(&mut self, wanted: usize) -> Result<Vec<u8>, UnpackError> {
        let index = self.stored.fragment;
        if self
            .fragment
            .as_ref()
            .is_none_or(|(held, _)| *held != index)
        {
            *self.fragment = Some((index, self.image.fragment(index)?));
        }
        let start = self.stored.offset as usize;
        self.fragment
            .as_ref()
            .and_then(|(_, bytes)| bytes.get(start..start.checked_add(wanted)?))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| broken("a file of it ends behind its last block"))
    }
}

impl Read for Contents<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position == self.block.len() {
            if self.left == 0 {
                return Ok(0);
            }
            self.next_block().map_err(io::Error::other)?;
        }
        let count = out.len().min(self.block.len() - self.position);
        out[..count].copy_from_slice(&self.block[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}
