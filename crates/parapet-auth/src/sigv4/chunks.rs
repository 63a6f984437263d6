//! Decoding of `aws-chunked` bodies: sizes, data, chunk signatures, trailers.
//!
//! A push parser: bytes in, data out, nothing read ahead. With signed chunks the data of a chunk
//! comes out before its signature is checked, so a caller makes nothing visible until
//! [`ChunkDecoder::finish`] has agreed.

use aws_lc_rs::{digest, hmac};
use thiserror::Error;

use super::canonical::sha256_hex;

/// Longest line with a chunk's size and signature.
const SIZE_LINE_BYTES: usize = 256;
/// Largest chunk; clients send 64 KiB to 8 MiB.
const CHUNK_BYTES: u64 = 1 << 30;
/// Most bytes of all trailers together.
const TRAILER_BYTES: usize = 4 * 1024;
/// Hash of nothing, which each chunk's string to sign contains.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What is wrong with a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// A size line, a chunk's end or a trailer cannot be read.
    #[error("a chunk of the body is not well formed")]
    Malformed,
    /// A line, a chunk or the trailers are larger than any client sends.
    #[error("a chunk of the body is too large")]
    TooLarge,
    /// A chunk or the trailers are not what was signed.
    #[error("the signature of a chunk does not match")]
    Signature,
    /// The body ends before its last chunk.
    #[error("the body ends before its last chunk")]
    Incomplete,
    /// Not as long as `x-amz-decoded-content-length` says.
    #[error("the body is not as long as x-amz-decoded-content-length says")]
    Length,
    /// A trailer that `x-amz-trailer` does not name, or one that is missing.
    #[error("the trailers are not those that x-amz-trailer announces")]
    Trailer,
}

/// Names and values, in the order they came.
pub type Trailers = Vec<(String, String)>;

/// Decoder of one body.
pub struct ChunkDecoder {
    state: State,
    line: Vec<u8>,
    signing: Option<Chain>,
    announced: Vec<String>,
    trailers: Trailers,
    trailer_bytes: usize,
    trailer_signature: Option<[u8; 32]>,
    decoded: u64,
    length: u64,
}

impl std::fmt::Debug for ChunkDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkDecoder")
            .field("decoded", &self.decoded)
            .finish_non_exhaustive()
    }
}

/// The chain of signatures: each chunk signs the one before it.
pub(super) struct Chain {
    pub(super) key: hmac::Key,
    pub(super) date: String,
    pub(super) scope: String,
    pub(super) previous: String,
    pub(super) with_trailer: bool,
}

enum State {
    Size,
    Data {
        left: u64,
        signature: Option<[u8; 32]>,
        hash: Option<digest::Context>,
    },
    DataEnd,
    Trailers,
    Done,
}

impl ChunkDecoder {
    pub(super) fn new(signing: Option<Chain>, announced: Vec<String>, length: u64) -> Self {
        Self {
            state: State::Size,
            line: Vec::new(),
            signing,
            announced,
            trailers: Vec::new(),
            trailer_bytes: 0,
            trailer_signature: None,
            decoded: 0,
            length,
        }
    }

    /// Length of the data, as `x-amz-decoded-content-length` declares it.
    #[must_use]
    pub fn declared_length(&self) -> u64 {
        self.length
    }

    /// Takes `input`, appends the data in it to `data`.
    pub fn push(&mut self, mut input: &[u8], data: &mut Vec<u8>) -> Result<(), PayloadError> {
        while !input.is_empty() {
            match &mut self.state {
                State::Size => {
                    if let Some(line) = take_line(&mut self.line, &mut input, SIZE_LINE_BYTES)? {
                        self.begin_chunk(&line)?;
                    }
                }
                State::Data { left, hash, .. } => {
                    let here = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(input.len());
                    let (now, later) = input.split_at(here);
                    if let Some(hash) = hash {
                        hash.update(now);
                    }
                    data.extend_from_slice(now);
                    self.decoded += here as u64;
                    *left -= here as u64;
                    input = later;
                    if *left == 0 {
                        self.end_chunk()?;
                    }
                }
                State::DataEnd => {
                    if let Some(line) = take_line(&mut self.line, &mut input, 2)? {
                        if !line.is_empty() {
                            return Err(PayloadError::Malformed);
                        }
                        self.state = State::Size;
                    }
                }
                State::Trailers => {
                    if let Some(line) = take_line(&mut self.line, &mut input, TRAILER_BYTES)? {
                        self.trailer(&line)?;
                    }
                }
                State::Done => return Err(PayloadError::Malformed),
            }
        }
        Ok(())
    }

