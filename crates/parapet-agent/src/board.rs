//! What every instance and node is doing at present, in one place.
//!
//! Each part of the agent writes its own line; `status.json` and the report to the control plane
//! are readings of the whole. Writing wakes the readers; nothing is decided here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use parapet_device::reported::{
    InstanceReport, InstanceState, NodeReport, NodeStatus, Reason, StreamMetrics,
};
use parapet_device::{InstanceId, NodeName};
use tokio::sync::watch;

use crate::gateway::{Asked, MOST_ASKED};
use crate::launcher::lock;
use crate::metrics::StreamStats;

/// Longest message of a reason (`parapet-device::reported::Reason`).
const MESSAGE_LIMIT: usize = 200;

struct Node {
    status: NodeStatus,
    reason: Option<Reason>,
    stats: Option<Arc<Mutex<StreamStats>>>,
    asked: Option<Arc<Mutex<Asked>>>,
}

struct Entry {
    state: InstanceState,
    reason: Option<Reason>,
    nodes: BTreeMap<NodeName, Node>,
}

struct Inner {
    entries: Mutex<BTreeMap<InstanceId, Entry>>,
    changes: watch::Sender<u64>,
}

/// The board; clones share it.
#[derive(Clone)]
pub(crate) struct Board {
    inner: Arc<Inner>,
}

impl Board {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            entries: Mutex::default(),
            changes: watch::Sender::new(0),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Wakes at each change; metrics are no change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Sets an instance's state; makes the instance known.
    pub(crate) fn set_instance(
        &self,
        id: &InstanceId,
        state: InstanceState,
        reason: Option<Reason>,
    ) {
        self.change(|entries| {
            let entry = entries.entry(id.clone()).or_insert_with(|| Entry {
                state,
                reason: None,
                nodes: BTreeMap::new(),
            });
            let changed = entry.state != state || entry.reason != reason;
            entry.state = state;
            entry.reason = reason;
            changed
        });
    }

    /// The instance is gone.
    pub(crate) fn remove_instance(&self, id: &InstanceId) {
        self.change(|entries| entries.remove(id).is_some());
    }

    /// Makes a node known, or forgets what was known of it.
    pub(crate) fn line(
        &self,
        instance: &InstanceId,
        node: &NodeName,
        stats: Option<Arc<Mutex<StreamStats>>>,
    ) -> Line {
        let line = Line {
            board: self.clone(),
            instance: instance.clone(),
            node: node.clone(),
        };
        self.change(|entries| {
            let Some(entry) = entries.get_mut(instance) else {
                return false;
            };
            let status = NodeStatus::NotAvailable;
            entry.nodes.insert(
                node.clone(),
                Node {
                    status,
                    reason: None,
                    stats,
                    asked: None,
                },
            );
            true
        });
        line
    }

    /// The agent has stopped this node.
    pub(crate) fn stopped(&self, instance: &InstanceId, node: &NodeName) {
        let (board, instance, node) = (self.clone(), instance.clone(), node.clone());
        Line {
            board,
            instance,
            node,
        }
        .set(NodeStatus::NotAvailable, None);
    }

    /// All instances as they are now.
    pub(crate) fn report(&self) -> Vec<InstanceReport> {
        let entries = lock(&self.inner.entries);
        entries
            .iter()
            .map(|(id, entry)| InstanceReport {
                id: id.clone(),
                state: entry.state,
                reason: entry.reason.clone(),
                nodes: entry
                    .nodes
                    .iter()
                    .map(|(node, line)| NodeReport {
                        node: node.clone(),
                        status: line.status,
                        reason: line.reason.clone(),
                        stream: line.stats.as_ref().and_then(|stats| stream(stats)),
                    })
                    .collect(),
                asked: asked(entry),
            })
            .collect()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<InstanceId, Entry>) -> bool) {
        let changed = change(&mut lock(&self.inner.entries));
        if changed {
            self.inner.changes.send_modify(|count| *count += 1);
        }
    }
}

/// What an instance's code nodes have asked for, the most frequent first.
fn asked(entry: &Entry) -> Vec<parapet_device::reported::Asked> {
    let mut lines: Vec<_> = entry
        .nodes
        .iter()
        .filter_map(|(node, line)| Some(lock(line.asked.as_ref()?).list(node)))
        .flatten()
        .collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.count));
    lines.truncate(MOST_ASKED);
    lines
}

fn stream(stats: &Mutex<StreamStats>) -> Option<StreamMetrics> {
    lock(stats).read()
}

/// The right to write one node's line.
#[derive(Clone)]
pub(crate) struct Line {
    board: Board,
    instance: InstanceId,
    node: NodeName,
}

impl Line {
    /// The node works.
    pub(crate) fn running(&self) {
        self.set(NodeStatus::Running, None);
    }

    /// The node does not work, and why.
    pub(crate) fn error(&self, code: &str, message: &str) {
        let message = cut(message);
        self.set(
            NodeStatus::Error,
            Some(Reason {
                code: code.to_owned(),
                message,
            }),
        );
    }

    /// Sets status and reason; says so in the log when that is news.
    pub(crate) fn set(&self, status: NodeStatus, reason: Option<Reason>) {
        self.board.change(|entries| {
            let node = entries
                .get_mut(&self.instance)
                .and_then(|e| e.nodes.get_mut(&self.node));
            let Some(node) = node else { return false };
            if node.status == status && node.reason == reason {
                return false;
            }
            tracing::info!(
                instance = %self.instance,
                node = %self.node,
                status = ?status,
                code = reason.as_ref().map(|r| r.code.as_str()),
                message = reason.as_ref().map(|r| r.message.as_str()),
                "node status"
            );
            node.status = status;
            node.reason = reason;
            true
        });
    }

    /// Where the node's report finds whom it has asked for.
    pub(crate) fn asks(&self, asked: Arc<Mutex<Asked>>) {
        self.board.change(|entries| {
            let node = entries
                .get_mut(&self.instance)
                .and_then(|e| e.nodes.get_mut(&self.node));
            if let Some(node) = node {
                node.asked = Some(asked);
            }
            false
        });
    }

    /// Which instance the line belongs to.
    pub(crate) fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// Which node the line belongs to.
    pub(crate) fn node(&self) -> &NodeName {
        &self.node
    }
}

/// A message within the limit of a reason.
pub(crate) fn cut(message: &str) -> String {
    message.chars().take(MESSAGE_LIMIT).collect()
}
