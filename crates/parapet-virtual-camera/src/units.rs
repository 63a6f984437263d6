//! Access units in memory: what is sent for one picture.
//!
//! Owns the splitting of H.264 byte streams (ITU-T H.264 Annex B) into NAL units and pictures. The
//! encoded bytes are kept once and sliced, so that serving many clients costs no copy of them.

use bytes::Bytes;

const TYPE_KEY_SLICE: u8 = 5;
const TYPE_SPS: u8 = 7;
const TYPE_PPS: u8 = 8;
const TYPE_DELIMITER: u8 = 9;

/// The NAL units of one picture, without start codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccessUnit {
    /// In the order they are sent.
    pub(crate) nals: Vec<Bytes>,
    /// Whether decoding can begin here.
    pub(crate) is_key: bool,
}

/// What a decoder needs before the first picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParameterSets {
    /// Sequence parameter set.
    pub(crate) sps: Bytes,
    /// Picture parameter set.
    pub(crate) pps: Bytes,
}

impl AccessUnit {
    /// One picture of a byte stream; delimiters are left out, a session needs none.
    pub(crate) fn from_bytes(stream: &Bytes) -> Self {
        let nals: Vec<Bytes> = split(stream)
            .into_iter()
            .filter(|nal| kind(nal) != TYPE_DELIMITER)
            .collect();
        let is_key = nals.iter().any(|nal| kind(nal) == TYPE_KEY_SLICE);
        Self { nals, is_key }
    }

    /// One picture whose NAL units have their lengths before them, in so many bytes (ISO/IEC
    /// 14496-15); `None` when the lengths do not add up.
    pub(crate) fn from_prefixed(stream: &Bytes, length_bytes: usize) -> Option<Self> {
        let mut nals = Vec::new();
        let mut rest = stream.clone();
        while !rest.is_empty() {
            let prefix = rest.get(..length_bytes)?;
            let length = prefix
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            let end = length_bytes + length;
            if length == 0 || rest.len() < end {
                return None;
            }
            nals.push(rest.slice(length_bytes..end));
            rest = rest.slice(end..);
        }
        let is_key = nals.iter().any(|nal| kind(nal) == TYPE_KEY_SLICE);
        Some(Self { nals, is_key })
    }

    /// Puts parameter sets before a picture to start from that has none of its own.
    pub(crate) fn complete(&mut self, sets: &ParameterSets) {
        if self.is_key && self.parameter_sets().is_none() {
            self.nals.splice(0..0, [sets.sps.clone(), sets.pps.clone()]);
        }
    }

    /// The parameter sets that it carries.
    pub(crate) fn parameter_sets(&self) -> Option<ParameterSets> {
        let find = |wanted| {
            self.nals
                .iter()
                .find(|nal| kind(nal) == wanted && nal.len() >= 4)
        };
        Some(ParameterSets {
            sps: find(TYPE_SPS)?.clone(),
            pps: find(TYPE_PPS)?.clone(),
        })
    }
}

/// The pictures of a byte stream in which each begins with an access unit delimiter.
pub(crate) fn delimited(stream: &Bytes) -> Vec<AccessUnit> {
    let mut units: Vec<AccessUnit> = Vec::new();
    for nal in split(stream) {
        if kind(&nal) == TYPE_DELIMITER {
            units.push(AccessUnit {
                nals: Vec::new(),
                is_key: false,
            });
        } else if let Some(unit) = units.last_mut() {
            unit.is_key |= kind(&nal) == TYPE_KEY_SLICE;
            unit.nals.push(nal);
        }
    }
    units
}

fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |byte| byte & 0x1f)
}

/// NAL units between start codes of three or four bytes.
fn split(stream: &Bytes) -> Vec<Bytes> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) = find_start(&stream[at..]) {
        starts.push(at + found);
        at += found + 3;
    }
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| {
            let nal = &stream[start + 3..end];
            // The fourth zero of the next start code, and trailing zeros, belong to nobody.
            let length = nal.iter().rposition(|byte| *byte != 0)? + 1;
            Some(stream.slice(start + 3..start + 3 + length))
        })
        .collect()
}

fn find_start(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    // A start code's last byte is 1: looking at every third byte finds it soon enough.
    while at + 3 <= bytes.len() {
        match bytes[at + 2] {
            1 if bytes[at] == 0 && bytes[at + 1] == 0 => return Some(at),
            0 => at += 1,
            _ => at += 3,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_of_both_lengths_and_trailing_zeros_are_no_part_of_a_unit() {
        let stream = Bytes::from_static(&[
            0, 0, 0, 1, 0x67, 1, 2, 3, 0, 0, 0, 1, 0x68, 9, 9, 9, 0, 0, 1, 0x65, 0, 0, 3, 1, 0, 0,
        ]);
        let unit = AccessUnit::from_bytes(&stream);
        let expected: [&[u8]; 3] = [&[0x67, 1, 2, 3], &[0x68, 9, 9, 9], &[0x65, 0, 0, 3, 1]];
        assert_eq!(unit.nals, expected);
        assert!(unit.is_key);
        assert_eq!(unit.parameter_sets().unwrap().pps, expected[1]);
    }

    #[test]
    fn lengths_that_look_like_a_start_code_are_lengths() {
        // 0x1ef bytes: the prefix 00 00 01 ef looks like the start code of a NAL unit.
        let nal: Vec<u8> = [0x65]
            .into_iter()
            .chain((1..0x1ef).map(|i| i as u8))
            .collect();
        let stream: Bytes = [&[0, 0, 1, 0xef][..], &nal, &[0, 0, 0, 2, 0x41, 7]]
            .concat()
            .into();
        let mut unit = AccessUnit::from_prefixed(&stream, 4).unwrap();
        assert_eq!(unit.nals, [&nal[..], &[0x41, 7]]);
        assert_eq!(AccessUnit::from_prefixed(&stream, 2), None);
        assert_eq!(
            AccessUnit::from_prefixed(&stream.slice(..stream.len() - 1), 4),
            None
        );
        let (sps, pps) = (
            Bytes::from_static(&[0x67, 1, 2, 3]),
            Bytes::from_static(&[0x68, 1, 2, 3]),
        );
        let sets = ParameterSets { sps, pps };
        unit.complete(&sets);
        assert_eq!(
            (unit.nals.len(), unit.parameter_sets()),
            (4, Some(sets.clone()))
        );
        unit.complete(&sets);
        assert_eq!(unit.nals.len(), 4, "once is enough");
    }

    #[test]
    fn delimiters_part_the_pictures() {
        let stream = Bytes::from_static(&[
            0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x65, 1, 0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x41, 2,
        ]);
        let units = delimited(&stream);
        assert_eq!(
            units.iter().map(|unit| unit.is_key).collect::<Vec<_>>(),
            [true, false]
        );
        assert_eq!(units[1].nals, [&[0x41, 2][..]]);
    }

    #[test]
    fn noise_yields_no_panic() {
        for length in 0..64_usize {
            let noise: Vec<u8> = (0..length)
                .map(|i| [0, 0, 1, 0, 9][(i * 7 + length) % 5])
                .collect();
            let _ = delimited(&Bytes::from(noise));
        }
        assert!(delimited(&Bytes::new()).is_empty());
    }
}
