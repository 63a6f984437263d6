//! The session description (RFC 4566, RFC 6184 section 8.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::fault::Fault;
use crate::rtp::PAYLOAD_TYPE;
use crate::units::ParameterSets;

/// What DESCRIBE is answered with.
pub(crate) fn describe(name: &str, sets: &ParameterSets, fault: Fault) -> String {
    if fault == Fault::BadSdp {
        return "v=banana\r\nm=\r\nthis is no session description\r\n".to_owned();
    }
    let media = if fault == Fault::WrongCodec {
        format!("a=rtpmap:{PAYLOAD_TYPE} VP8/90000\r\n")
    } else {
        // Profile, constraints and level are the three bytes after the NAL header; a parameter set
        // has at least four.
        let level = hex::encode(sets.sps.get(1..4).unwrap_or_default());
        let (sps, pps) = (STANDARD.encode(&sets.sps), STANDARD.encode(&sets.pps));
        format!(
            "a=rtpmap:{PAYLOAD_TYPE} H264/90000\r\n\
             a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id={level};\
             sprop-parameter-sets={sps},{pps}\r\n"
        )
    };
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns={name}\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
         a=control:*\r\na=range:npt=now-\r\nm=video 0 RTP/AVP {PAYLOAD_TYPE}\r\n{media}\
         a=control:trackID=0\r\n"
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_description_names_profile_level_and_parameter_sets() {
        let sets = ParameterSets {
            sps: Bytes::from_static(&[0x67, 0x64, 0x00, 0x1f, 0xac]),
            pps: Bytes::from_static(&[0x68, 0xee, 0x3c, 0x80]),
        };
        let text = describe("gate", &sets, Fault::None);
        assert!(text.contains("profile-level-id=64001f;"), "{text}");
        assert!(
            text.contains("sprop-parameter-sets=Z2QAH6w=,aO48gA==\r\n"),
            "{text}"
        );
        assert!(describe("gate", &sets, Fault::WrongCodec).contains("VP8/90000"));
    }
}
