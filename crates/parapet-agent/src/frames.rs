//! Which slot of which ring is held by whom: the pure core of a camera's leases.
//!
//! Owns, per camera, the rings it still knows, the newest frame and a count of leases per frame.
//! Decides when a slot goes back to the decoder: when nobody holds it and a newer frame exists.
//! Rings of an ended decoder, and rings replaced by another format, live until their last lease
//! ends. Does no I/O and knows no process: `M` stands for the ring's memory.

use std::collections::BTreeMap;

use parapet_media::protocol::RingLayout;
use thiserror::Error;

/// Numbers the rings of a camera through all its decoders.
pub(crate) type RingId = u64;

/// A picture in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Frame {
    /// Grows with every picture of the camera, through all its decoders, from 1.
    pub(crate) number: u64,
    /// Where it is.
    pub(crate) ring: RingId,
    /// Where it is in there.
    pub(crate) slot: u32,
    /// Presentation time, microseconds since the epoch.
    pub(crate) time: u64,
}

/// A slot that the decoder may write again, in the decoder's own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freed {
    /// The decoder's number of the ring.
    pub(crate) ring: u32,
    /// The slot.
    pub(crate) slot: u32,
}

/// What a decoder did that it must not do; it is ended for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum DecoderFault {
    /// A frame in a ring that is not its newest.
    #[error("take a frame of ring {0}: it is not the decoder's newest ring")]
    UnknownRing(u32),
    /// A frame in a slot that the ring does not have.
    #[error("take a frame in slot {0}: the ring has no such slot")]
    UnknownSlot(u32),
    /// A frame in a slot that was not freed.
    #[error("take a frame in slot {0}: the slot was not freed")]
    HeldSlot(u32),
}

#[derive(Debug)]
struct Held {
    frame: Frame,
    leases: u32,
}

#[derive(Debug)]
struct Ring<M> {
    /// The decoder's own number of it.
    number: u32,
    layout: RingLayout,
    memory: M,
    /// Slots that are not the decoder's at present.
    held: BTreeMap<u32, Held>,
}

/// All rings of one camera.
#[derive(Debug)]
pub(crate) struct Pool<M> {
    rings: BTreeMap<RingId, Ring<M>>,
    /// The ring that the living decoder writes, if any.
    current: Option<RingId>,
    newest: Option<Frame>,
    rings_made: RingId,
    frames_made: u64,
}

impl<M> Pool<M> {
    pub(crate) fn new() -> Self {
        Self {
            rings: BTreeMap::new(),
            current: None,
            newest: None,
            rings_made: 0,
            frames_made: 0,
        }
    }

    /// The decoder announces a new ring; the one before gets no further frame.
    pub(crate) fn begin_ring(&mut self, worker_ring: u32, layout: RingLayout, memory: M) -> RingId {
        self.rings_made += 1;
        let id = self.rings_made;
        self.current = Some(id);
        self.rings.insert(
            id,
            Ring {
                number: worker_ring,
                layout,
                memory,
                held: BTreeMap::new(),
            },
        );
        self.drop_unused_rings();
        id
    }

    /// The decoder is gone; nothing is freed to it any more.
    pub(crate) fn end_decoder(&mut self) {
        self.current = None;
        self.drop_unused_rings();
    }

    /// The decoder hands over a picture, which is the newest from now on.
    pub(crate) fn push(
        &mut self,
        worker_ring: u32,
        slot: u32,
        time: u64,
    ) -> Result<Option<Freed>, DecoderFault> {
        let id = self.current.ok_or(DecoderFault::UnknownRing(worker_ring))?;
        let ring = self
            .rings
            .get_mut(&id)
            .filter(|ring| ring.number == worker_ring)
            .ok_or(DecoderFault::UnknownRing(worker_ring))?;
        if slot >= ring.layout.slots {
            return Err(DecoderFault::UnknownSlot(slot));
        }
        if ring.held.contains_key(&slot) {
            return Err(DecoderFault::HeldSlot(slot));
        }
        self.frames_made += 1;
        let frame = Frame {
            number: self.frames_made,
            ring: id,
            slot,
            time,
        };
        ring.held.insert(slot, Held { frame, leases: 0 });
        let before = self.newest.replace(frame);
        Ok(before.and_then(|before| self.free_if_unused(before)))
    }

