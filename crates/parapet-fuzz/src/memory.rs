//! How much memory the process holds: an allocator that counts.
//!
//! A limit of the address space would not do: threads and C libraries reserve far more than they
//! use, and a bound above that lets much through.

#![expect(
    unsafe_code,
    reason = "an allocator is; this one adds numbers and passes everything on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The allocator of a test executable with targets:
///
/// ```
/// #[global_allocator]
/// static MEMORY: parapet_fuzz::Counting = parapet_fuzz::Counting;
/// # assert!(vec![0_u8; 10].len() == 10);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Counting;

// SAFETY: every request goes to the system's allocator as it came, or is answered with null, as
// the contract allows.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !take(size) {
            return std::ptr::null_mut();
        }
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

fn take(bytes: usize) -> bool {
    let held = HELD
        .fetch_add(bytes, Ordering::Relaxed)
        .saturating_add(bytes);
    if held > LIMIT.load(Ordering::Relaxed) {
        HELD.fetch_sub(bytes, Ordering::Relaxed);
        return false;
    }
    MOST.fetch_max(held, Ordering::Relaxed);
    true
}

/// Bytes that are held now.
pub(crate) fn held() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// The most that was held at a time since [`begin`].
pub(crate) fn most() -> usize {
    MOST.load(Ordering::Relaxed)
}

/// Counts the most anew. From here on nobody gets more than `beyond` bytes above what is held.
pub(crate) fn begin(beyond: usize) {
    MOST.store(held(), Ordering::Relaxed);
    LIMIT.store(held().saturating_add(beyond), Ordering::Relaxed);
}
