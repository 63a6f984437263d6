//! One-time codes of a second factor: RFC 6238 with SHA-1, 30 seconds and six digits, which is what
//! authenticator programs make of the seeds that IAM gives them.
//!
//! Owns no memory: the newest step that was accepted is an argument and a result, and the caller
//! keeps it, so that a code is good once.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use thiserror::Error;

/// Bytes of a seed: as many as SHA-1 has (RFC 4226 section 4, R6).
pub const SEED_BYTES: usize = 20;
/// Seconds that a code lives.
const STEP: i64 = 30;
/// How many steps before and after the present one are accepted, for clocks that differ.
const WINDOW: i64 = 1;
/// Digits of a code.
const DIGITS: usize = 6;

/// Why a code is not accepted. Both are told to the client in the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TotpError {
    /// Not the code of any step in the window.
    #[error("the one-time code is wrong or out of date: enter the one that is shown now")]
    Wrong,
    /// The right code of a step that was used before, or of an older one.
    #[error("the one-time code was used before: wait for the next one")]
    Used,
}

/// A step of thirty seconds since the epoch. The newest one accepted is stored with the device.
pub type Step = i64;

/// Whether `code` is the one of now, or of the step before or after. `now` is in seconds since the
/// epoch; `last` is the newest step that was accepted before. Returns the step to keep.
pub fn verify(seed: &[u8], code: &str, now: i64, last: Option<Step>) -> Result<Step, TotpError> {
    let present = now.div_euclid(STEP);
    let mut found = None;
    // All steps are compared, whichever fits: how long it takes says nothing.
    for step in present - WINDOW..=present + WINDOW {
        if is_code(seed, step, code) {
            found = Some(step);
        }
    }
    match (found, last) {
        (None, _) => Err(TotpError::Wrong),
        (Some(step), Some(last)) if step <= last => Err(TotpError::Used),
        (Some(step), _) => Ok(step),
    }
}

/// Whether the two are codes of steps that follow each other, the second of about now: how a
/// device proves that it holds its seed when it is enabled. Returns the step to keep.
pub fn verify_pair(seed: &[u8], first: &str, second: &str, now: i64) -> Result<Step, TotpError> {
    let present = now.div_euclid(STEP);
    let mut found = None;
    for step in present - WINDOW..=present + WINDOW {
        if is_code(seed, step - 1, first) & is_code(seed, step, second) {
            found = Some(step);
        }
    }
    found.ok_or(TotpError::Wrong)
}

fn is_code(seed: &[u8], step: Step, code: &str) -> bool {
    let right = format!("{:06}", truncated(seed, step) % 1_000_000);
    debug_assert_eq!(right.len(), DIGITS, "six digits");
    verify_slices_are_equal(right.as_bytes(), code.as_bytes()).is_ok()
}

/// 31 bits from the hash of the step (RFC 4226 section 5.3).
fn truncated(seed: &[u8], step: Step) -> u32 {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, seed);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[tag.len() - 1] & 0xf);
    // The offset is at most 15 and the tag has 20 bytes.
    let mut four = [0; 4];
    four.copy_from_slice(&tag[at..at + 4]);
    u32::from_be_bytes(four) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seed of the RFCs' test vectors.
    const SEED: &[u8] = b"12345678901234567890";

    /// RFC 6238, appendix B, the SHA-1 rows.
    #[test]
    fn the_vectors_of_rfc_6238_agree() {
        for (time, code) in [
            (59_i64, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            assert_eq!(truncated(SEED, time / STEP) % 100_000_000, code, "{time}");
        }
    }

    /// RFC 4226, appendix D.
    #[test]
    fn the_vectors_of_rfc_4226_agree() {
        let codes = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583",
            "399871", "520489",
        ];
        for (step, code) in (0_i64..).zip(codes) {
            assert!(is_code(SEED, step, code), "{step}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_early_and_one_step_late() {
        // Step 5 is 150 to 179 seconds.
        let code = "254676";
        for now in [120, 150, 179, 209] {
            assert_eq!(verify(SEED, code, now, None), Ok(5), "{now}");
        }
        for now in [119, 210] {
            assert_eq!(
                verify(SEED, code, now, None),
                Err(TotpError::Wrong),
                "{now}"
            );
        }
    }

    #[test]
    fn a_code_is_good_once_and_no_older_one_after_it() {
        assert_eq!(verify(SEED, "254676", 150, Some(4)), Ok(5));
        assert_eq!(verify(SEED, "254676", 150, Some(5)), Err(TotpError::Used));
        assert_eq!(verify(SEED, "338314", 150, Some(5)), Err(TotpError::Used));
        assert_eq!(verify(SEED, "287922", 150, Some(5)), Ok(6));
    }

    #[test]
    fn what_is_no_code_is_wrong() {
        for code in [
            "",
            "25467",
            "2546760",
            " 254676",
            "25467x",
            "254677",
            "２５４６７６",
        ] {
            assert_eq!(
                verify(SEED, code, 150, None),
                Err(TotpError::Wrong),
                "{code}"
            );
        }
    }

    #[test]
    fn a_device_is_enabled_by_two_codes_in_a_row() {
        assert_eq!(verify_pair(SEED, "338314", "254676", 150), Ok(5));
        for (first, second) in [
            ("254676", "338314"),
            ("254676", "254676"),
            ("969429", "254676"),
        ] {
            assert_eq!(
                verify_pair(SEED, first, second, 150),
                Err(TotpError::Wrong),
                "{first} {second}"
            );
        }
    }
}
