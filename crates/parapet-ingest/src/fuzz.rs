//! A hostile camera: the whole dialogue over loopback, with changed answers and packets.
//!
//! An input is a conversation in parts ([`PART`] between them): the answers to DESCRIBE, SETUP and
//! PLAY as bytes, in whose heads `*` stands for the length of the body, and then what the camera
//! sends while it plays, one part a packet: its channel, one byte, and its bytes, which get their
//! interleaved frame here. So a changed text does not end at its own length.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use parapet_fuzz::{Limits, Target};
use parapet_media::protocol::IngestEvent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::sink::Sink;
use crate::source::Source;
use crate::{dialogue, tls};

const PART: &[u8] = b"\n--part--\n";
/// Answers of a camera before it plays.
const ANSWERS: usize = 3;
/// A client that does not ask by then never will.
const PATIENCE: Duration = Duration::from_millis(25);
const PASSWORD: &str = "correct-horse";

const WORDS: &[&str] = &[
    "\n--part--\n",
    "RTSP/1.0 200 OK\r\n",
    "Content-Length: 4294967295\r\n",
    "Content-Base: rtsp://192.0.2.9/\r\n",
    "Transport: RTP/AVP/TCP;interleaved=254-255\r\n",
    "Session: x;timeout=0\r\n",
    "RTP-Info: url=*;seq=65535;rtptime=4294967295\r\n",
    "m=video 0 RTP/AVP 26\r\n",
    "m=audio 0 RTP/AVP 0\r\n",
    "a=rtpmap:96 H264/90000\r\n",
    "a=rtpmap:96 H265/0\r\n",
    "a=control:*\r\n",
    "sprop-parameter-sets=",
    "sprop-sps=",
    "packetization-mode=1;",
    "\r\n\r\n",
    "$\0\u{0}\u{4}",
];

#[test]
fn rtsp_breaks_no_promise() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let provider = tls::provider();
    let mut hosts = (0..=u16::MAX).cycle();
    let hosts = std::cell::RefCell::new(&mut hosts);
    let target = Target {
        name: "rtsp",
        words: WORDS,
        run: &|input| {
            // Ports stay taken for a while after a connection; addresses there are plenty.
            let [high, low] = hosts.borrow_mut().next().unwrap_or(0).to_be_bytes();
            runtime.block_on(async {
                let host = Ipv4Addr::new(127, 1, high, low.max(1));
                let listener = TcpListener::bind((host, 0)).await.unwrap();
                let source = Source {
                    url: "rtsp://gate.example/stream".to_owned(),
                    address: listener.local_addr().unwrap(),
                    credentials: Some(("watcher".to_owned(), PASSWORD.to_owned())),
                    tls: None,
                    provider: Arc::clone(&provider),
                };
                read(&source, listener, input).await
            })
        },
    };
    let limits = Limits {
        // Its panics end the dialogue ([`dialogue::run`]).
        caught: &["/sdp-types-", "/retina-"],
        ..Limits::default()
    };
    parapet_fuzz::feed_within(&target, limits);
}

/// Whether a picture came. The dialogue ends with a fault that can be shown, and with no more
/// pictures than may wait.
async fn read(source: &Source, listener: TcpListener, input: &[u8]) -> bool {
    let sink = Sink::default();
    let ended = tokio::select! {
        ended = dialogue::run(source, &sink) => ended,
        () = play(listener, input) => unreachable!("a camera does not end"),
    };
    let message = &ended.fault.message;
    assert!((1..=200).contains(&message.chars().count()), "{message}");
    assert!(!message.chars().any(char::is_control), "{message}");
    assert!(!message.contains(PASSWORD), "{message}");
    let mut pictures = 0;
    let mut outbox = sink.outbox.borrow_mut();
    while let Some(packet) = outbox.first() {
        pictures += usize::from(matches!(packet.header, IngestEvent::AccessUnit { .. }));
        outbox.sent();
    }
    assert!(pictures <= 64 * 8, "{pictures}");
    pictures > 0
}

/// Answers in order, whatever is asked and however often somebody connects. Closes after the last.
async fn play(listener: TcpListener, input: &[u8]) {
    let parts = split(input);
    let (answers, packets) = parts.split_at(parts.len().min(ANSWERS));
    let mut answers = answers.iter();
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            continue;
        };
        while is_asked(&mut client).await {
            let Some(answer) = answers.next() else {
                break;
            };
            let mut bytes = with_length(answer);
            if answers.len() == 0 {
                for packet in packets.iter().filter(|packet| !packet.is_empty()) {
                    let length = u16::try_from(packet.len() - 1).unwrap_or(u16::MAX);
                    bytes.extend([b'$', packet[0]]);
                    bytes.extend(length.to_be_bytes());
                    bytes.extend(&packet[1..]);
                }
            }
            if client.write_all(&bytes).await.is_err() {
                break;
            }
            if answers.len() == 0 {
                // Says the end, and waits for the client to have read what came before it.
                let _ = client.shutdown().await;
            }
        }
    }
}

/// Whether a request has come.
async fn is_asked(client: &mut TcpStream) -> bool {
    let mut asked = Vec::new();
    let mut buffer = [0; 4096];
    while !asked.ends_with(b"\r\n\r\n") {
        match timeout(PATIENCE, client.read(&mut buffer)).await {
            Ok(Ok(read)) if read > 0 => asked.extend(&buffer[..read]),
            _ => return false,
        }
    }
    true
}

fn split(input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(PART.len()).position(|bytes| bytes == PART) {
        parts.push(&rest[..at]);
        rest = &rest[at + PART.len()..];
    }
    parts.push(rest);
    parts
}

fn with_length(answer: &[u8]) -> Vec<u8> {
    const STAR: &[u8] = b"Content-Length: *";
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let star = answer.windows(STAR.len()).position(|bytes| bytes == STAR);
    match (star, end) {
        (Some(star), Some(end)) if star < end => {
            let length = (answer.len() - end - 4).to_string();
            let at = star + STAR.len() - 1;
            [&answer[..at], length.as_bytes(), &answer[at + 1..]].concat()
        }
        _ => answer.to_vec(),
    }
}
