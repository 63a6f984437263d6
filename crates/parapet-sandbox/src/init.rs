//! The first process of an application: reaps every orphan, passes SIGTERM on, ends with the
//! application's own code. When it ends, the kernel ends all others of the PID namespace.
//!
//! Opens nothing, allocates nothing, runs until its one child is gone.

use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};

use crate::kernel;

/// Never returns; `main` is the application's own process, `None` where somebody else waits for
/// that. Every signal is blocked.
pub(crate) fn run(main: Option<u32>) -> ! {
    // With the channel to the parent, which learns so that this process has become its program.
    if kernel::close_all().is_err() {
        kernel::exit_now(126);
    }
    loop {
        match kernel::next_signal() {
            libc::SIGCHLD => reap(main),
            libc::SIGTERM => kernel::terminate_everybody(),
            _ => {}
        }
    }
}

fn reap(main: Option<u32>) {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if Some(pid.as_raw_nonzero().get() as u32) == main {
                    let signal = status.terminating_signal().map(|signal| 128 + signal);
                    kernel::exit_now(status.exit_status().or(signal).unwrap_or(128));
                }
            }
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return,
        }
    }
}
