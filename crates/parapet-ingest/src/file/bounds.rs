//! What a file may cost its parser.
//!
//! `re_mp4` believes a file's counts: four bytes promise four thousand million pictures of one
//! size, a run of a fragment as many, and it makes a record of each. It also follows boxes that
//! reach over each other, reading the same bytes again. So it reads through [`Bounded`], which sees
//! each of its reads and ends it with an error before memory or time are gone (256 MiB are all that
//! this process has, `docs/limits.md`). Relies on reads that are as long as the fields they are
//! for; the target `mp4` of `parapet-fuzz` finds out if that changes.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Pictures and pieces of sound, of all tracks: 16 hours of pictures at 25 a second.
pub(super) const MOST_SAMPLES: u64 = 1_500_000;
/// Tables of that many, with room to spare.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// A unit of memory is what half a picture costs.
const PICTURE: u64 = 2;
/// Boxes that are kept as often as they come.
const REPEATED: [&[u8]; 6] = [b"trak", b"trex", b"emsg", b"moof", b"traf", b"trun"];
/// Units of memory for each of these.
const REPEATED_UNITS: u64 = 8;
/// Boxes for whose size memory is taken, or that bound the sizes of those inside. Others are
/// stepped over and may be as large as they like.
const SIZED: [&[u8]; 20] = [
    b"ftyp", b"moov", b"moof", b"emsg", b"meta", b"hdlr", b"data", b"url ", b"av1C", b"avcC",
    b"hvcC", b"elst", b"stts", b"ctts", b"stss", b"stsc", b"stsz", b"stco", b"co64", b"trun",
];

const HEADER: usize = 8;
/// Of the size of a unit in a parameter set, which costs more memory than bytes.
const UNIT: usize = 2;

/// A file, read within bounds that grow with it.
pub(super) struct Bounded<'a> {
    inner: BufReader<&'a File>,
    /// Of the file, in bytes.
    pub(super) size: u64,
    at: u64,
    /// Bytes that may still be read, some of them twice.
    bytes: u64,
    /// Units of memory that are left.
    units: u64,
    /// The box whose count is next, and the bytes behind its header so far.
    counted: Option<(Counted, Vec<u8>)>,
    /// The second half of a header comes.
    is_large: bool,
    /// Of the last `meta` box, or a little behind it.
    meta_end: u64,
}

/// Boxes that hold a number of pictures without holding the pictures.
#[derive(Clone, Copy)]
enum Counted {
    Sizes,
    Run,
}

impl Counted {
    /// Where the count's four bytes end, behind the header.
    fn end(self) -> usize {
        match self {
            // Version and flags, the size of all.
            Self::Sizes => 12,
            Self::Run => 8,
        }
    }
}

impl<'a> Bounded<'a> {
    /// From the file's beginning.
    pub(super) fn new(file: &'a File) -> io::Result<Self> {
        let mut inner = BufReader::new(file);
        // Here nobody may ask for a file's length.
        let size = inner.seek(SeekFrom::End(0))?;
        inner.rewind()?;
        Ok(Self {
            inner,
            size,
            at: 0,
            bytes: MOST_BYTES.min(size.saturating_mul(4)),
            // A picture has a byte, and a box eight.
            units: (PICTURE * MOST_SAMPLES).min(size.saturating_mul(4)),
            counted: None,
            is_large: false,
            meta_end: 0,
        })
    }

    fn spend(&mut self, units: u64) -> io::Result<()> {
        let left = self.units.checked_sub(units).ok_or_else(|| {
            io::Error::other("too many pictures or sounds; leave sound out with `ffmpeg -an`")
        })?;
        self.units = left;
        Ok(())
    }

    /// A read of this length, before it takes memory.
    fn read_of(&mut self, length: usize) -> io::Result<()> {
        let left = self.bytes.checked_sub(length as u64);
        self.bytes = left.ok_or_else(|| io::Error::other("too much beside its pictures"))?;
        match length {
            HEADER | UNIT => self.spend(1),
            _ => Ok(()),
        }
    }

    /// What such a read gave.
    fn see(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let &[a, b, c, d, ref name @ ..] = bytes
            && bytes.len() == HEADER
        {
            if !std::mem::take(&mut self.is_large) {
                return self.header(u32::from_be_bytes([a, b, c, d]), name);
            }
            let size = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            return self.fits(size);
        }
        self.is_large = false;
        let Some((counted, mut behind)) = self.counted.take() else {
            return Ok(());
        };
        behind.extend_from_slice(bytes);
        if behind.len() < counted.end() {
            self.counted = Some((counted, behind));
            return Ok(());
        }
        let count = behind[..counted.end()].iter().rev().take(4).rev();
        let count = count.fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        self.spend(count * PICTURE)
    }

    /// Of a box, or a number of eight bytes, which no name in here is ever found in by chance.
    fn header(&mut self, size: u32, name: &[u8]) -> io::Result<()> {
        self.counted = match name {
            b"stsz" => Some((Counted::Sizes, Vec::new())),
            b"trun" => Some((Counted::Run, Vec::new())),
            _ => None,
        };
        if REPEATED.contains(&name) {
            self.spend(REPEATED_UNITS)?;
        }
        // All that is in here is kept, whatever its name.
        if name == b"meta" {
            let size = if size == 1 { self.size } else { size.into() };
            self.meta_end = self.at.saturating_add(size);
        }
        if SIZED.contains(&name) || self.at <= self.meta_end {
            self.is_large = size == 1;
            self.fits(u64::from(size))?;
        }
        Ok(())
    }

