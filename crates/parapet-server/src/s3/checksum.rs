//! The checksums that S3 clients send beside a body, in a header or in its trailer.

use aws_lc_rs::digest;
use crc_fast::CrcAlgorithm;
use data_encoding::BASE64;

/// One checksum while it is computed.
pub(super) enum Checksum {
    Crc(Box<crc_fast::Digest>, usize),
    Sha(digest::Context),
}

/// The header that carries a checksum of each kind.
pub(super) const NAMES: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

impl Checksum {
    /// For the header of this name; `None` when it names no checksum known here.
    pub(super) fn new(name: &str) -> Option<Self> {
        Some(match name {
            "x-amz-checksum-crc32" => Self::crc(CrcAlgorithm::Crc32IsoHdlc, 4),
            "x-amz-checksum-crc32c" => Self::crc(CrcAlgorithm::Crc32Iscsi, 4),
            "x-amz-checksum-crc64nvme" => Self::crc(CrcAlgorithm::Crc64Nvme, 8),
            "x-amz-checksum-sha1" => {
                Self::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY))
            }
            "x-amz-checksum-sha256" => Self::Sha(digest::Context::new(&digest::SHA256)),
            _ => return None,
        })
    }

    fn crc(algorithm: CrcAlgorithm, bytes: usize) -> Self {
        Self::Crc(Box::new(crc_fast::Digest::new(algorithm)), bytes)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(crc, _) => crc.update(bytes),
            Self::Sha(sha) => sha.update(bytes),
        }
    }

    /// As it stands in the header: base64 of the big-endian bytes.
    pub(super) fn finish(self) -> String {
        match self {
            Self::Crc(crc, bytes) => BASE64.encode(&crc.finalize().to_be_bytes()[8 - bytes..]),
            Self::Sha(sha) => BASE64.encode(sha.finish().as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_catalogue() {
        // Check values of "123456789" in the CRC catalogue and in FIPS 180.
        for (name, hex) in [
            ("x-amz-checksum-crc32", "cbf43926"),
            ("x-amz-checksum-crc32c", "e3069283"),
            ("x-amz-checksum-crc64nvme", "ae8b14860a799888"),
            (
                "x-amz-checksum-sha1",
                "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
            ),
            (
                "x-amz-checksum-sha256",
                "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            ),
        ] {
            let mut checksum = Checksum::new(name).expect(name);
            checksum.update(b"12345");
            checksum.update(b"6789");
            assert_eq!(
                checksum.finish(),
                BASE64.encode(&hex::decode(hex).expect(hex)),
                "{name}"
            );
        }
        assert!(Checksum::new("x-amz-checksum-md5").is_none());
    }
}
