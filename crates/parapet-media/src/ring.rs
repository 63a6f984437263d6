//! The frame ring: pictures in a sealed memfd, from the decoder to everybody who looks at them.
//!
//! [`RingWriter`] is the decoder's: it makes the memory, maps it writable and then seals it, so
//! that nobody can shrink it (a reader would die of `SIGBUS`), grow it, or map it writable again,
//! not even by opening `/proc/self/fd` anew. Each slot has one owner at a time ([`crate::slots`]).
//! [`RingReader`] is the agent's: it checks seals and length and reads by `pread`, never through a
//! mapping. A decoder that was taken over may write a slot while it is read; the copy is then torn
//! and nothing worse, without a shared mapping there is no race to argue about.

#![expect(
    unsafe_code,
    reason = "the decoder writes pictures straight into shared memory"
)]

use std::ffi::c_void;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use thiserror::Error;

use crate::protocol::RingLayout;
use crate::slots::{SlotError, Slots};

/// Longest side of a picture: what the H.264 and H.265 levels of any camera on sale allow.
pub const MAX_SIDE: u32 = 8192;
/// Most slots of a ring: far above what leases need, far below what would exhaust a machine.
pub const MAX_SLOTS: u32 = 64;
/// Bytes of a pixel: blue, green, red.
pub const PIXEL_BYTES: usize = 3;

/// Nobody can take pages away or map them writable. `SEAL` is there so that nobody can add a seal
/// that stops the decoder from being started over the same memory.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::FUTURE_WRITE)
    .union(SealFlags::SEAL);
/// What a reader insists on.
const SEALS_NEEDED: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::FUTURE_WRITE);

/// Why a ring cannot be made or taken.
#[derive(Debug, Error)]
pub enum RingError {
    /// Sides of 1 to [`MAX_SIDE`], 1 to [`MAX_SLOTS`] slots.
    #[error(
        "make a ring of {slots} slots of {width}x{height}: at least 1, at most {MAX_SLOTS} slots of {MAX_SIDE}x{MAX_SIDE}"
    )]
    Shape {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Slots.
        slots: u32,
    },
    /// The distance between slots is not what the picture's size makes it.
    #[error("take a ring whose slots are {actual} bytes apart: {expected} expected")]
    SlotBytes {
        /// As announced.
        actual: u64,
        /// As computed.
        expected: u64,
    },
    /// The memory is not as long as the layout says.
    #[error("take a ring of {actual} bytes: its layout needs {expected}")]
    Length {
        /// As found.
        actual: u64,
        /// As computed.
        expected: u64,
    },
    /// The memory could shrink or be written by others.
    #[error("take a ring that is not sealed against shrinking, growing and writing")]
    NotSealed,
    /// A slot that the ring does not have.
    #[error("read slot {slot}: the ring has {slots}")]
    NoSuchSlot {
        /// As asked for.
        slot: u32,
        /// Slots of the ring.
        slots: u32,
    },
    /// The kernel refused.
    #[error("{step}")]
    System {
        /// What was tried.
        step: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

impl RingError {
    fn system(step: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System {
            step,
            source: errno.into(),
        }
    }
}

impl RingLayout {
    /// The shape of a ring of `slots` pictures of this size on this machine.
    pub fn of_pictures(width: u32, height: u32, slots: u32) -> Result<Self, RingError> {
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) || !(1..=MAX_SLOTS).contains(&slots)
        {
            return Err(RingError::Shape {
                width,
                height,
                slots,
            });
        }
        let page = rustix::param::page_size() as u64;
        let slot_bytes =
            (u64::from(width) * u64::from(height) * PIXEL_BYTES as u64).next_multiple_of(page);
        Ok(Self {
            width,
            height,
            slots,
            slot_bytes,
        })
    }

    /// Bytes of one picture: `height` rows of `width` pixels without gaps.
    #[must_use]
    pub fn picture_bytes(&self) -> usize {
        self.width as usize * self.height as usize * PIXEL_BYTES
    }

    /// Bytes of the whole ring.
    #[must_use]
    pub fn ring_bytes(&self) -> u64 {
        self.slot_bytes.saturating_mul(u64::from(self.slots))
    }

    /// Whether the numbers, which came from a decoder, belong together.
    pub fn check(&self) -> Result<(), RingError> {
        let right = Self::of_pictures(self.width, self.height, self.slots)?;
        if self.slot_bytes != right.slot_bytes {
            return Err(RingError::SlotBytes {
                actual: self.slot_bytes,
                expected: right.slot_bytes,
            });
        }
        Ok(())
    }
}

