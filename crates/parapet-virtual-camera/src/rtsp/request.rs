//! RTSP requests (RFC 2326): bytes in, requests out. Pure and bounded.

/// Bytes of a request's head; real ones are below 1 KiB.
const LARGEST_HEAD: usize = 16 << 10;
/// Bytes of a body; `GET_PARAMETER` and the like carry a line or two.
const LARGEST_BODY: usize = 64 << 10;

/// A request, with the headers that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// `OPTIONS`, `DESCRIBE`, ...
    pub(crate) method: String,
    /// As the client wrote it.
    pub(crate) uri: String,
    /// `CSeq`, to be repeated in the answer.
    pub(crate) number: Option<String>,
    /// `Authorization`.
    pub(crate) authorization: Option<String>,
    /// `Transport`.
    pub(crate) transport: Option<String>,
    /// `Session`, without its parameters.
    pub(crate) session: Option<String>,
}

/// What stands at the beginning of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// More bytes are needed.
    Incomplete,
    /// A request, and its length.
    Request(Request, usize),
    /// An interleaved packet of the client (receiver reports), and its length: to be skipped.
    Packet(usize),
    /// No client of this protocol talks like that.
    Malformed(&'static str),
}

/// Looks at the beginning of what a client sent.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    if bytes.first() == Some(&b'$') {
        let [_, _, high, low, ..] = bytes else {
            return Parsed::Incomplete;
        };
        let length = 4 + usize::from(u16::from_be_bytes([*high, *low]));
        return if bytes.len() < length {
            Parsed::Incomplete
        } else {
            Parsed::Packet(length)
        };
    }
    let window = &bytes[..bytes.len().min(LARGEST_HEAD)];
    let Some(head) = window.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() >= LARGEST_HEAD {
            Parsed::Malformed("the head of the request is larger than 16 KiB")
        } else {
            Parsed::Incomplete
        };
    };
    let Ok(text) = std::str::from_utf8(&bytes[..head]) else {
        return Parsed::Malformed("the head of the request is not UTF-8");
    };
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(uri), Some("RTSP/1.0"), None) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return Parsed::Malformed("the request line is not METHOD URI RTSP/1.0");
    };
    let mut request = Request {
        method: method.to_owned(),
        uri: uri.to_owned(),
        ..Request::default()
    };
    let mut body = 0;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Parsed::Malformed("a header line has no colon");
        };
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "cseq" => request.number = Some(value.to_owned()),
            "authorization" => request.authorization = Some(value.to_owned()),
            "transport" => request.transport = Some(value.to_owned()),
            "session" => {
                request.session = value.split(';').next().map(|id| id.trim().to_owned());
            }
            "content-length" => match value.parse() {
                Ok(length) if length <= LARGEST_BODY => body = length,
                _ => return Parsed::Malformed("Content-Length is no number up to 65536"),
            },
            _ => {}
        }
    }
    let length = head + 4 + body;
    if bytes.len() < length {
        Parsed::Incomplete
    } else {
        Parsed::Request(request, length)
    }
}

/// The interleaved channel that a `Transport` header proposes; `None` if it wants another way.
pub(crate) fn interleaved(transport: &str) -> Option<u8> {
    transport.split(',').find_map(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("RTP/AVP/TCP") {
            return None;
        }
        let wish = parts.find_map(|part| part.strip_prefix("interleaved="));
        let channel = match wish {
            Some(wish) => wish.split('-').next()?.parse().ok()?,
            None => 0,
        };
        // The next channel is for the reports.
        (channel < u8::MAX).then_some(channel)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIBE: &[u8] =
        b"DESCRIBE rtsp://h/gate RTSP/1.0\r\nCSeq: 2\r\nAccept: application/sdp\r\n\r\n";

    #[test]
    fn a_request_is_read_when_it_is_whole() {
        for length in 0..DESCRIBE.len() {
            assert_eq!(parse(&DESCRIBE[..length]), Parsed::Incomplete, "{length}");
        }
        let mut more = DESCRIBE.to_vec();
        more.extend_from_slice(b"PLAY");
        let Parsed::Request(request, length) = parse(&more) else {
            panic!("not read")
        };
        assert_eq!(
            (request.method.as_str(), request.uri.as_str()),
            ("DESCRIBE", "rtsp://h/gate")
        );
        assert_eq!(
            (request.number.as_deref(), length),
            (Some("2"), DESCRIBE.len())
        );
    }

    #[test]
    fn a_body_belongs_to_its_request() {
        let text = b"GET_PARAMETER * RTSP/1.0\r\nCSeq: 9\r\nSession: 12;timeout=60\r\nContent-Length: 4\r\n\r\nabcd";
        assert_eq!(parse(&text[..text.len() - 1]), Parsed::Incomplete);
        let Parsed::Request(request, length) = parse(text) else {
            panic!("not read")
        };
        assert_eq!(
            (request.session.as_deref(), length),
            (Some("12"), text.len())
        );
    }

    #[test]
    fn a_packet_of_the_client_is_skipped_whole() {
        assert_eq!(parse(&[b'$', 1, 0, 2, 7]), Parsed::Incomplete);
        assert_eq!(parse(&[b'$', 1, 0, 2, 7, 7, b'O']), Parsed::Packet(6));
    }

    #[test]
    fn what_is_no_request_is_refused_and_never_grows_without_end() {
        let refused = |bytes: &[u8]| matches!(parse(bytes), Parsed::Malformed(_));
        assert!(refused(b"GET / HTTP/1.1\r\n\r\n"));
        assert!(refused(b"OPTIONS * RTSP/1.0\r\nno colon\r\n\r\n"));
        assert!(refused(
            b"OPTIONS * RTSP/1.0\r\nContent-Length: 99999999\r\n\r\n"
        ));
        assert!(refused(b"\xff\xfe\r\n\r\n"));
        assert!(refused(&vec![b'a'; LARGEST_HEAD]));
    }

    #[test]
    fn only_interleaved_transport_is_taken() {
        assert_eq!(interleaved("RTP/AVP/TCP;unicast;interleaved=2-3"), Some(2));
        assert_eq!(
            interleaved("RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast"),
            Some(0)
        );
        assert_eq!(interleaved("RTP/AVP;unicast;client_port=5000-5001"), None);
        assert_eq!(interleaved("RTP/AVP/TCP;interleaved=255-256"), None);
    }
}
