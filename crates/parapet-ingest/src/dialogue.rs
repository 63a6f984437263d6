//! One RTSP dialogue, from the first connection to its end, in stages that each have a time limit
//! of their own, because a camera can hang anywhere and `retina` would wait for ever.
//!
//! A failure is told apart by its stage and the answer's status, never by an error's text.
//! One connection is made, in TLS where the camera's address says so ([`tls`]), to the address that the agent has given, and all requests go over it:
//! redirects are not followed, and whatever hosts a camera's answers name (`Content-Base`,
//! `a=control`, `c=`, `destination=`) are words only.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use parapet_media::protocol::{CameraFault, CameraTls, Codec, IngestEvent};
use retina::client::{
    Credentials, Described, InitialSequenceNumberPolicy, InitialTimestampPolicy, PlayOptions,
    Session, SessionOptions, SetupOptions, TeardownPolicy, UnknownRtcpSsrcPolicy,
};
use retina::codec::{CodecItem, FrameFormat};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::address;
use crate::clock::unix_time;
use crate::connection::{ANSWER_LIMIT, connect};
use crate::fault::{Fault, bounded, quote};
use crate::outbox::MAX_UNIT;
use crate::sink::{Sink, now};
use crate::source::Source;
use crate::tls;

/// For the first key frame: some cameras begin on demand only.
const FIRST_FRAME_LIMIT: Duration = Duration::from_secs(30);
/// Between frames.
const STALL_LIMIT: Duration = Duration::from_secs(5);

/// How a dialogue ended.
pub(crate) struct Ended {
    pub(crate) fault: Fault,
    /// The camera got as far as to play: the next try begins with a short wait.
    pub(crate) played: bool,
}

/// Reads the camera until that ends, which it always does with a fault.
pub(crate) async fn run(source: &Source, sink: &Sink) -> Ended {
    let opened = Cell::new(false);
    // What a camera says may make a library panic: `sdp-types` 0.1.8 does at a description with a
    // line that is none before its first `m=`. That ends this dialogue, not the process.
    let ended = AssertUnwindSafe(read(source, sink, &opened)).catch_unwind();
    let fault = match ended.await {
        Ok(Ok(never)) => match never {},
        Ok(Err(fault)) => fault,
        Err(_) if opened.get() => {
            Fault::passing(CameraFault::Protocol, "the camera breaks RTSP or RTP")
        }
        Err(_) => bad_sdp(""),
    };
    Ended {
        played: opened.get() && fault.code != CameraFault::Unauthorized,
        fault,
    }
}

async fn read(source: &Source, sink: &Sink, opened: &Cell<bool>) -> Result<Infallible, Fault> {
    let Some(tls) = &source.tls else {
        let url = address::to_ask(&source.url, "rtsp", source.address)?;
        // Whether anything listens: the only way to tell refused, unreachable and silent apart.
        connect(source.address).await?;
        return talk(source, url, sink, opened).await;
    };
    let wanted = tls.get();
    let url = address::to_ask(&source.url, "rtsps", wanted.plain)?;
    let secured = tls::secure(&wanted, &source.provider, source.address).await?;
    if wanted.pin.is_none() {
        let sha256 = secured.certificate;
        let pin = Some(sha256);
        tls.set(CameraTls { pin, ..wanted });
        let address = source.address;
        let shown = IngestEvent::Certificate { address, sha256 };
        sink.outbox.borrow_mut().event(shown);
        sink.wake.notify_one();
    }
    tokio::select! {
        ended = talk(source, url, sink, opened) => ended,
        // However it ends, who talks is the one to notice.
        never = async {
            let _ = secured.carry().await;
            std::future::pending::<Infallible>().await
        } => match never {},
    }
}

/// The dialogue itself, with whoever listens at the host and port of `url`.
async fn talk(
    source: &Source,
    url: Url,
    sink: &Sink,
    opened: &Cell<bool>,
) -> Result<Infallible, Fault> {
    let (session, index, codec) = open(source, url).await?;
    opened.set(true);
    play(source, sink, session, index, codec).await
}

