//! One client: its requests, its answers, its pictures. One task, which ends with the connection.
//!
//! Reads: the source, the fault and the clip's beginning. Writes: its socket, and the number of
//! sessions that play. Every wait is bounded: a client that does not read is dropped, and so is one
//! that connects and never plays.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use super::request::{Parsed, Request, interleaved, parse};
use super::{Camera, sdp};
use crate::fault::Fault;
use crate::rtp::{self, Sender};

/// A client that takes no bytes for so long is dropped; meanwhile the kernel's buffer holds.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// A client that does not play has so long between its requests.
const IDLE_LIMIT: Duration = Duration::from_mins(1);
/// Bytes of requests that wait: the largest request and a packet.
const LARGEST_BACKLOG: usize = 160 << 10;
/// How often wall time is told again.
const REPORT_US: u64 = 5_000_000;
const METHODS: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, SET_PARAMETER, TEARDOWN";

/// What a client has got to.
#[derive(Debug)]
enum Stage {
    /// It asks.
    Asking,
    /// It has chosen a channel.
    Ready(Sender),
    /// It gets pictures.
    Playing(Playing),
}

#[derive(Debug)]
struct Playing {
    sender: Sender,
    /// Number of the last picture.
    last: Option<u64>,
    /// Pictures so far, for faults that count.
    count: u64,
    next_report_us: u64,
    /// Tells the camera that somebody plays, as long as it lives.
    _counted: super::Counted,
}

/// Whether the conversation goes on.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    On,
    End,
}

struct Session<S> {
    camera: Arc<Camera>,
    socket: S,
    id: String,
    stage: Stage,
    out: BytesMut,
}