    /// The newest picture, which may be of a ring that has ended.
    pub(crate) fn newest(&self) -> Option<Frame> {
        self.newest
    }

    /// Shape and memory of a ring that still holds something.
    pub(crate) fn ring(&self, id: RingId) -> Option<(RingLayout, &M)> {
        self.rings.get(&id).map(|ring| (ring.layout, &ring.memory))
    }

    /// Keeps a frame from being written until [`Pool::release`]; `false` when it is gone already.
    pub(crate) fn lease(&mut self, frame: Frame) -> bool {
        match self.held_mut(frame) {
            Some(held) => {
                held.leases += 1;
                true
            }
            None => false,
        }
    }

    /// Ends one lease; gives the slot back where that was the last and a newer frame exists.
    pub(crate) fn release(&mut self, frame: Frame) -> Option<Freed> {
        let held = self.held_mut(frame)?;
        held.leases = held.leases.saturating_sub(1);
        self.free_if_unused(frame)
    }

    /// Leases of all frames.
    #[cfg(test)]
    pub(crate) fn leases(&self) -> u32 {
        let held = self.rings.values().flat_map(|ring| ring.held.values());
        held.map(|held| held.leases).sum()
    }

    fn held_mut(&mut self, frame: Frame) -> Option<&mut Held> {
        let held = self.rings.get_mut(&frame.ring)?.held.get_mut(&frame.slot)?;
        (held.frame.number == frame.number).then_some(held)
    }

    fn free_if_unused(&mut self, frame: Frame) -> Option<Freed> {
        if self
            .newest
            .is_some_and(|newest| newest.number == frame.number)
        {
            return None;
        }
        let held = self.held_mut(frame)?;
        if held.leases > 0 {
            return None;
        }
        let ring = self.rings.get_mut(&frame.ring)?;
        ring.held.remove(&frame.slot);
        let freed = Freed {
            ring: ring.number,
            slot: frame.slot,
        };
        let written = self.current == Some(frame.ring);
        self.drop_unused_rings();
        written.then_some(freed)
    }

