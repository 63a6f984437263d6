//! A gateway between real sockets of loopback; calls need the launcher's rules and are tried in
//! `crates/parapet/tests/applications_reach`.

use std::time::Duration;

use parapet_device::reported::InstanceState;
use simple_dns::{CLASS, Name, Packet, RCODE, TYPE};
use tokio::time::timeout;

use super::*;
use crate::board::Board;

const LIMIT: Duration = Duration::from_secs(30);

struct House {
    board: Board,
    gateway: Gateway,
    client: UdpSocket,
    calls: std::net::SocketAddr,
    _task: Task,
}

fn egress(hosts: &[&str], learn: bool) -> Egress {
    Egress {
        learn,
        role: false,
        hosts: hosts.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

impl House {
    async fn build(egress: Egress) -> Self {
        let board = Board::new();
        let instance = "applicationInstance-a".parse().unwrap();
        board.set_instance(&instance, InstanceState::Running, None);
        let line = board.line(&instance, &"code".parse().unwrap(), None);
        let outside = Outside {
            hosts: Vec::new(),
            off_limits: OffLimits::default(),
        };
        let gateway = Gateway::new(Arc::new(outside), line, "a".to_owned(), egress);
        let names = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let calls = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(names.local_addr().unwrap()).await.unwrap();
        let at = calls.local_addr().unwrap();
        let sockets = GatewaySockets {
            names: names.into(),
            calls: calls.into(),
        };
        let task = gateway.serve(sockets).unwrap();
        Self {
            board,
            gateway,
            client,
            calls: at,
            _task: task,
        }
    }

    async fn ask(&self, name: &str, kind: TYPE) -> (RCODE, usize) {
        let mut packet = Packet::new_query(1);
        packet.questions.push(simple_dns::Question::new(
            Name::new_unchecked(name),
            kind.into(),
            CLASS::IN.into(),
            false,
        ));
        let bytes = packet.build_bytes_vec().unwrap();
        self.client.send(&bytes).await.unwrap();
        let mut answer = [0; 600];
        let length = timeout(LIMIT, self.client.recv(&mut answer)).await;
        let reply = Packet::parse(&answer[..length.unwrap().unwrap()]).unwrap();
        (reply.rcode(), reply.answers.len())
    }

    fn asked(&self) -> Vec<(String, bool)> {
        let mut report = self.board.report();
        let lines = report.pop().unwrap().asked.into_iter();
        lines.map(|line| (line.host, line.allowed)).collect()
    }
}

#[tokio::test]
async fn a_change_of_the_rule_counts_at_the_next_question() {
    let house = House::build(egress(&["a.test:443"], false)).await;
    assert_eq!(house.ask("a.test", TYPE::A).await, (RCODE::NoError, 1));
    assert_eq!(house.ask("b.test", TYPE::A).await, (RCODE::NameError, 0));
    house.gateway.set(egress(&["b.test:443"], false));
    assert_eq!(house.ask("a.test", TYPE::A).await, (RCODE::NameError, 0));
    assert_eq!(house.ask("b.test", TYPE::A).await, (RCODE::NoError, 1));
    assert_eq!(house.asked(), [], "nothing was called");
    house.gateway.set(egress(&[], true));
    assert_eq!(house.ask("c.test", TYPE::A).await, (RCODE::NoError, 1));
    assert_eq!(house.ask("c.test", TYPE::AAAA).await, (RCODE::NoError, 0));
    assert_eq!(house.asked(), [("c.test".to_owned(), false)]);
    house.gateway.set(egress(&[], false));
    assert_eq!(house.asked(), [], "no longer learning");
    assert!(!house.gateway.is_wanted());
}

#[tokio::test]
async fn questions_are_answered_at_a_bounded_rate() {
    let house = House::build(egress(&["a.test:443"], false)).await;
    let begin = Instant::now();
    let number = QUESTIONS.1 + QUESTIONS.0 / 2;
    for _ in 0..number {
        house.ask("x.test", TYPE::TXT).await;
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(490), "{number} in {took:?}");
}

#[tokio::test]
async fn a_connection_that_no_rule_has_turned_here_is_closed() {
    let house = House::build(egress(&["127.0.0.1:443"], false)).await;
    let mut call = tokio::net::TcpStream::connect(house.calls).await.unwrap();
    let mut bytes = [0; 16];
    let read = timeout(LIMIT, tokio::io::AsyncReadExt::read(&mut call, &mut bytes)).await;
    assert!(!matches!(read.unwrap(), Ok(1..)));
}
