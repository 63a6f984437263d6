//! Limits as the files that say them, for both versions of the interface.
//!
//! Pure, and in the order in which they must be written. Sources:
//! `Documentation/admin-guide/cgroup-v2.rst`; `Documentation/admin-guide/cgroup-v1/memory.rst` and
//! `blkio-controller.rst`, `Documentation/scheduler/sched-bwc.rst`.

use super::{Controller, Disk, Limits, Version, Weight};

/// Length of the span that processor time is given out for, the kernel's default: short enough
/// that an application at its limit still runs ten times a second.
const PERIOD_US: u64 = 100_000;
/// The kernel takes no smaller share of a span.
const SHORTEST_QUOTA_US: u64 = 1_000;

/// A file, what is written into it, and whether a host may lack it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: &'static str,
    pub(super) value: String,
    pub(super) optional: bool,
}

fn needed(file: &'static str, value: impl Into<String>) -> Setting {
    Setting {
        file,
        value: value.into(),
        optional: false,
    }
}

/// Absent where the kernel was built without swap, or counts none: then none is used.
fn if_there(file: &'static str, value: impl Into<String>) -> Setting {
    Setting {
        optional: true,
        ..needed(file, value)
    }
}

/// What to write for one controller.
pub(super) fn settings(
    controller: Controller,
    version: Version,
    limits: &Limits,
    disk: Option<Disk>,
) -> Vec<Setting> {
    match (controller, version) {
        (Controller::Memory, Version::One) => limits.memory_bytes.map_or_else(Vec::new, |bytes| {
            vec![
                needed("memory.limit_in_bytes", bytes.to_string()),
                // Memory and swap together: as much as memory alone. After the line above, since
                // it may never be the smaller one.
                if_there("memory.memsw.limit_in_bytes", bytes.to_string()),
                if_there("memory.swappiness", "0"),
            ]
        }),
        (Controller::Memory, Version::Two) => limits.memory_bytes.map_or_else(Vec::new, |bytes| {
            vec![
                needed("memory.max", bytes.to_string()),
                if_there("memory.swap.max", "0"),
                // All or none: half an application helps nobody.
                needed("memory.oom.group", u8::from(limits.ends_whole).to_string()),
            ]
        }),
        (Controller::Cpu, version) => cpu(version, limits),
        (Controller::Pids, _) => limits
            .processes
            .map(|most| vec![needed("pids.max", most.to_string())])
            .unwrap_or_default(),
        (Controller::Io, version) => match (limits.io_bytes_per_second, disk) {
            (Some(bytes), Some(disk)) => io(version, bytes, disk),
            _ => Vec::new(),
        },
    }
}

fn cpu(version: Version, limits: &Limits) -> Vec<Setting> {
    let mut settings = vec![match version {
        Version::One => needed("cpu.shares", limits.weight.shares().to_string()),
        Version::Two => needed("cpu.weight", limits.weight.weight().to_string()),
    }];
    if let Some(millis) = limits.cpu_millis {
        let quota = (u64::from(millis) * PERIOD_US / 1000).max(SHORTEST_QUOTA_US);
        match version {
            Version::One => {
                settings.push(needed("cpu.cfs_period_us", PERIOD_US.to_string()));
                settings.push(needed("cpu.cfs_quota_us", quota.to_string()));
            }
            Version::Two => settings.push(needed("cpu.max", format!("{quota} {PERIOD_US}"))),
        }
    }
    settings
}

fn io(version: Version, bytes: u64, disk: Disk) -> Vec<Setting> {
    let Disk { major, minor } = disk;
    match version {
        Version::One => vec![
            needed(
                "blkio.throttle.read_bps_device",
                format!("{major}:{minor} {bytes}"),
            ),
            needed(
                "blkio.throttle.write_bps_device",
                format!("{major}:{minor} {bytes}"),
            ),
        ],
        Version::Two => vec![needed(
            "io.max",
            format!("{major}:{minor} rbps={bytes} wbps={bytes}"),
        )],
    }
}

impl Weight {
    /// Against other groups when all want the processors; 100 is what everybody has by default.
    fn weight(self) -> u32 {
        match self {
            // Behind workers, which serve all applications, and behind the host's own services.
            Self::Application => 20,
            Self::Worker => 100,
            // All of ours together compete with single processes of the host, the agent among
            // them, where no service manager groups those.
            Self::Everything => 400,
        }
    }

    /// The same in version 1, whose default is 1024.
    fn shares(self) -> u32 {
        self.weight() * 1024 / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory_bytes: Some(64 << 20),
        cpu_millis: Some(1500),
        processes: Some(12),
        io_bytes_per_second: Some(50_000_000),
        weight: Weight::Application,
        ends_whole: true,
    };
    const DISK: Option<Disk> = Some(Disk {
        major: 254,
        minor: 0,
    });

    fn lines(version: Version, limits: &Limits, disk: Option<Disk>) -> Vec<String> {
        Controller::ALL
            .into_iter()
            .flat_map(|controller| settings(controller, version, limits, disk))
            .map(|setting| {
                let mark = if setting.optional { "?" } else { "" };
                format!("{}{mark}={}", setting.file, setting.value)
            })
            .collect()
    }

    #[test]
    fn limits_are_written_as_version_2_wants_them() {
        assert_eq!(
            lines(Version::Two, &LIMITS, DISK),
            [
                "memory.max=67108864",
                "memory.swap.max?=0",
                "memory.oom.group=1",
                "cpu.weight=20",
                "cpu.max=150000 100000",
                "pids.max=12",
                "io.max=254:0 rbps=50000000 wbps=50000000",
            ]
        );
    }

    #[test]
    fn limits_are_written_as_version_1_wants_them() {
        assert_eq!(
            lines(Version::One, &LIMITS, DISK),
            [
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes?=67108864",
                "memory.swappiness?=0",
                "cpu.shares=204",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=150000",
                "pids.max=12",
                "blkio.throttle.read_bps_device=254:0 50000000",
                "blkio.throttle.write_bps_device=254:0 50000000",
            ]
        );
    }

    #[test]
    fn what_has_no_limit_is_not_written() {
        let limits = Limits {
            memory_bytes: None,
            cpu_millis: None,
            processes: None,
            ..LIMITS
        };
        assert_eq!(lines(Version::Two, &limits, None), ["cpu.weight=20"]);
        let least = Limits {
            cpu_millis: Some(1),
            ..limits
        };
        assert_eq!(
            lines(Version::Two, &least, None),
            ["cpu.weight=20", "cpu.max=1000 100000"]
        );
    }
}