    /// After the last byte: the trailers, if all of the body is as it was declared.
    pub fn finish(self) -> Result<Trailers, PayloadError> {
        if !matches!(self.state, State::Done) {
            return Err(PayloadError::Incomplete);
        }
        if self.decoded != self.length {
            return Err(PayloadError::Length);
        }
        let all = self
            .announced
            .iter()
            .all(|name| self.trailers.iter().any(|(n, _)| n == name));
        if !all || self.trailers.len() != self.announced.len() {
            return Err(PayloadError::Trailer);
        }
        if let Some(chain) = self.signing.as_ref().filter(|chain| chain.with_trailer) {
            let mut text = String::new();
            for (name, value) in &self.trailers {
                text.extend([
                    name, ":", value, "
",
                ]);
            }
            let signed = self.trailer_signature.ok_or(PayloadError::Signature)?;
            chain.check(
                "AWS4-HMAC-SHA256-TRAILER",
                &[&sha256_hex(text.as_bytes())],
                &signed,
            )?;
        } else if self.trailer_signature.is_some() {
            return Err(PayloadError::Trailer);
        }
        Ok(self.trailers)
    }

    fn begin_chunk(&mut self, line: &[u8]) -> Result<(), PayloadError> {
        let line = std::str::from_utf8(line).map_err(|_| PayloadError::Malformed)?;
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(PayloadError::Malformed);
        }
        let left = u64::from_str_radix(size, 16).map_err(|_| PayloadError::Malformed)?;
        if left > CHUNK_BYTES {
            return Err(PayloadError::TooLarge);
        }
        if left > self.length - self.decoded.min(self.length) {
            return Err(PayloadError::Length);
        }
        let signature = match extension.strip_prefix("chunk-signature=") {
            Some(text) => Some(signature(text)?),
            None => None,
        };
        if signature.is_some() != self.signing.is_some() {
            return Err(PayloadError::Signature);
        }
        let hash = self
            .signing
            .is_some()
            .then(|| digest::Context::new(&digest::SHA256));
        self.state = State::Data {
            left,
            signature,
            hash,
        };
        if left == 0 {
            // The last chunk has no data; trailers, or the empty line, follow at once.
            self.end_chunk()?;
            self.state = State::Trailers;
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), PayloadError> {
        let state = std::mem::replace(&mut self.state, State::DataEnd);
        if let (
            Some(chain),
            State::Data {
                signature: Some(signature),
                hash: Some(hash),
                ..
            },
        ) = (&mut self.signing, state)
        {
            let hash = hex::encode(hash.finish());
            chain.check(
                "AWS4-HMAC-SHA256-PAYLOAD",
                &[EMPTY_SHA256, &hash],
                &signature,
            )?;
            chain.previous = hex::encode(signature);
        }
        Ok(())
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), PayloadError> {
        if line.is_empty() {
            self.state = State::Done;
            return Ok(());
        }
        self.trailer_bytes += line.len();
        if self.trailer_bytes > TRAILER_BYTES {
            return Err(PayloadError::TooLarge);
        }
        let line = std::str::from_utf8(line).map_err(|_| PayloadError::Malformed)?;
        let (name, value) = line.split_once(':').ok_or(PayloadError::Malformed)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "x-amz-trailer-signature" {
            let first = self.trailer_signature.replace(signature(value)?).is_none();
            return if first {
                Ok(())
            } else {
                Err(PayloadError::Malformed)
            };
        }
        let repeated = self.trailers.iter().any(|(known, _)| *known == name);
        if repeated || !self.announced.contains(&name) {
            return Err(PayloadError::Trailer);
        }
        self.trailers.push((name, value.to_owned()));
        Ok(())
    }
}

impl Chain {
    fn check(&self, kind: &str, hashes: &[&str], signature: &[u8; 32]) -> Result<(), PayloadError> {
        let text = [
            kind,
            &self.date,
            &self.scope,
            &self.previous,
            &hashes.join("\n"),
        ]
        .join("\n");
        hmac::verify(&self.key, text.as_bytes(), signature).map_err(|_| PayloadError::Signature)
    }
}

/// Moves bytes from `input` to `line` up to a line's end; the line without its CRLF when it is
/// whole.
fn take_line(
    line: &mut Vec<u8>,
    input: &mut &[u8],
    limit: usize,
) -> Result<Option<Vec<u8>>, PayloadError> {
    let end = input
        .iter()
        .position(|&byte| byte == b'\n')
        .map(|index| index + 1);
    let (now, later) = input.split_at(end.unwrap_or(input.len()));
    if line.len() + now.len() > limit.max(2) {
        return Err(PayloadError::TooLarge);
    }
    line.extend_from_slice(now);
    *input = later;
    if end.is_none() {
        return Ok(None);
    }
    let whole = std::mem::take(line);
    whole
        .strip_suffix(b"\r\n")
        .map(|text| Some(text.to_vec()))
        .ok_or(PayloadError::Malformed)
}

