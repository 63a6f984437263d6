//! What waits for the agent: a bounded queue between the camera, which cannot be slowed down, and
//! the channel, whose reader may be busy.
//!
//! When the queue is full, access units are dropped up to the next key frame, because what refers
//! to a lost one is useless. Events are kept: there are few, and a newer one replaces one of its
//! kind that still waits.

use std::collections::VecDeque;

use bytes::Bytes;
use parapet_media::protocol::IngestEvent;
use parapet_sandbox::channel::MAX_PAYLOAD;

/// Bytes of access units that may wait: a second of a strong stream. The largest single access
/// unit ([`MAX_UNIT`]) passes an empty queue whatever its size.
const MAX_WAITING: usize = 4 * 1024 * 1024;
/// Access units that may wait, whatever their size: about two seconds.
const MAX_UNITS: usize = 64;
/// Largest access unit; the agent has the same bound.
pub(crate) const MAX_UNIT: usize = 8 * 1024 * 1024;

/// A packet to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) header: IngestEvent,
    pub(crate) payload: Bytes,
}

#[derive(Debug)]
enum Waiting {
    Event(IngestEvent),
    Unit {
        time: u64,
        claimed: Option<u64>,
        key: bool,
        rest: Bytes,
    },
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    unit_bytes: usize,
    units: usize,
    /// An access unit was lost; the next to pass is a key frame.
    gap: bool,
}

impl Outbox {
    /// Queues an event.
    pub(crate) fn event(&mut self, event: IngestEvent) {
        if matches!(event, IngestEvent::Stream { .. }) {
            self.gap = true;
        }
        if let Some(Waiting::Event(last)) = self.waiting.back_mut()
            && std::mem::discriminant(last) == std::mem::discriminant(&event)
        {
            *last = event;
            return;
        }
        self.waiting.push_back(Waiting::Event(event));
    }

    /// The next access unit to pass is a key frame.
    pub(crate) fn gap(&mut self) {
        self.gap = true;
    }

    /// Queues an access unit, or drops it. It is not longer than [`MAX_UNIT`].
    pub(crate) fn unit(&mut self, time: u64, claimed: Option<u64>, key: bool, data: Bytes) {
        if self.gap && !key {
            return;
        }
        let full = self.units > 0
            && (self.units >= MAX_UNITS || self.unit_bytes + data.len() > MAX_WAITING);
        self.gap = full;
        if !full && !data.is_empty() {
            self.units += 1;
            self.unit_bytes += data.len();
            self.waiting.push_back(Waiting::Unit {
                time,
                claimed,
                key,
                rest: data,
            });
        }
    }

    /// The packet to send next. It stays the first until [`Outbox::sent`].
    pub(crate) fn first(&self) -> Option<Outgoing> {
        Some(match self.waiting.front()? {
            Waiting::Event(event) => Outgoing {
                header: event.clone(),
                payload: Bytes::new(),
            },
            Waiting::Unit {
                time,
                claimed,
                key,
                rest,
            } => {
                let more = rest.len() > MAX_PAYLOAD;
                let header = IngestEvent::AccessUnit {
                    time: *time,
                    claimed: *claimed,
                    key: *key,
                    more,
                };
                Outgoing {
                    header,
                    payload: rest.slice(..rest.len().min(MAX_PAYLOAD)),
                }
            }
        })
    }

    /// The first packet is on its way.
    pub(crate) fn sent(&mut self) {
        match self.waiting.front_mut() {
            Some(Waiting::Unit { rest, .. }) if rest.len() > MAX_PAYLOAD => {
                let _ = rest.split_to(MAX_PAYLOAD);
                self.unit_bytes -= MAX_PAYLOAD;
            }
            Some(Waiting::Unit { rest, .. }) => {
                self.unit_bytes -= rest.len();
                self.units -= 1;
                self.waiting.pop_front();
            }
            Some(Waiting::Event(_)) => {
                self.waiting.pop_front();
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use parapet_media::protocol::{CameraFault, Codec};
    use proptest::prelude::*;

    use super::*;

    fn drain(outbox: &mut Outbox) -> Vec<(u64, usize, bool)> {
        let mut packets = Vec::new();
        while let Some(packet) = outbox.first() {
            if let IngestEvent::AccessUnit { time, more, .. } = packet.header {
                packets.push((time, packet.payload.len(), more));
            }
            outbox.sent();
        }
        packets
    }

    fn bytes(count: usize) -> Bytes {
        Bytes::from(vec![7; count])
    }

    #[test]
    fn a_large_unit_is_sent_in_parts() {
        let mut outbox = Outbox::default();
        outbox.unit(1, None, true, bytes(2 * MAX_PAYLOAD + 5));
        outbox.unit(2, None, false, bytes(MAX_PAYLOAD));
        let expected = [
            (1, MAX_PAYLOAD, true),
            (1, MAX_PAYLOAD, true),
            (1, 5, false),
            (2, MAX_PAYLOAD, false),
        ];
        assert_eq!(drain(&mut outbox), expected);
    }

    #[test]
    fn a_full_queue_drops_to_the_next_key_frame() {
        let mut outbox = Outbox::default();
        for time in 0..100 {
            outbox.unit(time, None, time == 0, bytes(10));
        }
        assert_eq!(drain(&mut outbox).len(), MAX_UNITS);
        outbox.unit(100, None, false, bytes(10));
        outbox.unit(101, None, true, bytes(10));
        outbox.unit(102, None, false, bytes(10));
        assert_eq!(drain(&mut outbox), [(101, 10, false), (102, 10, false)]);
    }

    #[test]
    fn the_largest_unit_passes_an_empty_queue() {
        let mut outbox = Outbox::default();
        outbox.unit(1, None, true, bytes(MAX_UNIT));
        assert_eq!(drain(&mut outbox).len(), MAX_UNIT / MAX_PAYLOAD);
    }

    #[test]
    fn a_stream_begins_with_a_key_frame() {
        let mut outbox = Outbox::default();
        outbox.event(IngestEvent::Stream { codec: Codec::H264 });
        outbox.unit(1, None, false, bytes(10));
        outbox.unit(2, None, true, bytes(10));
        assert_eq!(drain(&mut outbox), [(2, 10, false)]);
    }

    #[test]
    fn of_failures_that_wait_the_last_counts() {
        let mut outbox = Outbox::default();
        for n in 0..1000 {
            let message = n.to_string();
            outbox.event(IngestEvent::Failed {
                code: CameraFault::Refused,
                message,
                retry_ms: None,
            });
        }
        assert_eq!(outbox.waiting.len(), 1);
        let Some(IngestEvent::Failed { message, .. }) = outbox.first().map(|p| p.header) else {
            panic!("a failure was expected");
        };
        assert_eq!(message, "999");
    }

    proptest! {
        #[test]
        fn the_queue_never_grows_beyond_its_bounds(
            steps in prop::collection::vec((0_u8..4, 0_usize..3_000_000), 0..200),
        ) {
            let mut outbox = Outbox::default();
            let data = bytes(3_000_000);
            for (step, size) in steps {
                match step {
                    0 => outbox.sent(),
                    key => outbox.unit(1, None, key == 1, data.slice(..size)),
                }
                let waiting: usize = outbox
                    .waiting
                    .iter()
                    .map(|w| match w { Waiting::Unit { rest, .. } => rest.len(), Waiting::Event(_) => 0 })
                    .sum();
                prop_assert_eq!(waiting, outbox.unit_bytes);
                prop_assert!(waiting <= MAX_WAITING && outbox.units <= MAX_UNITS);
            }
        }
    }
}
