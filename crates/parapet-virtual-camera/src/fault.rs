//! What a test lets the camera do wrong.

use std::str::FromStr;

/// How the camera misbehaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// Not at all.
    #[default]
    None,
    /// Refuses every password.
    RefusePassword,
    /// Sends noise in place of RTSP frames once it plays, then closes.
    Garbage,
    /// Sends well-formed packets whose pictures are noise.
    Corrupt,
    /// Sends nothing more after so many pictures, and keeps the session open.
    Stall(u64),
    /// Closes the connection after so many pictures.
    Close(u64),
    /// Offers VP8 in its session description.
    WrongCodec,
    /// Answers DESCRIBE with something that is no session description.
    BadSdp,
    /// Takes the DESCRIBE and never answers it.
    NoDescribe,
}

/// A name that is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "know the fault {0:?}; there are none, refuse-password, garbage, corrupt, stall:N, close:N, \
     wrong-codec, bad-sdp and no-describe (N is a number of pictures)"
)]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.chars().take(64).collect());
        let (name, count) = match text.split_once(':') {
            Some((name, count)) => (name, Some(count.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        match (name, count) {
            ("none", None) => Ok(Self::None),
            ("refuse-password", None) => Ok(Self::RefusePassword),
            ("garbage", None) => Ok(Self::Garbage),
            ("corrupt", None) => Ok(Self::Corrupt),
            ("stall", count) => Ok(Self::Stall(count.unwrap_or(0))),
            ("close", count) => Ok(Self::Close(count.unwrap_or(0))),
            ("wrong-codec", None) => Ok(Self::WrongCodec),
            ("bad-sdp", None) => Ok(Self::BadSdp),
            ("no-describe", None) => Ok(Self::NoDescribe),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named_and_counted() {
        assert_eq!("stall:50".parse(), Ok(Fault::Stall(50)));
        assert_eq!("close".parse(), Ok(Fault::Close(0)));
        assert_eq!("wrong-codec".parse(), Ok(Fault::WrongCodec));
        for wrong in ["", "stal", "stall:x", "garbage:3", "stall:-1"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }
}
