//! Chunked bodies of somebody who may know the whole of a body that was signed, but not the key.

use parapet_fuzz::{Target, feed};

use super::chunks::{Chain, ChunkDecoder, PayloadError, Trailers};
use super::credential::{Scope, SecretKey};

const WORDS: &[&str] = &[
    "\r\n",
    "0\r\n",
    "5\r\nhello\r\n",
    ";chunk-signature=",
    "x-amz-checksum-crc32:",
    "x-amz-trailer-signature:",
    "ffffffffffffffff\r\n",
    "40000000\r\n",
];
/// What the signed bodies of the corpus hold.
const SIGNED: &[u8] = b"hello world, this was signed";

/// The first line of an input: `signed`, `signed-with-trailer` or `unsigned`, and the length that
/// the head declares. The rest is the body.
fn decoder(line: &str) -> Option<ChunkDecoder> {
    let (kind, length) = line.split_once(' ')?;
    let length = length.parse().ok()?;
    let with_trailer = kind != "signed";
    let announced = if with_trailer {
        vec!["x-amz-checksum-crc32".to_owned()]
    } else {
        Vec::new()
    };
    let scope = Scope {
        day: "20261128".to_owned(),
        region: "us-west-2".to_owned(),
        service: "s3".to_owned(),
    };
    let chain = Chain {
        key: SecretKey::new("of-a-test".to_owned()).derive(&scope).key,
        date: "20261128T000000Z".to_owned(),
        scope: scope.to_string(),
        previous: "00".repeat(32),
        with_trailer,
    };
    match kind {
        "signed" | "signed-with-trailer" => Some(ChunkDecoder::new(Some(chain), announced, length)),
        "unsigned" => Some(ChunkDecoder::new(None, announced, length)),
        _ => None,
    }
}

type Decoded = (Vec<u8>, Result<Trailers, PayloadError>);

fn decode<'a>(line: &str, pieces: impl Iterator<Item = &'a [u8]>) -> Option<Decoded> {
    let mut decoder = decoder(line)?;
    let mut data = Vec::new();
    for piece in pieces {
        if let Err(error) = decoder.push(piece, &mut data) {
            return Some((data, Err(error)));
        }
    }
    Some((data, decoder.finish()))
}

/// A body comes out the same however its bytes arrive, never longer than it is or was declared;
/// what is accepted as signed was signed.
#[test]
fn chunks_breaks_no_promise() {
    feed(&Target {
        name: "chunks",
        words: WORDS,
        run: &|input| {
            let end = input.iter().position(|byte| *byte == b'\n');
            let (line, body) = input.split_at(end.unwrap_or(input.len()));
            let (Ok(line), Some(body)) = (std::str::from_utf8(line), body.get(1..)) else {
                return false;
            };
            let Some((data, outcome)) = decode(line, std::iter::once(body)) else {
                return false;
            };
            assert!(data.len() <= body.len());
            for step in [1, 7, 1 + body.len() / 2] {
                let again = decode(line, body.chunks(step)).expect("the same line");
                assert_eq!(again.1, outcome, "in steps of {step}");
                assert_eq!(again.0, data, "in steps of {step}");
            }
            if outcome.is_ok() {
                let length = line.rsplit(' ').next().and_then(|text| text.parse().ok());
                assert_eq!(length, Some(data.len()));
                if line.starts_with("signed") {
                    assert_eq!(data, SIGNED, "nobody signed this");
                }
            }
            outcome.is_ok()
        },
    });
}
