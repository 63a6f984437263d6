//! `parapet doctor`: looks at an appliance's host and explains each item.
//!
//! [`gather`] reads and tries (files below `/proc` and `/sys`, the packet filter, connections from
//! inside each zone) and gives [`facts::Facts`]; [`checks`] judges them, a pure function a check,
//! and gives a [`report::Report`]. Gathering never changes anything, waits for nobody without a
//! limit, and takes whatever a neighbour answers for hostile. What could not be found out is said,
//! never taken for good. See `docs/doctor.md`.

#![forbid(unsafe_code)]

pub mod checks;
pub mod facts;
pub mod gather;
pub mod report;
mod table;

pub use table::table;