/// The decoder's end of a ring: the only writable mapping there will ever be.
#[derive(Debug)]
pub struct RingWriter {
    memory: OwnedFd,
    base: NonNull<c_void>,
    layout: RingLayout,
    slots: Slots,
}

// SAFETY: the mapping belongs to this value alone and is plain memory; nothing about it is bound
// to the thread that made it.
unsafe impl Send for RingWriter {}

impl RingWriter {
    /// Makes, maps and seals a ring. Its memory is there when this returns, or an error is.
    pub fn create(width: u32, height: u32, slots: u32) -> Result<Self, RingError> {
        let layout = RingLayout::of_pictures(width, height, slots)?;
        let memory = rustix::fs::memfd_create(
            "parapet-frames",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )
        .map_err(RingError::system("make a memfd"))?;
        // Not `ftruncate`: pages that cannot be had shall be an error here, no signal later.
        rustix::fs::fallocate(&memory, FallocateFlags::empty(), 0, layout.ring_bytes())
            .map_err(RingError::system("reserve the ring's memory"))?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                layout.ring_bytes() as usize,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &memory,
                0,
            )
        }
        .map_err(RingError::system("map the ring"))?;
        let base = NonNull::new(base)
            .ok_or(Errno::FAULT)
            .map_err(RingError::system("map the ring"))?;
        // From here on `Drop` takes the mapping down.
        let ring = Self {
            memory,
            base,
            layout,
            slots: Slots::new(slots),
        };
        rustix::fs::fcntl_add_seals(&ring.memory, SEALS)
            .map_err(RingError::system("seal the ring"))?;
        Ok(ring)
    }

    /// Its shape.
    #[must_use]
    pub fn layout(&self) -> RingLayout {
        self.layout
    }

    /// The sealed memfd, to be sent to the agent.
    #[must_use]
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Whether [`RingWriter::slot`] would give one.
    #[must_use]
    pub fn any_free(&self) -> bool {
        self.slots.any_free()
    }

    /// A slot to write a picture into, if the agent does not own them all.
    pub fn slot(&mut self) -> Option<SlotMut<'_>> {
        let slot = self.slots.reserve()?;
        Some(SlotMut {
            ring: self,
            slot,
            handed_over: false,
        })
    }

    /// The agent is done with a slot.
    pub fn free(&mut self, slot: u32) -> Result<(), SlotError> {
        self.slots.free(slot)
    }
}

impl Drop for RingWriter {
    fn drop(&mut self) {
        // SAFETY: `base` is a mapping of this length made in `create`, and every `SlotMut`, the
        // only way to it, borrows `self`. An error could only mean that it is not mapped.
        let _ =
            unsafe { rustix::mm::munmap(self.base.as_ptr(), self.layout.ring_bytes() as usize) };
    }
}

/// A slot that the decoder owns, as its bytes. Dropped without [`SlotMut::hand_over`], it stays
/// the decoder's.
#[derive(Debug)]
pub struct SlotMut<'a> {
    ring: &'a mut RingWriter,
    slot: u32,
    handed_over: bool,
}

