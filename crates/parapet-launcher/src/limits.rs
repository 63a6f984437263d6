//! What each kind of process may use, as control groups.
//!
//! Applications have limits of the agent's choosing; a worker's are constants, each with its
//! reason. Pure. `docs/limits.md` tells the operator.

use parapet_sandbox::cgroup::{Limits, Weight};
use parapet_sandbox::launch::{Resources, Worker};
use thiserror::Error;

const MIB: u64 = 1 << 20;

/// An ingest holds a few access units of one camera at a time, 8 MiB each at most, and buffers of
/// its connection.
const INGEST_MEMORY: u64 = 256 * MIB;
/// A decoder of 4K pictures holds some 20 of 12 MiB, and its ring's memory counts as its own: the
/// device's frame memory is 2 GB unless the operator gives more.
const CODEC_MEMORY: u64 = 2560 * MIB;
/// Models of a few hundred megabytes unfold to several times that.
const INFER_MEMORY: u64 = 2048 * MIB;
/// Kept for the agent and the host, whatever workers and applications do: at least this much, and
/// a tenth of a larger machine.
const RESERVE: u64 = 256 * MIB;
/// Threads of libraries; a worker starts no process.
pub(crate) const WORKER_PROCESSES: u32 = 256;
/// Below this not even a shell starts.
const LEAST_MEMORY: u64 = 8 * MIB;
/// The application's init and the application.
const LEAST_PROCESSES: u32 = 2;
/// The kernel's shortest quota; nothing useful runs with less.
const LEAST_CPU_MILLIS: u32 = 10;
/// More than any machine has: no limit.
const ALL_CPU_MILLIS: u32 = 1_000_000;

/// A limit that nothing can run with.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("limit an application to {field} = {value}: give at least {least}")]
pub(crate) struct LimitsError {
    field: &'static str,
    value: u64,
    least: u64,
}

/// Of a worker on a machine with so much memory. No quota of processor time: frames are what the
/// appliance is for.
pub(crate) fn worker(worker: Worker, machine_bytes: u64) -> Limits {
    let half = machine_bytes / 2;
    let memory = match worker {
        Worker::Ingest => INGEST_MEMORY,
        Worker::Codec => CODEC_MEMORY.max(half),
        Worker::Infer => INFER_MEMORY.max(half),
    };
    Limits {
        memory_bytes: Some(memory),
        cpu_millis: None,
        processes: Some(WORKER_PROCESSES),
        io_bytes_per_second: None,
        weight: Weight::Worker,
        ends_whole: true,
    }
}

/// Of an application.
pub(crate) fn application(resources: Resources) -> Result<Limits, LimitsError> {
    let Resources {
        memory_bytes,
        cpu_millis,
        processes,
        io_bytes_per_second,
    } = resources;
    let at_least = |field, value: u64, least: u64| {
        if value < least {
            Err(LimitsError {
                field,
                value,
                least,
            })
        } else {
            Ok(())
        }
    };
    at_least("memory_bytes", memory_bytes, LEAST_MEMORY)?;
    at_least("cpu_millis", cpu_millis.into(), LEAST_CPU_MILLIS.into())?;
    at_least("processes", processes.into(), LEAST_PROCESSES.into())?;
    at_least(
        "io_bytes_per_second",
        io_bytes_per_second.unwrap_or(u64::MAX),
        1,
    )?;
    Ok(Limits {
        memory_bytes: (memory_bytes <= i64::MAX.cast_unsigned()).then_some(memory_bytes),
        cpu_millis: (cpu_millis < ALL_CPU_MILLIS).then_some(cpu_millis),
        processes: Some(processes),
        io_bytes_per_second,
        weight: Weight::Application,
        ends_whole: true,
    })
}

/// Of all workers and applications together.
pub(crate) fn everything(machine_bytes: u64) -> Limits {
    let reserve = RESERVE.max(machine_bytes / 10);
    Limits {
        // A machine with less memory than the reserve has none to divide.
        memory_bytes: machine_bytes
            .checked_sub(reserve)
            .filter(|rest| *rest > reserve),
        cpu_millis: None,
        processes: None,
        io_bytes_per_second: None,
        weight: Weight::Everything,
        ends_whole: false,
    }
}

/// Memory of this machine.
pub(crate) fn machine_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    // Both are as wide as the machine's words.
    #[expect(clippy::useless_conversion, reason = "32 bits on some machines")]
    u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn resources() -> Resources {
        Resources {
            memory_bytes: GIB,
            cpu_millis: 1500,
            processes: 64,
            io_bytes_per_second: None,
        }
    }

    #[test]
    fn what_nothing_can_run_with_is_refused_by_name() {
        assert!(application(resources()).is_ok());
        let wrong = [
            Resources {
                memory_bytes: 1000,
                ..resources()
            },
            Resources {
                cpu_millis: 1,
                ..resources()
            },
            Resources {
                processes: 1,
                ..resources()
            },
            Resources {
                io_bytes_per_second: Some(0),
                ..resources()
            },
        ];
        let fields = [
            "memory_bytes",
            "cpu_millis",
            "processes",
            "io_bytes_per_second",
        ];
        for (wrong, field) in wrong.into_iter().zip(fields) {
            let refused = application(wrong).map_err(|error| error.field);
            assert_eq!(refused, Err(field));
        }
    }

    #[test]
    fn something_of_the_machine_is_always_left_for_the_agent() {
        assert_eq!(
            everything(16 * GIB).memory_bytes,
            Some(16 * GIB - 16 * GIB / 10)
        );
        assert_eq!(everything(GIB).memory_bytes, Some(GIB - RESERVE));
        assert_eq!(everything(RESERVE).memory_bytes, None);
    }

    #[test]
    fn a_worker_has_room_for_its_work_on_a_small_machine_and_half_of_a_large_one() {
        let memory = |kind, machine| worker(kind, machine).memory_bytes.unwrap();
        assert_eq!(memory(Worker::Codec, GIB), CODEC_MEMORY);
        assert_eq!(memory(Worker::Infer, 64 * GIB), 32 * GIB);
        assert_eq!(memory(Worker::Ingest, 64 * GIB), INGEST_MEMORY);
    }
}