async fn open(source: &Source, url: Url) -> Result<(Session<Described>, usize, Codec), Fault> {
    let credentials = source
        .credentials
        .clone()
        .map(|(username, password)| Credentials { username, password });
    let options = SessionOptions::default()
        .creds(credentials)
        .user_agent(concat!("parapet/", env!("CARGO_PKG_VERSION")).to_owned())
        // `retina` would connect anew to say farewell, and to where the camera's description says.
        .teardown(TeardownPolicy::Never);
    let asked = timeout(ANSWER_LIMIT, Session::describe(url, options)).await;
    let mut session = match asked {
        Err(_) => return Err(no_answer("DESCRIBE")),
        Ok(Err(error)) => {
            let quote = quote(&error.to_string(), source.credentials.as_ref());
            return Err(match error.status_code() {
                // Success, and yet an error: what was described cannot be understood.
                Some(200..=299) => bad_sdp(&quote),
                _ => refusal("DESCRIBE", error.status_code(), &quote),
            });
        }
        Ok(Ok(session)) => session,
    };
    let (index, codec) = choose(&session)?;
    let setup = session.setup(
        index,
        SetupOptions::default().frame_format(FrameFormat::SIMPLE),
    );
    answer("SETUP", source, setup).await?;
    Ok((session, index, codec))
}

fn choose(session: &Session<Described>) -> Result<(usize, Codec), Fault> {
    let mut other = None;
    for (index, stream) in session.streams().iter().enumerate() {
        if stream.media() != "video" {
            continue;
        }
        let codec = match stream.encoding_name() {
            "h264" => Codec::H264,
            "h265" => Codec::H265,
            "jpeg" => Codec::Mjpeg,
            name => {
                other = Some(bounded(name, 40));
                continue;
            }
        };
        return Ok((index, codec));
    }
    Err(match other {
        Some(name) => Fault::passing(
            CameraFault::UnsupportedCodec,
            format!("the camera sends {name}; choose H.264, H.265 or MJPEG in the camera"),
        ),
        None => bad_sdp(" (it names no video)"),
    })
}

async fn play(
    source: &Source,
    sink: &Sink,
    session: Session<Described>,
    index: usize,
    codec: Codec,
) -> Result<Infallible, Fault> {
    let rate = session.streams()[index].clock_rate_hz();
    let options = PlayOptions::default()
        .initial_timestamp(InitialTimestampPolicy::Ignore)
        .initial_seq(InitialSequenceNumberPolicy::Ignore)
        .unknown_rtcp_ssrc(UnknownRtcpSsrcPolicy::ProcessPackets);
    let session = answer("PLAY", source, session.play(options)).await?;
    let mut items = session
        .demuxed()
        .map_err(|error| bad_sdp(&quote(&error.to_string(), source.credentials.as_ref())))?;
    sink.clock.borrow_mut().begin(rate);
    let mut limit = Instant::now() + FIRST_FRAME_LIMIT;
    let mut begun = false;
    let mut any = false;
    loop {
        let item = match timeout_at(limit, items.next()).await {
            Ok(Some(Ok(item))) => item,
            Ok(Some(Err(error))) => {
                let quote = quote(&error.to_string(), source.credentials.as_ref());
                return Err(Fault::passing(
                    CameraFault::Protocol,
                    format!("the camera breaks RTSP or RTP, or the connection broke{quote}"),
                ));
            }
            Ok(None) => {
                return Err(Fault::passing(
                    CameraFault::Protocol,
                    "the camera closed the connection",
                ));
            }
            Err(_) => return Err(stopped(begun, any)),
        };
        match item {
            CodecItem::VideoFrame(frame) => {
                any = true;
                let key = codec == Codec::Mjpeg || frame.is_random_access_point();
                if !begun && !key {
                    continue;
                }
                if !begun {
                    sink.outbox
                        .borrow_mut()
                        .event(IngestEvent::Stream { codec });
                    begun = true;
                }
                limit = Instant::now() + STALL_LIMIT;
                let rtp = frame.timestamp().timestamp() as u32;
                let stamp = sink.clock.borrow_mut().stamp(rtp, key, now());
                let lost = frame.loss() > 0;
                let data = Bytes::from(frame.into_data());
                if data.len() > MAX_UNIT {
                    return Err(Fault::passing(
                        CameraFault::Protocol,
                        "the camera sends an access unit of more than 8 MiB; lower its bit rate",
                    ));
                }
                let mut outbox = sink.outbox.borrow_mut();
                if lost && !key {
                    outbox.gap();
                }
                outbox.unit(stamp.time, stamp.claimed, key, data);
                drop(outbox);
                sink.wake.notify_one();
            }
            CodecItem::Rtcp(packet) => {
                for report in packet
                    .pkts()
                    .filter_map(|packet| packet.as_sender_report().ok()?)
                {
                    if let Some(wall) = unix_time(report.ntp_timestamp().0) {
                        let rtp = report.rtp_timestamp();
                        sink.clock.borrow_mut().sender_report(rtp, wall, now());
                    }
                }
            }
            _ => {}
        }
    }
}