/// Serves a client until it leaves, misbehaves or the camera ends.
pub(crate) async fn serve<S>(camera: Arc<Camera>, socket: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let id = format!("{:08x}", camera.number());
    let mut session = Session {
        camera,
        socket,
        id,
        stage: Stage::Asking,
        out: BytesMut::new(),
    };
    session.run().await
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    async fn run(&mut self) -> io::Result<()> {
        let mut input = BytesMut::new();
        let mut faults = self.camera.fault.subscribe();
        let mut epochs = self.camera.epoch.subscribe();
        let mut heard = Instant::now();
        loop {
            let wake = self.put_due();
            if self.send_due().await? == Flow::End {
                return Ok(());
            }
            let wake = match self.stage {
                Stage::Playing(_) => wake,
                Stage::Asking | Stage::Ready(_) => heard + IDLE_LIMIT,
            };
            tokio::select! {
                read = self.socket.read_buf(&mut input) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    heard = Instant::now();
                    let flow = self.take_requests(&mut input);
                    // Answers leave before the next picture, and before a fault breaks it.
                    self.flush().await?;
                    if flow == Flow::End {
                        return Ok(());
                    }
                }
                () = sleep_until(wake) => {
                    if !matches!(self.stage, Stage::Playing(_)) && heard.elapsed() >= IDLE_LIMIT {
                        return Ok(());
                    }
                }
                // A change is looked at in the next round; an end of the camera ends the task.
                changed = faults.changed() => if changed.is_err() { return Ok(()) },
                changed = epochs.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    /// Puts what is due into the buffer and says when to look again.
    fn put_due(&mut self) -> Instant {
        let camera = Arc::clone(&self.camera);
        let Stage::Playing(playing) = &mut self.stage else {
            return Instant::now();
        };
        let now_us = super::wall_us();
        let fault = *camera.fault.borrow();
        let epoch_us = *camera.epoch.borrow();
        let mut wake_us = playing.next_report_us.max(now_us + 1_000);
        while let Some(due) = camera.source.next(playing.last, now_us, epoch_us) {
            if due.send_us > now_us {
                wake_us = wake_us.min(due.send_us);
                break;
            }
            playing.last = Some(due.number);
            playing.count += 1;
            if matches!(fault, Fault::Stall(limit) if playing.count > limit) {
                continue;
            }
            if now_us >= playing.next_report_us {
                playing.sender.put_report(due.taken_us, &mut self.out);
                playing.next_report_us = now_us + REPORT_US;
            }
            let time = rtp::time_of(due.taken_us);
            if fault == Fault::Corrupt {
                playing
                    .sender
                    .put_unit(&camera.noise_like(due.unit), time, &mut self.out);
            } else {
                playing.sender.put_unit(due.unit, time, &mut self.out);
            }
        }
        if now_us >= playing.next_report_us && !matches!(fault, Fault::Stall(_)) {
            // Nothing to show, but the session lives and its clock runs.
            playing.sender.put_report(now_us, &mut self.out);
            playing.next_report_us = now_us + REPORT_US;
        }
        Instant::now() + Duration::from_micros(wake_us - now_us)
    }

    /// Sends what is due. The faults that break a connection break it here.
    async fn send_due(&mut self) -> io::Result<Flow> {
        let mut flow = Flow::On;
        if let Stage::Playing(playing) = &self.stage {
            match *self.camera.fault.borrow() {
                Fault::Garbage if playing.count > 0 => {
                    self.out = BytesMut::from(&self.camera.noise(4096)[..]);
                    flow = Flow::End;
                }
                Fault::Close(limit) if playing.count > limit => {
                    self.out.clear();
                    flow = Flow::End;
                }
                _ => {}
            }
        }
        self.flush().await?;
        Ok(flow)
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            let sent = timeout(WRITE_LIMIT, self.socket.write_all(&self.out)).await;
            sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            self.out.clear();
        }
        Ok(())
    }

    fn take_requests(&mut self, input: &mut BytesMut) -> Flow {
        loop {
            match parse(input) {
                Parsed::Incomplete if input.len() > LARGEST_BACKLOG => return Flow::End,
                Parsed::Incomplete => return Flow::On,
                Parsed::Packet(length) => input.advance(length),
                Parsed::Request(request, length) => {
                    input.advance(length);
                    if self.answer(&request) == Flow::End {
                        return Flow::End;
                    }
                }
                Parsed::Malformed(reason) => {
                    self.reply(
                        &Request::default(),
                        "400 Bad Request",
                        &[("X-Reason", reason)],
                        "",
                    );
                    return Flow::End;
                }
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Flow {
        let fault = *self.camera.fault.borrow();
        if request.number.is_none() {
            self.reply(
                request,
                "400 Bad Request",
                &[("X-Reason", "CSeq is missing")],
                "",
            );
            return Flow::On;
        }
        if request.method == "OPTIONS" {
            self.reply(request, "200 OK", &[("Public", METHODS)], "");
            return Flow::On;
        }
        if !self.admits(request, fault) {
            let challenge = self.camera.challenge();
            self.reply(
                request,
                "401 Unauthorized",
                &[("WWW-Authenticate", &challenge)],
                "",
            );
            return Flow::On;
        }
        if !self.camera.is_named_by(&request.uri) {
            self.reply(request, "404 Not Found", &[], "");
            return Flow::On;
        }
        let session = self.id.clone();
        match request.method.as_str() {
            "DESCRIBE" if fault == Fault::NoDescribe => {}
            "DESCRIBE" => {
                let base = format!("{}/", self.camera.url);
                let text = sdp::describe(&self.camera.name, &self.camera.parameter_sets, fault);
                let headers = [
                    ("Content-Base", base.as_str()),
                    ("Content-Type", "application/sdp"),
                ];
                self.reply(request, "200 OK", &headers, &text);
            }
            "SETUP" => self.set_up(request),
            "PLAY" => self.play(request),
            "GET_PARAMETER" | "SET_PARAMETER" => {
                self.reply(request, "200 OK", &[("Session", &session)], "");
            }
            "TEARDOWN" => {
                self.reply(request, "200 OK", &[("Session", &session)], "");
                return Flow::End;
            }
            _ => self.reply(request, "501 Not Implemented", &[("Public", METHODS)], ""),
        }
        Flow::On
    }

    fn admits(&self, request: &Request, fault: Fault) -> bool {
        let Some(credentials) = &self.camera.credentials else {
            return true;
        };
        let Some(header) = &request.authorization else {
            return false;
        };
        fault != Fault::RefusePassword
            && credentials.admit(header, &request.method, &request.uri, &self.camera.nonce)
    }

    fn set_up(&mut self, request: &Request) {
        let Some(channel) = request.transport.as_deref().and_then(interleaved) else {
            self.reply(request, "461 Unsupported Transport", &[], "");
            return;
        };
        if matches!(self.stage, Stage::Playing(_)) {
            self.reply(request, "455 Method Not Valid in This State", &[], "");
            return;
        }
        let number = self.camera.number();
        self.stage = Stage::Ready(Sender::new(number, (number >> 7) as u16, channel));
        let transport = format!(
            "RTP/AVP/TCP;unicast;interleaved={channel}-{};ssrc={number:08X}",
            channel + 1
        );
        let session = format!("{};timeout=60", self.id);
        let headers = [("Session", session.as_str()), ("Transport", &transport)];
        self.reply(request, "200 OK", &headers, "");
    }

    fn play(&mut self, request: &Request) {
        let session = self.id.clone();
        match std::mem::replace(&mut self.stage, Stage::Asking) {
            Stage::Ready(sender) if request.session.as_deref() == Some(&session) => {
                let info = format!(
                    "url={}/trackID=0;seq={}",
                    self.camera.url,
                    sender.sequence()
                );
                let headers = [
                    ("Session", session.as_str()),
                    ("Range", "npt=now-"),
                    ("RTP-Info", &info),
                ];
                self.reply(request, "200 OK", &headers, "");
                let counted = self.camera.count();
                self.stage = Stage::Playing(Playing {
                    sender,
                    last: None,
                    count: 0,
                    next_report_us: 0,
                    _counted: counted,
                });
            }
            Stage::Playing(playing) => {
                self.stage = Stage::Playing(playing);
                self.reply(request, "200 OK", &[("Session", &session)], "");
            }
            stage @ (Stage::Asking | Stage::Ready(_)) => {
                self.stage = stage;
                self.reply(request, "454 Session Not Found", &[], "");
            }
        }
    }

    fn reply(&mut self, request: &Request, status: &str, headers: &[(&str, &str)], body: &str) {
        self.put_line(&["RTSP/1.0 ", status]);
        if let Some(number) = &request.number {
            self.put_line(&["CSeq: ", number]);
        }
        for (name, value) in headers {
            self.put_line(&[name, ": ", value]);
        }
        if !body.is_empty() {
            self.put_line(&["Content-Length: ", &body.len().to_string()]);
        }
        self.put_line(&[]);
        self.out.extend_from_slice(body.as_bytes());
    }

    fn put_line(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
    }
}
