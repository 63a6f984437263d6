//! Each destination hears a checkpoint as a receiver of its kind hears it.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};

use super::*;
use crate::audit::chain::Head;
use crate::audit::checkpoint::SigningKey;
use crate::store::Micros;

pub(super) fn signed(micros: i64) -> Signed {
    let key = SigningKey::from_seed(&[1; 32]).expect("a key");
    let head = Head::genesis("123456789012").append("{}");
    let checkpoint = key.sign("123456789012", head, Micros(1_790_000_000_000_000 + micros));
    let line = checkpoint.to_line().expect("a line");
    Signed { checkpoint, line }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

#[tokio::test]
async fn the_local_socket_and_udp_and_tcp_get_the_line() {
    let folder = tempfile::tempdir().expect("a directory");
    let signed = Arc::new(signed(1));
    let path = folder.path().join("log");
    let local = UnixDatagram::bind(&path).expect("a socket");
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = |address: io::Result<std::net::SocketAddr>| address.expect("bound").to_string();
    for receiver in [
        Syslog::Unix(path),
        Syslog::Udp(address(udp.local_addr())),
        Syslog::Tcp(address(tcp.local_addr())),
    ] {
        let sent = Destination::Syslog(receiver);
        sent.send(&signed).await.expect("sent");
    }
    let mut buffer = vec![0; 4_096];
    let length = in_time("the local socket", local.recv(&mut buffer)).await;
    let first = String::from_utf8_lossy(&buffer[..length.expect("received")]).into_owned();
    let length = in_time("UDP", udp.recv(&mut buffer)).await;
    let second = String::from_utf8_lossy(&buffer[..length.expect("received")]).into_owned();
    let (mut stream, _) = in_time("TCP", tcp.accept()).await.expect("accepted");
    let mut third = String::new();
    in_time("the end of TCP", stream.read_to_string(&mut third))
        .await
        .expect("read");
    let (count, third) = third.split_once(' ').expect("a count");
    assert_eq!(count.parse(), Ok(third.len()));
    for message in [&first, &second, third] {
        let read = Checkpoint::from_line(message).expect("a checkpoint");
        assert_eq!(read, signed.checkpoint);
    }
}

#[tokio::test]
async fn a_file_gets_a_line_each_time() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("checkpoints.jsonl");
    let sent = Destination::File(path.clone());
    for micros in 1..=2 {
        sent.send(&Arc::new(signed(micros))).await.expect("sent");
    }
    let text = std::fs::read_to_string(path).expect("a file");
    assert_eq!(text.lines().count(), 2);
    assert!(text.lines().all(|line| Checkpoint::from_line(line).is_ok()));
}

/// A collector that answers each request with the next of `answers`.
async fn collector(
    answers: &'static [&'static str],
) -> (Url, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("bound");
    let task = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let mut request = Vec::new();
            let mut buffer = [0; 4_096];
            loop {
                let length = stream.read(&mut buffer).await.expect("read");
                request.extend_from_slice(&buffer[..length]);
                let text = String::from_utf8_lossy(&request);
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let wanted = head
                    .lines()
                    .find_map(|line| {
                        line.to_lowercase()
                            .strip_prefix("content-length: ")?
                            .parse()
                            .ok()
                    })
                    .unwrap_or(0);
                if body.len() >= wanted {
                    assert!(head.starts_with("POST /v1/logs "), "{head}");
                    bodies.push(body.to_owned());
                    break;
                }
            }
            let answer =
                format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("answered");
        }
        bodies
    });
    let url = Url::parse(&format!("http://{address}")).expect("a URL");
    (url, task)
}

use url::Url;

#[tokio::test]
async fn a_collector_that_fails_once_gets_it_the_second_time() {
    let (url, collected) = collector(&["503 Service Unavailable", "200 OK"]).await;
    let destination = Destination::Otlp(Otlp::new(&url, None).expect("a collector"));
    let (newest, received) = watch::channel(None);
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&arrived);
    let task = tokio::spawn(run(destination, received, move |signed, destination| {
        let mut seen = seen.lock().expect("not poisoned");
        seen.push((signed.checkpoint.time, destination.to_string()));
    }));
    newest.send_replace(Some(Arc::new(signed(1))));
    let bodies = in_time("two requests", collected).await.expect("no panic");
    drop(newest);
    in_time("the task's end", task).await.expect("no panic");
    let body: serde_json::Value = serde_json::from_str(&bodies[1]).expect("JSON");
    let record = &body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    let line = record["body"]["stringValue"].as_str().expect("a line");
    assert_eq!(Checkpoint::from_line(line), Ok(signed(1).checkpoint));
    assert_eq!(record["attributes"][0]["value"]["intValue"], "1");
    assert_eq!(arrived.lock().expect("not poisoned").len(), 1);
}

#[tokio::test]
async fn a_newer_checkpoint_takes_the_place_of_one_that_did_not_arrive() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("log");
    let destination = Destination::Syslog(Syslog::Unix(path.clone()));
    let (newest, received) = watch::channel(None);
    let (told, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let task = tokio::spawn(run(destination, received, move |signed, _| {
        // The test holds the other end until the task has ended.
        let _heard = told.send(signed.checkpoint.time);
    }));
    newest.send_replace(Some(Arc::new(signed(1))));
    let socket = UnixDatagram::bind(&path).expect("a socket");
    newest.send_replace(Some(Arc::new(signed(2))));
    let time = in_time("a checkpoint", arrived.recv()).await;
    let mut last = time.expect("one");
    while last != Micros(1_790_000_000_000_002) {
        last = in_time("the newer", arrived.recv()).await.expect("one");
    }
    drop(newest);
    in_time("the task's end", task).await.expect("no panic");
    drop(socket);
}