/// Which silence it was.
fn stopped(begun: bool, any: bool) -> Fault {
    if begun {
        Fault::passing(
            CameraFault::Stall,
            format!(
                "the camera has sent no picture for {} s",
                STALL_LIMIT.as_secs()
            ),
        )
    } else if any {
        Fault::passing(
            CameraFault::Decode,
            format!(
                "the camera has sent no key frame for {} s; shorten its key frame interval",
                FIRST_FRAME_LIMIT.as_secs()
            ),
        )
    } else {
        Fault::passing(
            CameraFault::Timeout,
            format!(
                "the camera plays but sends no picture for {} s",
                FIRST_FRAME_LIMIT.as_secs()
            ),
        )
    }
}

async fn answer<T>(
    request: &str,
    source: &Source,
    asked: impl Future<Output = Result<T, retina::Error>>,
) -> Result<T, Fault> {
    match timeout(ANSWER_LIMIT, asked).await {
        Err(_) => Err(no_answer(request)),
        Ok(Err(error)) => {
            let quote = quote(&error.to_string(), source.credentials.as_ref());
            Err(refusal(request, error.status_code(), &quote))
        }
        Ok(Ok(answer)) => Ok(answer),
    }
}

fn refusal(request: &str, status: Option<u16>, quote: &str) -> Fault {
    match status {
        // 403 is what some cameras say to a locked account.
        Some(401 | 403) => Fault::lasting(
            CameraFault::Unauthorized,
            "the camera refuses user name or password; set the right ones, or ask for a new try",
        ),
        Some(404) => Fault::passing(
            CameraFault::Protocol,
            "the camera knows no stream of this path (404); check the path of its address",
        ),
        Some(300..=399) => Fault::passing(
            CameraFault::Protocol,
            "the camera sends to another address, which is not followed; set that address",
        ),
        Some(status) => Fault::passing(
            CameraFault::Protocol,
            format!("the camera answers {status} to {request}"),
        ),
        None => Fault::passing(
            CameraFault::Protocol,
            format!("the answer to {request} is no RTSP, or the connection broke{quote}"),
        ),
    }
}

fn no_answer(request: &str) -> Fault {
    Fault::passing(
        CameraFault::Timeout,
        format!(
            "the camera did not answer {request} within {} s",
            ANSWER_LIMIT.as_secs()
        ),
    )
}

fn bad_sdp(quote: &str) -> Fault {
    Fault::passing(
        CameraFault::BadSdp,
        format!("the camera's description of its stream cannot be used{quote}"),
    )
}