impl SlotMut<'_> {
    /// The picture is complete and the slot the agent's. Gives the slot's number.
    #[must_use]
    pub fn hand_over(mut self) -> u32 {
        self.ring.slots.hand_over(self.slot);
        self.handed_over = true;
        self.slot
    }

    fn start(&self) -> NonNull<u8> {
        let offset = self.slot as usize * self.ring.layout.slot_bytes as usize;
        // SAFETY: `slot` is below `slots` (it came from `Slots`), so the offset is inside of the
        // mapping, whose length `of_pictures` has bounded far below `isize::MAX`.
        unsafe { self.ring.base.cast::<u8>().add(offset) }
    }
}

impl Deref for SlotMut<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: as in `deref_mut`, shared.
        unsafe {
            std::slice::from_raw_parts(self.start().as_ptr(), self.ring.layout.picture_bytes())
        }
    }
}

impl DerefMut for SlotMut<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the slot's bytes are mapped (a picture is no longer than `slot_bytes`) and
        // initialised (fresh memfd pages are zero). This process reaches them through this value
        // only, which borrows the ring exclusively. No other process can write them: the memfd
        // never left this process before it was sealed against writable mappings. Others may read
        // them, but do not while the slot is the decoder's, and would only see unfinished pixels.
        unsafe {
            std::slice::from_raw_parts_mut(self.start().as_ptr(), self.ring.layout.picture_bytes())
        }
    }
}

impl Drop for SlotMut<'_> {
    fn drop(&mut self) {
        if !self.handed_over {
            self.ring.slots.give_back(self.slot);
        }
    }
}

/// The agent's end of a ring: a checked memfd and copies of its pictures.
#[derive(Debug)]
pub struct RingReader {
    memory: OwnedFd,
    layout: RingLayout,
}

impl RingReader {
    /// Takes a ring that a decoder announced. Refuses memory that could shrink or be written by
    /// others, because it goes on to applications, which map it.
    pub fn open(memory: OwnedFd, layout: RingLayout) -> Result<Self, RingError> {
        layout.check()?;
        let seals = rustix::fs::fcntl_get_seals(&memory).map_err(|_| RingError::NotSealed)?;
        if !seals.contains(SEALS_NEEDED) {
            return Err(RingError::NotSealed);
        }
        let length = rustix::fs::fstat(&memory)
            .map_err(RingError::system("ask for the ring's length"))?
            .st_size;
        let actual = u64::try_from(length).unwrap_or(0);
        let expected = layout.ring_bytes();
        if actual != expected {
            return Err(RingError::Length { actual, expected });
        }
        Ok(Self { memory, layout })
    }

    /// Its shape.
    #[must_use]
    pub fn layout(&self) -> RingLayout {
        self.layout
    }