    /// Memory is taken for whole boxes before they are read.
    fn fits(&self, size: u64) -> io::Result<()> {
        if size > MOST_BYTES.min(self.size) {
            return Err(io::Error::other(
                "a box that is larger than its file, or too large",
            ));
        }
        Ok(())
    }
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_of(buffer.len())?;
        let read = self.inner.read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.read_of(buffer.len())?;
        self.inner.read_exact(buffer)?;
        self.at += buffer.len() as u64;
        self.see(buffer)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let by = match to {
            SeekFrom::Start(to) => i64::try_from(i128::from(to) - i128::from(self.at)).ok(),
            SeekFrom::Current(by) => Some(by),
            SeekFrom::End(_) => None,
        };
        // Boxes are stepped over; what is in the buffer is not read again for each.
        match by.map(|by| (by, self.at.checked_add_signed(by))) {
            Some((by, Some(at))) => {
                self.inner.seek_relative(by)?;
                self.at = at;
            }
            _ => return Err(io::Error::other("a box that reaches out of the file")),
        }
        Ok(self.at)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use re_mp4::Mp4;

    use super::*;

    fn parsed(bytes: &[u8]) -> Result<Mp4, String> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let bounded = Bounded::new(&file).unwrap();
        let size = bounded.size;
        Mp4::read(bounded, size).map_err(|error| error.to_string())
    }

    fn seed(name: &str) -> Vec<u8> {
        let seeds = parapet_fuzz::corpus("mp4").unwrap();
        let found = seeds.into_iter().find(|(seed, _)| seed == name);
        found.unwrap_or_else(|| panic!("no seed {name}")).1
    }

    fn position(bytes: &[u8], name: [u8; 4]) -> usize {
        bytes.windows(4).position(|four| four == name).unwrap()
    }

    #[test]
    fn pictures_that_a_file_only_claims_are_not_made() {
        for name in [
            "a-size-for-four-thousand-million-pictures.mp4",
            "a-run-of-four-thousand-million-pictures.mp4",
        ] {
            let error = parsed(&seed(name)).unwrap_err();
            assert!(error.contains("too many pictures"), "{name}: {error}");
        }
        for name in ["h264.mp4", "h265.mp4", "fragments.mp4"] {
            assert!(parsed(&seed(name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn neither_units_of_no_length_nor_boxes_over_boxes_cost_more_than_the_file() {
        // Each of these is two bytes, and a record of many.
        let mut units = seed("h265.mp4");
        let arrays = position(&units, *b"hvcC") + 4 + 22;
        units[arrays] = 255;
        let array = [&[0xa0, 0xff, 0xff][..], &vec![0; 2 * 0xffff]].concat();
        let behind = arrays + 1;
        units.splice(behind..behind, array.repeat(50));
        let error = parsed(&units).unwrap_err();
        assert!(error.contains("too many"), "{error}");

        // A track that reaches to the end, again each few bytes: read as often as it is there.
        let mut over = seed("h264.mp4");
        let track = position(&over, *b"trak") - 4;
        let end = over.len();
        let mut copies = Vec::new();
        for _ in 0..4000 {
            copies.extend_from_slice(&1000_u32.to_be_bytes());
            copies.extend_from_slice(b"trak");
        }
        over.splice(track..track, copies);
        let moov = position(&over, *b"moov") - 4;
        let reach = u32::try_from(over.len() - moov - (end - track)).unwrap();
        over[moov..moov + 4].copy_from_slice(&reach.to_be_bytes());
        assert!(parsed(&over).is_err());
    }

    #[test]
    fn numbers_of_eight_bytes_are_taken_for_no_boxes() {
        // Pictures of more than 4 GiB, mostly a hole.
        let file = seed("h264.mp4");
        let (pictures, tables) = (position(&file, *b"mdat"), position(&file, *b"moov") - 4);
        let disk = tempfile::tempfile().unwrap();
        disk.write_all_at(&file[..pictures - 4], 0).unwrap();
        let large = 5_u64 << 30;
        let head = [&[0, 0, 0, 1][..], b"mdat", &large.to_be_bytes()].concat();
        let begin = pictures as u64 - 4;
        disk.write_all_at(&head, begin).unwrap();
        disk.write_all_at(&file[tables..], begin + large).unwrap();
        let bounded = Bounded::new(&disk).unwrap();
        let size = bounded.size;
        assert!(Mp4::read(bounded, size).is_ok());

        // A camera that has run for long.
        let mut file = seed("fragments.mp4");
        let time = position(&file, *b"tfdt") + 4;
        assert_eq!(file[time], 1, "a time of eight bytes");
        file[time + 4..time + 12].copy_from_slice(&(5_u64 << 30).to_be_bytes());
        assert!(parsed(&file).is_ok());
    }

    #[test]
    fn a_box_larger_than_its_file_or_than_memory_is_not_begun() {
        let error = parsed(&seed("a-box-larger-than-its-file.mp4")).unwrap_err();
        assert!(error.contains("larger than its file"), "{error}");
        let mut file = seed("h264.mp4");
        let header = position(&file, *b"moov") - 4;
        for (size, large) in [(&[0x7f, 0, 0, 0], None), (&[0, 0, 0, 1], Some(1_u64 << 40))] {
            file[header..header + 4].copy_from_slice(size);
            if let Some(large) = large {
                file.splice(header + 8..header + 8, large.to_be_bytes());
            }
            let disk = tempfile::tempfile().unwrap();
            disk.write_all_at(&file, 0).unwrap();
            // Holes cost nothing.
            let size = 1 << 41;
            disk.set_len(size).unwrap();
            let read = Mp4::read(Bounded::new(&disk).unwrap(), size);
            let error = read.unwrap_err().to_string();
            assert!(error.contains("too large"), "{error}");
        }
    }
}