fn signature(text: &str) -> Result<[u8; 32], PayloadError> {
    let mut bytes = [0; 32];
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(PayloadError::Signature);
    }
    hex::decode_to_slice(text, &mut bytes).map_err(|_| PayloadError::Signature)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(
        mut decoder: ChunkDecoder,
        body: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, Trailers), PayloadError> {
        let mut data = Vec::new();
        for piece in body.chunks(step) {
            decoder.push(piece, &mut data)?;
        }
        Ok((data, decoder.finish()?))
    }

    fn unsigned(length: u64) -> ChunkDecoder {
        ChunkDecoder::new(None, vec!["x-amz-checksum-crc32".to_owned()], length)
    }

    #[test]
    fn data_and_trailers_come_out_however_the_bytes_arrive() {
        let body = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
        for step in 1..body.len() {
            let (data, trailers) = decode(unsigned(11), body, step).unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(
                trailers,
                [("x-amz-checksum-crc32".to_owned(), "DUoRhQ==".to_owned())]
            );
        }
    }

    #[test]
    fn a_body_that_is_not_as_declared_is_refused() {
        for (body, length, error) in [
            (&b"5\r\nhello\r\n0\r\n\r\n"[..], 5, PayloadError::Trailer),
            (
                b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\r\n\r\n",
                6,
                PayloadError::Length,
            ),
            (b"6\r\nhello!\r\n", 5, PayloadError::Length),
            (b"5\r\nhello\r\n", 5, PayloadError::Incomplete),
            (b"5\r\nhelloXX0\r\n", 5, PayloadError::TooLarge),
            (b"5\nhello\r\n", 5, PayloadError::Malformed),
            (b"-5\r\n", 5, PayloadError::Malformed),
            (b"80000000\r\n", 5, PayloadError::TooLarge),
            (b"ffffffffffffffffff\r\n", 5, PayloadError::Malformed),
            (b"0\r\nx-amz-acl:public\r\n\r\n", 0, PayloadError::Trailer),
            (
                b"0\r\nx-amz-checksum-crc32:a\r\n\r\nmore",
                0,
                PayloadError::Malformed,
            ),
            (b"5;chunk-signature=00\r\nhello", 5, PayloadError::Signature),
        ] {
            for step in [1, 3, 1_000] {
                let outcome = decode(unsigned(length), body, step);
                assert_eq!(
                    outcome.err(),
                    Some(error),
                    "{}",
                    String::from_utf8_lossy(body)
                );
            }
        }
        let endless = [b'0'; 10_000];
        assert_eq!(
            decode(unsigned(1), &endless, 100).err(),
            Some(PayloadError::TooLarge)
        );
    }

    /// The example of the S3 documentation: 66,560 bytes of `a` in chunks of 64 KiB.
    fn documented(with: impl Fn(&mut Vec<u8>)) -> Result<Vec<u8>, PayloadError> {
        let secret = crate::SecretKey::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned());
        let scope = super::super::Scope {
            day: "20130524".to_owned(),
            region: "us-east-1".to_owned(),
            service: "s3".to_owned(),
        };
        let chain = Chain {
            key: secret.derive(&scope).key,
            date: "20130524T000000Z".to_owned(),
            scope: scope.to_string(),
            previous: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".to_owned(),
            with_trailer: false,
        };
        let mut body = Vec::new();
        for (length, signature) in [
            (
                65_536,
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            ),
            (
                1_024,
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            ),
            (
                0,
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ),
        ] {
            body.extend_from_slice(
                format!("{length:x};chunk-signature={signature}\r\n").as_bytes(),
            );
            body.extend(std::iter::repeat_n(b'a', length));
            body.extend_from_slice(b"\r\n");
        }
        with(&mut body);
        decode(
            ChunkDecoder::new(Some(chain), Vec::new(), 66_560),
            &body,
            4_000,
        )
        .map(|(d, _)| d)
    }

    #[test]
    fn signed_chunks_are_checked_along_their_chain() {
        assert_eq!(documented(|_| {}).map(|data| data.len()), Ok(66_560));
        assert_eq!(
            documented(|body| body[100] = b'b').err(),
            Some(PayloadError::Signature)
        );
        assert_eq!(
            documented(|body| body[65_800] = b'b').err(),
            Some(PayloadError::Signature)
        );
    }
}