    /// The sealed memfd, to be sent to applications.
    #[must_use]
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Copies the picture of a slot that the agent owns.
    pub fn copy(&self, slot: u32) -> Result<Vec<u8>, RingError> {
        if slot >= self.layout.slots {
            return Err(RingError::NoSuchSlot {
                slot,
                slots: self.layout.slots,
            });
        }
        let mut pixels = vec![0; self.layout.picture_bytes()];
        let start = u64::from(slot) * self.layout.slot_bytes;
        let mut done = 0;
        while done < pixels.len() {
            match rustix::io::pread(&self.memory, &mut pixels[done..], start + done as u64) {
                // The length is sealed, so there is no end before the picture's.
                Ok(0) => return Err(RingError::NotSealed),
                Ok(bytes) => done += bytes,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(RingError::system("read a slot")(errno)),
            }
        }
        Ok(pixels)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::os::fd::AsRawFd;

    use super::*;

    fn reader_of(ring: &RingWriter) -> RingReader {
        let memory = ring.memory().try_clone_to_owned().unwrap();
        RingReader::open(memory, ring.layout()).unwrap()
    }

    fn shared_writable(memory: impl AsFd, bytes: u64) -> Result<(), Errno> {
        // SAFETY: a new mapping that is taken down at once and never looked at.
        unsafe {
            let base = rustix::mm::mmap(
                std::ptr::null_mut(),
                bytes as usize,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                memory,
                0,
            )?;
            rustix::mm::munmap(base, bytes as usize)
        }
    }

    #[test]
    fn a_picture_written_by_the_decoder_is_read_by_the_agent() {
        let mut ring = RingWriter::create(50, 30, 3).unwrap();
        let reader = reader_of(&ring);
        for value in [7_u8, 8] {
            let mut slot = ring.slot().unwrap();
            slot.fill(value);
            let slot = slot.hand_over();
            assert_eq!(reader.copy(slot).unwrap(), vec![value; 50 * 30 * 3]);
        }
        assert!(matches!(
            reader.copy(3),
            Err(RingError::NoSuchSlot { slot: 3, slots: 3 })
        ));
    }

    #[test]
    fn a_slot_is_written_again_only_when_it_is_freed() {
        let mut ring = RingWriter::create(16, 16, 2).unwrap();
        let first = ring.slot().unwrap().hand_over();
        drop(ring.slot().unwrap());
        let second = ring.slot().unwrap().hand_over();
        assert_ne!(first, second);
        assert!(ring.slot().is_none());
        ring.free(first).unwrap();
        assert_eq!(ring.slot().unwrap().hand_over(), first);
    }

    #[test]
    fn slots_begin_at_pages_and_do_not_overlap() {
        let page = rustix::param::page_size();
        let mut ring = RingWriter::create(37, 41, 3).unwrap();
        let layout = ring.layout();
        assert!(layout.slot_bytes.is_multiple_of(page as u64));
        let reader = reader_of(&ring);
        let mut slots = Vec::new();
        for value in 1_u8..=3 {
            let mut slot = ring.slot().unwrap();
            assert_eq!(slot.len(), 37 * 41 * 3);
            slot.fill(value);
            slots.push((slot.hand_over(), value));
        }
        for (slot, value) in slots {
            assert!(reader.copy(slot).unwrap().iter().all(|byte| *byte == value));
        }
    }

    #[test]
    fn nobody_who_gets_the_memory_can_write_or_resize_it() {
        let mut ring = RingWriter::create(64, 64, 2).unwrap();
        let bytes = ring.layout().ring_bytes();
        let path = format!("/proc/self/fd/{}", ring.memory().as_raw_fd());
        // A mode of the descriptor protects nothing: opening it anew gives a writable one.
        let again = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        for memory in [ring.memory(), again.as_fd()] {
            assert_eq!(shared_writable(memory, bytes), Err(Errno::PERM));
            assert_eq!(rustix::io::pwrite(memory, b"x", 0), Err(Errno::PERM));
            assert_eq!(rustix::fs::ftruncate(memory, 0), Err(Errno::PERM));
            assert_eq!(rustix::fs::ftruncate(memory, bytes * 2), Err(Errno::PERM));
            assert_eq!(
                rustix::fs::fcntl_add_seals(memory, SealFlags::WRITE),
                Err(Errno::PERM)
            );
        }
        // The decoder itself goes on writing through the mapping it had before.
        ring.slot().unwrap().fill(9);
    }

    #[test]
    fn a_read_only_mapping_cannot_be_made_writable_later() {
        let ring = RingWriter::create(64, 64, 1).unwrap();
        let bytes = ring.layout().ring_bytes() as usize;
        // SAFETY: a new mapping that is taken down at once and never looked at.
        let changed = unsafe {
            let base = rustix::mm::mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ,
                MapFlags::SHARED,
                ring.memory(),
                0,
            )
            .unwrap();
            let flags = rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE;
            let changed = rustix::mm::mprotect(base, bytes, flags);
            rustix::mm::munmap(base, bytes).unwrap();
            changed
        };
        assert_eq!(changed, Err(Errno::ACCESS));
    }

