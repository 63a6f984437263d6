//! Files that nobody filmed.

use std::os::unix::fs::FileExt as _;

use parapet_fuzz::{Limits, Target};

use super::*;

/// Bytes that one file may make of a clip here: pictures may be the same ones over and over.
const MOST_PLAYED: usize = 4 * 1024 * 1024;

/// A file is a clip whose pictures can be sent, each within its bound, or a fault that can be
/// shown; what its counts claim costs nothing.
#[test]
fn mp4_breaks_no_promise() {
    let file = tempfile::tempfile().unwrap();
    let target = Target {
        name: "mp4",
        words: &[
            "\0\0\0\u{8}",
            "moov",
            "trak",
            "stsz",
            "stco",
            "co64",
            "stsc",
            "stts",
            "ctts",
            "stss",
            "moof",
            "traf",
            "trun",
            "tfhd",
            "emsg",
            "hvcC",
            "avcC",
            "mdat",
        ],
        run: &|bytes| {
            file.set_len(0).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            let clip = match Clip::read(&file) {
                Ok(clip) => clip,
                Err(fault) => {
                    assert!(fault.last, "{}", fault.message);
                    assert!((1..=200).contains(&fault.message.chars().count()));
                    assert!(!fault.message.chars().any(char::is_control));
                    return false;
                }
            };
            assert!((1..=LONGEST_US).contains(&clip.length_us));
            let seconds = clip.length_us.div_ceil(1_000_000);
            assert!(clip.samples.len() as u64 <= 1 + seconds * FASTEST);
            let mut played = 0;
            for sample in &clip.samples {
                assert!(sample.decode_us <= clip.length_us);
                let Ok(unit) = clip.unit(&file, sample) else {
                    return false;
                };
                assert!(unit.len() <= MAX_UNIT);
                played += unit.len();
                if played > MOST_PLAYED {
                    break;
                }
            }
            true
        },
    };
    let limits = Limits {
        // Half of what the process has.
        memory: 128 * 1024 * 1024,
        // The parser relies on what a file says of itself; that is caught.
        caught: &["re_mp4"],
        ..Limits::default()
    };
    parapet_fuzz::feed_within(&target, limits);
}