    fn drop_unused_rings(&mut self) {
        let current = self.current;
        self.rings
            .retain(|id, ring| current == Some(*id) || !ring.held.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SLOTS: u32 = 4;

    fn layout(slots: u32) -> RingLayout {
        RingLayout {
            width: 2,
            height: 2,
            slots,
            slot_bytes: 4096,
        }
    }

    #[test]
    fn the_newest_frame_is_kept_without_a_lease() {
        let mut pool = Pool::new();
        pool.begin_ring(1, layout(SLOTS), ());
        assert_eq!(pool.push(1, 0, 10), Ok(None));
        assert_eq!(pool.push(1, 1, 20), Ok(Some(Freed { ring: 1, slot: 0 })));
        assert_eq!(pool.newest().map(|f| f.time), Some(20));
    }

    #[test]
    fn a_leased_frame_is_freed_by_its_last_release_only() {
        let mut pool = Pool::new();
        pool.begin_ring(1, layout(SLOTS), ());
        pool.push(1, 0, 10).unwrap();
        let frame = pool.newest().unwrap();
        assert!(pool.lease(frame) && pool.lease(frame));
        assert_eq!(pool.push(1, 1, 20), Ok(None));
        assert_eq!(pool.release(frame), None);
        assert_eq!(pool.release(frame), Some(Freed { ring: 1, slot: 0 }));
        assert_eq!(pool.release(frame), None, "a second release frees nothing");
        assert!(!pool.lease(frame), "a freed frame cannot be leased");
    }

    #[test]
    fn the_ring_of_a_dead_decoder_lives_until_its_last_lease_ends() {
        let mut pool = Pool::new();
        let ring = pool.begin_ring(1, layout(SLOTS), ());
        pool.push(1, 0, 10).unwrap();
        let frame = pool.newest().unwrap();
        pool.lease(frame);
        pool.end_decoder();
        assert_eq!(
            pool.newest(),
            Some(frame),
            "the last picture stays on the screen"
        );
        let next = pool.begin_ring(1, layout(SLOTS), ());
        assert_eq!(
            pool.push(1, 0, 20),
            Ok(None),
            "the dead decoder is told nothing"
        );
        assert!(pool.ring(ring).is_some());
        assert_eq!(
            pool.release(frame),
            None,
            "nor is the new one about a slot it never had"
        );
        assert!(pool.ring(ring).is_none() && pool.ring(next).is_some());
    }

    #[test]
    fn a_decoder_that_writes_what_it_does_not_own_is_found_out() {
        let mut pool = Pool::new();
        assert_eq!(pool.push(1, 0, 1), Err(DecoderFault::UnknownRing(1)));
        pool.begin_ring(1, layout(SLOTS), ());
        assert_eq!(
            pool.push(1, SLOTS, 1),
            Err(DecoderFault::UnknownSlot(SLOTS))
        );
        pool.push(1, 0, 1).unwrap();
        assert_eq!(pool.push(1, 0, 2), Err(DecoderFault::HeldSlot(0)));
    }

    #[derive(Debug, Clone)]
    enum Act {
        Frame,
        Lease,
        Release(usize),
        NewRing,
        Restart,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            4 => Just(Act::Frame),
            3 => Just(Act::Lease),
            3 => any::<usize>().prop_map(Act::Release),
            1 => Just(Act::NewRing),
            1 => Just(Act::Restart),
        ];
        prop::collection::vec(act, 1..200)
    }

    proptest! {
        /// The model: a decoder that owns its free slots, and a list of leases.
        #[test]
        fn no_leased_slot_is_freed_and_no_slot_is_lost(acts in acts()) {
            let mut pool = Pool::new();
            let mut worker_ring = 1;
            pool.begin_ring(worker_ring, layout(SLOTS), ());
            let mut free: BTreeSet<u32> = (0..SLOTS).collect();
            let mut leases: Vec<Frame> = Vec::new();
            let mut time = 0;
            let mut latest = None;
            for act in acts {
                let mut freed = None;
                match act {
                    Act::Frame => {
                        if let Some(slot) = free.pop_first() {
                            time += 1;
                            latest = Some(time);
                            freed = pool.push(worker_ring, slot, time).unwrap();
                        }
                    }
                    Act::Lease => {
                        if let Some(frame) = pool.newest() {
                            prop_assert!(pool.lease(frame));
                            leases.push(frame);
                        }
                    }
                    Act::Release(which) => {
                        if !leases.is_empty() {
                            let frame = leases.remove(which % leases.len());
                            freed = pool.release(frame);
                        }
                    }
                    Act::NewRing => {
                        worker_ring += 1;
                        pool.begin_ring(worker_ring, layout(SLOTS), ());
                        free = (0..SLOTS).collect();
                    }
                    Act::Restart => {
                        pool.end_decoder();
                        worker_ring = 1;
                        pool.begin_ring(worker_ring, layout(SLOTS), ());
                        free = (0..SLOTS).collect();
                    }
                }
                if let Some(freed) = freed {
                    prop_assert_eq!(freed.ring, worker_ring);
                    prop_assert!(free.insert(freed.slot), "freed twice");
                }
                // Newest wins, through new rings and new decoders.
                prop_assert_eq!(pool.newest().map(|f| f.time), latest);
                let current = pool.current.unwrap();
                let mut busy = BTreeSet::new();
                for frame in leases.iter().chain(pool.newest().iter()) {
                    prop_assert!(pool.ring(frame.ring).is_some(), "a held ring is gone");
                    if frame.ring == current {
                        prop_assert!(!free.contains(&frame.slot), "a held slot is free");
                        busy.insert(frame.slot);
                    }
                }
                // Every slot is with the decoder, or held by somebody: none leaks.
                prop_assert_eq!(free.len() + busy.len(), SLOTS as usize);
            }
        }
    }
}