    #[test]
    fn a_reader_refuses_memory_that_could_change_under_it() {
        let layout = RingLayout::of_pictures(32, 32, 2).unwrap();
        let memfd = |bytes, seals| {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let memory = rustix::fs::memfd_create("test", flags).unwrap();
            rustix::fs::ftruncate(&memory, bytes).unwrap();
            rustix::fs::fcntl_add_seals(&memory, seals).unwrap();
            memory
        };
        let bytes = layout.ring_bytes();
        assert!(RingReader::open(memfd(bytes, SEALS), layout).is_ok());
        for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::FUTURE_WRITE] {
            let refused = RingReader::open(memfd(bytes, SEALS_NEEDED.difference(missing)), layout);
            assert!(matches!(refused, Err(RingError::NotSealed)), "{missing:?}");
        }
        let refused = RingReader::open(memfd(bytes - 1, SEALS), layout);
        assert!(matches!(refused, Err(RingError::Length { .. })));
        let file = OwnedFd::from(File::open("/proc/self/exe").unwrap());
        assert!(matches!(
            RingReader::open(file, layout),
            Err(RingError::NotSealed)
        ));
    }

    #[test]
    fn nobody_writes_a_ring_by_any_way_to_its_memory() {
        let mut ring = RingWriter::create(64, 64, 2).unwrap();
        let mut slot = ring.slot().unwrap();
        slot.fill(7);
        let slot = slot.hand_over();
        let reader = reader_of(&ring);
        let bytes = ring.layout().ring_bytes();
        let own = ring.memory().as_raw_fd();
        let again = OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/self/fd/{own}"))
            .unwrap();
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for memory in [ring.memory(), again.as_fd()] {
            let refused = Err(Errno::PERM);
            assert_eq!(rustix::io::pwrite(memory, b"x", 0), Err(Errno::PERM));
            assert_eq!(shared_writable(memory, bytes), refused);
            assert_eq!(rustix::fs::ftruncate(memory, 0), refused);
            assert_eq!(rustix::fs::ftruncate(memory, bytes * 2), refused);
            assert_eq!(rustix::fs::fallocate(memory, punch, 0, bytes), refused);
            assert_eq!(
                rustix::fs::fallocate(memory, FallocateFlags::empty(), bytes, bytes),
                refused
            );
            assert_eq!(
                rustix::fs::fcntl_add_seals(memory, SealFlags::WRITE),
                refused
            );
            assert!(rustix::fs::fcntl_get_seals(memory).unwrap().contains(SEALS));
            // SAFETY: new mappings at places of the kernel's choice, taken down at once; nobody
            // looks at them.
            unsafe {
                let base = rustix::mm::mmap(
                    std::ptr::null_mut(),
                    bytes as usize,
                    ProtFlags::READ,
                    MapFlags::SHARED,
                    memory,
                    0,
                )
                .unwrap();
                // A shared mapping to be read is never turned into one to be written, nor are its
                // pages taken away through it.
                let rights = rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE;
                assert!(rustix::mm::mprotect(base, bytes as usize, rights).is_err());
                let removed =
                    rustix::mm::madvise(base, bytes as usize, rustix::mm::Advice::LinuxRemove);
                assert!(removed.is_err(), "pages of a ring were removed");
                rustix::mm::munmap(base, bytes as usize).unwrap();
            }
        }
        assert_eq!(reader.copy(slot).unwrap(), vec![7; 64 * 64 * 3]);
    }

    #[test]
    fn a_layout_that_does_not_fit_its_picture_is_refused() {
        let right = RingLayout::of_pictures(1920, 1080, 7).unwrap();
        assert!(right.check().is_ok());
        for wrong in [
            RingLayout { width: 0, ..right },
            RingLayout {
                height: MAX_SIDE + 1,
                ..right
            },
            RingLayout { slots: 0, ..right },
            RingLayout {
                slots: MAX_SLOTS + 1,
                ..right
            },
            RingLayout {
                slot_bytes: right.slot_bytes + 1,
                ..right
            },
            RingLayout {
                slot_bytes: u64::MAX,
                ..right
            },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
