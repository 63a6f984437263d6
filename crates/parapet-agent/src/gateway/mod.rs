//! An application's way out (`docs/egress.md`).
//!
//! The launcher makes two sockets inside the application's network namespace, where every call and
//! every question for a name ends. [`Gateway`] answers them: a name that may be called gets an
//! address that stands for it ([`names`], [`table`]); a call is taken, its destination told back
//! into a name, the rule asked ([`policy`]), the name resolved here and now, the result held
//! against what is off limits ([`off_limits`]), and only then a connection made on the uplink and
//! bytes copied ([`calls`]). Nothing the application wrote reaches a resolver, and no packet of it
//! the uplink. Never parses what passes.
//!
//! Owns, per code node: the rule, the table of names and what was asked, for all lives of its
//! process. Tasks, per life: one for questions, one that takes calls and owns the calls. All are
//! bounded per node, so that a hostile one exhausts its own share.

mod asked;
mod calls;
mod names;
mod off_limits;
mod policy;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use parapet_device::confinement::{Egress, HostPort};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

pub(crate) use asked::{Asked, MOST as MOST_ASKED};
pub(crate) use off_limits::OffLimits;

use crate::board::Line;
use crate::launcher::{GatewaySockets, lock};
use crate::logs::Task;
use crate::rate::Rate;
use names::Question;
use policy::Policy;
use table::Table;

/// Questions for names, of one node.
const QUESTIONS: (u32, u32) = (200, 400);
/// Calls at a time whose host is being sought or connected to.
const PENDING: usize = 32;
/// Names at a time that the host's resolver is asked for.
const LOOKUPS: usize = 4;
/// Hosts that the log names as refused or not reached within [`SPAN`].
const MOST_TOLD: usize = 20;
const SPAN: Duration = Duration::from_mins(10);

/// What all gateways of the appliance share.
#[derive(Debug)]
pub(crate) struct Outside {
    /// Hosts of the configuration, for instances with a role.
    pub(crate) hosts: Vec<HostPort>,
    /// Where nobody is let.
    pub(crate) off_limits: OffLimits,
}

/// The gateway of one code node.
#[derive(Clone)]
pub(crate) struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    outside: Arc<Outside>,
    line: Line,
    /// The instance's name, for remedies.
    name: String,
    egress: watch::Sender<Egress>,
    policy: watch::Sender<Policy>,
    table: Mutex<Table>,
    asked: Arc<Mutex<Asked>>,
    told: Mutex<Told>,
    pending: Semaphore,
    lookups: Semaphore,
}

#[derive(Default)]
struct Told {
    since: Option<Instant>,
    hosts: BTreeSet<(String, u16)>,
}

impl Gateway {
    /// A gateway that serves nobody yet; `name` is the instance's.
    pub(crate) fn new(outside: Arc<Outside>, line: Line, name: String, egress: Egress) -> Self {
        let asked = Arc::<Mutex<Asked>>::default();
        line.asks(Arc::clone(&asked));
        let policy = Policy::new(&egress, &outside.hosts);
        lock(&asked).set_learns(policy.learns());
        let inner = Inner {
            outside,
            line,
            name,
            egress: watch::Sender::new(egress),
            policy: watch::Sender::new(policy),
            table: Mutex::default(),
            asked,
            told: Mutex::default(),
            pending: Semaphore::new(PENDING),
            lookups: Semaphore::new(LOOKUPS),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Whether the next life of the process needs a gateway.
    pub(crate) fn is_wanted(&self) -> bool {
        self.inner.egress.borrow().is_wanted()
    }

    /// Another rule, from now on; calls that it does not allow end.
    pub(crate) fn set(&self, egress: Egress) {
        let policy = Policy::new(&egress, &self.inner.outside.hosts);
        lock(&self.inner.asked).set_learns(policy.learns());
        self.inner.egress.send_replace(egress);
        self.inner.policy.send_replace(policy);
    }

    /// Serves one life of the process, until the task is dropped.
    pub(crate) fn serve(&self, sockets: GatewaySockets) -> io::Result<Task> {
        let names = std::net::UdpSocket::from(sockets.names);
        names.set_nonblocking(true)?;
        let names = UdpSocket::from_std(names)?;
        let calls = std::net::TcpListener::from(sockets.calls);
        calls.set_nonblocking(true)?;
        let calls = TcpListener::from_std(calls)?;
        let inner = Arc::clone(&self.inner);
        Ok(tokio::spawn(async move {
            let questions = inner.questions(&names);
            let calls = calls::take(Arc::clone(&inner), calls);
            tokio::join!(questions, calls);
        })
        .into())
    }
}

impl Inner {
    async fn questions(&self, socket: &UdpSocket) {
        let mut rate = Rate::new(QUESTIONS.0, QUESTIONS.1);
        let mut bytes = [0; names::LONGEST + 1];
        loop {
            // Questions beyond the rate wait in the socket, and what does not fit there is lost.
            rate.next().await;
            let Ok((length, from)) = socket.recv_from(&mut bytes).await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if let Some(answer) = self.answer(&bytes[..length]) {
                // An application that takes no answers misses them.
                let _ = socket.try_send_to(&answer, from);
            }
        }
    }

    fn answer(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        names::answer(bytes, |name, question| self.stands_for(name, question))
    }

    /// The address that stands for a name: only if it may be called, or, so that the port is
    /// learnt too, while the node learns.
    fn stands_for(&self, name: &str, question: Question) -> Option<Ipv4Addr> {
        let (known, learns) = {
            let policy = self.policy.borrow();
            (policy.knows(name), policy.learns())
        };
        if !known && question != Question::SecondAddress {
            lock(&self.asked).record(name, 0, false);
            if !learns {
                self.tell(name, 0);
            }
        }
        (known || learns).then(|| lock(&self.table).address(name))
    }

    /// Says in the log that a host was refused and what to do.
    fn tell(&self, host: &str, port: u16) {
        if !self.is_news(host, port) {
            return;
        }
        let asked = match port {
            0 => "PORT".to_owned(),
            port => port.to_string(),
        };
        tracing::warn!(
            instance = %self.line.instance(), node = %self.line.node(), host, port,
            "call refused; to allow it: parapet app egress allow {} {host}:{asked}",
            self.name
        );
    }

    /// Whether something about the host may go into the log: once in a while for each, and for so
    /// many.
    fn is_news(&self, host: &str, port: u16) -> bool {
        let mut told = lock(&self.told);
        let now = Instant::now();
        if told
            .since
            .is_none_or(|since| now.duration_since(since) > SPAN)
        {
            *told = Told {
                since: Some(now),
                hosts: BTreeSet::new(),
            };
        }
        told.hosts.len() < MOST_TOLD && told.hosts.insert((host.to_owned(), port))
    }
}
