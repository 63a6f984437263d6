//! For tests that run Parapet as its users do: waits that say what is missing, the processes of
//! an installation, and a demo that lives as long as its test, with cameras beside it, somebody
//! who operates it, and a witness of its frames.
//!
//! Development only: no other crate depends on it outside its tests.
#![forbid(unsafe_code)]

pub mod camera;
pub mod demo;
pub mod operator;
pub mod processes;
pub mod witness;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Looks ten times a second until `look` finds something; after `limit` the error says what was
/// last missing.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(missing) if Instant::now() > deadline => {
                bail!("waited {} s for {what}: {missing:#}", limit.as_secs());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
