//! Who owns which slot of a ring: the pure book-keeping of a decoder.
//!
//! At first every slot is the decoder's. Handed over with a picture in it, a slot is the agent's
//! until the agent frees it; only then it may be written again. That rule is what makes
//! `media.image` safe to hold, so it lives here alone, without memory or processes.

use thiserror::Error;

/// A slot was freed that the agent does not own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SlotError {
    /// The ring has no such slot.
    #[error("free slot {slot}: the ring has {slots} slots")]
    Unknown {
        /// The number given.
        slot: u32,
        /// Slots of the ring.
        slots: u32,
    },
    /// The slot is the decoder's already.
    #[error("free slot {0}: it was not handed over")]
    NotHandedOver(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Decoder,
    /// Reserved by [`Slots::reserve`]: being written.
    Writing,
    Agent,
}

/// The owners of a ring's slots.
#[derive(Debug)]
pub struct Slots {
    owners: Vec<Owner>,
    /// Slots of the decoder, the last one freed on top: its memory is the warmest.
    free: Vec<u32>,
}

impl Slots {
    /// All slots are the decoder's.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self {
            owners: vec![Owner::Decoder; slots as usize],
            free: (0..slots).rev().collect(),
        }
    }

    /// A slot to write, if one is free. It is handed over or given back next.
    pub fn reserve(&mut self) -> Option<u32> {
        let slot = self.free.pop()?;
        self.owners[slot as usize] = Owner::Writing;
        Some(slot)
    }

    /// The reserved slot holds a picture and is the agent's from now on. Without effect on a slot
    /// that is not reserved.
    pub fn hand_over(&mut self, slot: u32) {
        if let Some(owner @ Owner::Writing) = self.owners.get_mut(slot as usize) {
            *owner = Owner::Agent;
        }
    }

    /// The reserved slot was not needed. Without effect on a slot that is not reserved.
    pub fn give_back(&mut self, slot: u32) {
        if let Some(owner @ Owner::Writing) = self.owners.get_mut(slot as usize) {
            *owner = Owner::Decoder;
            self.free.push(slot);
        }
    }

    /// The agent is done with a slot.
    pub fn free(&mut self, slot: u32) -> Result<(), SlotError> {
        let slots = self.owners.len() as u32;
        match self.owners.get_mut(slot as usize) {
            Some(owner @ Owner::Agent) => {
                *owner = Owner::Decoder;
                self.free.push(slot);
                Ok(())
            }
            Some(_) => Err(SlotError::NotHandedOver(slot)),
            None => Err(SlotError::Unknown { slot, slots }),
        }
    }

    /// Whether [`Slots::reserve`] would give a slot.
    #[must_use]
    pub fn any_free(&self) -> bool {
        !self.free.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_ring_gives_each_slot_once_and_then_none() {
        let mut slots = Slots::new(3);
        let taken: BTreeSet<_> = (0..3)
            .map(|_| {
                let slot = slots.reserve().unwrap();
                slots.hand_over(slot);
                slot
            })
            .collect();
        assert_eq!(taken.len(), 3);
        assert_eq!(slots.reserve(), None);
        assert!(!slots.any_free());
    }

    #[test]
    fn only_what_was_handed_over_can_be_freed() {
        let mut slots = Slots::new(2);
        assert_eq!(slots.free(0), Err(SlotError::NotHandedOver(0)));
        assert_eq!(slots.free(2), Err(SlotError::Unknown { slot: 2, slots: 2 }));
        let slot = slots.reserve().unwrap();
        assert_eq!(
            slots.free(slot),
            Err(SlotError::NotHandedOver(slot)),
            "it is being written"
        );
        slots.hand_over(slot);
        assert_eq!(slots.free(slot), Ok(()));
        assert_eq!(
            slots.free(slot),
            Err(SlotError::NotHandedOver(slot)),
            "freed twice"
        );
    }

    proptest! {
        /// Any order of writing, handing over, giving back and freeing, hostile frees included.
        #[test]
        fn a_slot_handed_over_is_never_written_before_it_is_freed(
            count in 1_u32..6,
            steps in prop::collection::vec((0_u8..4, 0_u32..8), 0..200),
        ) {
            let mut slots = Slots::new(count);
            let mut agents = BTreeSet::new();
            let mut writing = Vec::new();
            for (step, slot) in steps {
                match step {
                    0 => {
                        let room = agents.len() + writing.len() < count as usize;
                        match slots.reserve() {
                            Some(got) => {
                                prop_assert!(!agents.contains(&got) && !writing.contains(&got));
                                writing.push(got);
                            }
                            None => prop_assert!(!room, "a free slot was not found"),
                        }
                    }
                    1 => if let Some(got) = writing.pop() {
                        slots.hand_over(got);
                        agents.insert(got);
                    },
                    2 => if let Some(got) = writing.pop() {
                        slots.give_back(got);
                    },
                    _ => prop_assert_eq!(slots.free(slot).is_ok(), agents.remove(&slot)),
                }
            }
        }
    }
}
