//! Looks at the host through the kernel's door, for `parapet doctor`.
//!
//! Every function here only reads, or tries what an ordinary program could try. Nothing that runs
//! in a sandbox comes through here, and nothing here outlives its call.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

pub use crate::kernel::{ClockState, clock_state, landlock_version};

/// From where a look is taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vantage<'a> {
    /// The network namespace to enter; the caller's without.
    pub network: Option<BorrowedFd<'a>>,
    /// The user and group to become, without further groups; the caller without.
    pub user: Option<u32>,
}

/// Runs `look` on a thread of its own from that vantage and gives what it saw. Only that thread
/// moves: namespaces of networks and, below the C library, users belong to threads.
pub fn look_from<T: Send>(vantage: Vantage<'_>, look: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || -> io::Result<T> {
            if let Some(network) = vantage.network {
                move_into_link_name_space(network, Some(LinkNameSpaceType::Network))?;
            }
            if let Some(user) = vantage.user {
                let (group, user) = (Gid::from_raw(user), Uid::from_raw(user));
                set_thread_groups(&[])?;
                set_thread_res_gid(group, group, group)?;
                set_thread_res_uid(user, user, user)?;
            }
            Ok(look())
        });
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the look ended early")))
    })
}

impl ClockState {
    /// As a duration; the kernel counts in microseconds.
    #[must_use]
    pub fn most_error(&self) -> Duration {
        Duration::from_micros(self.most_error_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_from_another_users_place_leaves_the_caller_as_it_was() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can look as another user");
            return;
        }
        let vantage = Vantage {
            network: None,
            user: Some(65_534),
        };
        let seen = look_from(vantage, || std::fs::read_to_string("/etc/shadow").is_err());
        assert!(seen.unwrap(), "nobody reads what is root's");
        assert!(std::fs::read_to_string("/etc/shadow").is_ok());
    }

    #[test]
    fn a_look_that_panics_is_an_error() {
        let seen = look_from(Vantage::default(), || {
            assert!(std::env::args().count() > 1_000, "on purpose");
        });
        assert!(seen.is_err());
    }

    #[test]
    fn the_kernel_tells_of_its_clock() {
        let state = clock_state().unwrap();
        assert!(
            state.most_error() < Duration::from_secs(100_000),
            "{state:?}"
        );
    }
}
