//! Puts the parts of an access unit together, within a bound.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// Largest access unit: a key frame of an 8-megapixel camera at the highest quality stays below.
pub(crate) const LARGEST: usize = 8 * 1024 * 1024;

/// The access unit is longer than [`LARGEST`].
#[derive(Debug, PartialEq, Eq, Error)]
#[error("put an access unit together: it is larger than {LARGEST} bytes")]
pub(crate) struct TooLarge;

/// Collects parts.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    parts: BytesMut,
}

impl Assembler {
    /// Adds a part; gives the whole when this was its last.
    pub(crate) fn add(&mut self, part: &[u8], more: bool) -> Result<Option<Bytes>, TooLarge> {
        if self.parts.len() + part.len() > LARGEST {
            self.parts.clear();
            return Err(TooLarge);
        }
        self.parts.extend_from_slice(part);
        Ok((!more).then(|| self.parts.split().freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_one_unit_in_their_order() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.add(b"ab", true), Ok(None));
        assert_eq!(
            assembler.add(b"c", false),
            Ok(Some(Bytes::from_static(b"abc")))
        );
        assert_eq!(
            assembler.add(b"d", false),
            Ok(Some(Bytes::from_static(b"d")))
        );
    }

    #[test]
    fn an_endless_unit_is_refused() {
        let mut assembler = Assembler::default();
        let part = vec![0; 64 * 1024];
        let refused = (0..=LARGEST / part.len()).find_map(|_| assembler.add(&part, true).err());
        assert_eq!(refused, Some(TooLarge));
    }
}
