//! What an application may use: the device's defaults, and what its own policy says instead.
//!
//! Pure, but for [`Defaults::of_this_machine`]. `docs/limits.md` tells the operator.

use std::fmt;
use std::str::FromStr;

use parapet_device::confinement::ResourceLimits;
use parapet_sandbox::launch::Resources;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use thiserror::Error;

/// An application of Panorama is a Python process with a handful of threads; libraries start one a
/// core and more.
const PROCESSES: u32 = 512;
/// Of storage and logs together. Enough for a day's clips, and little beside any disk.
const STORAGE_BYTES: u64 = 10 << 30;
/// Memory where the machine's is unknown.
const MEMORY_BYTES: u64 = 1 << 30;

/// Limits of an application whose policy says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// Memory.
    pub memory_bytes: u64,
    /// Thousandths of a processor.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub processes: u32,
    /// Bytes a second from the disk and to it, each.
    pub io_bytes_per_second: Option<u64>,
    /// Storage and logs of an instance.
    pub storage_bytes: u64,
}

/// The keys of `[limits]` that are about applications.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Configured {
    pub(crate) memory: Option<Size>,
    pub(crate) cpus: Option<Cpus>,
    pub(crate) processes: Option<u32>,
    pub(crate) io: Option<Size>,
    pub(crate) storage: Option<Size>,
}

/// What applies to one application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) resources: Resources,
    pub(crate) storage_bytes: u64,
}

impl Defaults {
    /// Half of the memory, and all processors but a quarter: one application cannot take all, and
    /// one with the machine to itself is hardly slowed down.
    pub(crate) fn of_this_machine() -> Self {
        let info = rustix::system::sysinfo();
        #[expect(clippy::useless_conversion, reason = "32 bits on some machines")]
        let memory = u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit));
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u32;
        Self::of(memory, cores)
    }

    fn of(memory: u64, cores: u32) -> Self {
        Self {
            memory_bytes: if memory == 0 {
                MEMORY_BYTES
            } else {
                memory / 2
            },
            cpu_millis: (cores * 750).max(1000),
            processes: PROCESSES,
            io_bytes_per_second: None,
            storage_bytes: STORAGE_BYTES,
        }
    }

    pub(crate) fn with(self, configured: Configured) -> Self {
        let size = |size: Option<Size>| size.map(|Size(bytes)| bytes);
        Self {
            memory_bytes: size(configured.memory).unwrap_or(self.memory_bytes),
            cpu_millis: configured
                .cpus
                .map_or(self.cpu_millis, |Cpus(millis)| millis),
            processes: configured.processes.unwrap_or(self.processes),
            io_bytes_per_second: size(configured.io).or(self.io_bytes_per_second),
            storage_bytes: size(configured.storage).unwrap_or(self.storage_bytes),
        }
    }

    /// An application's own limits where it has them.
    pub(crate) fn merge(self, own: ResourceLimits) -> Effective {
        Effective {
            resources: Resources {
                memory_bytes: own.memory_bytes.unwrap_or(self.memory_bytes),
                cpu_millis: own.cpu_millis.unwrap_or(self.cpu_millis),
                processes: own.processes.unwrap_or(self.processes),
                io_bytes_per_second: own.io_bytes_per_second.or(self.io_bytes_per_second),
            },
            storage_bytes: own.storage_bytes.unwrap_or(self.storage_bytes),
        }
    }
}

/// A text that is no size, or no number of processors.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ValueError {
    /// No size.
    #[error(
        "{0:?} is no size; write a number and B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, such as \
         \"512MiB\""
    )]
    Size(String),
    /// No number of processors.
    #[error("{0} is no number of processors; write one from 0.01 to 1000, such as 1.5")]
    Cpus(String),
}

/// A size for people: `512MiB`, `1.5GB`, or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = || ValueError::Size(text.chars().take(40).collect());
        let digits = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim_start() {
            "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(refused()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return Ok(Self(whole.checked_mul(factor).ok_or_else(refused)?));
        }
        // With a point: exact enough for a limit, and far below where floats lose whole bytes.
        let bytes = number.parse::<f64>().map_err(|_| refused())? * factor as f64;
        if (0.0..1e15).contains(&bytes) {
            Ok(Self(bytes as u64))
        } else {
            Err(refused())
        }
    }
}

/// A number of processors, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus(pub u32);

impl Cpus {
    fn parse(number: f64) -> Result<Self, ValueError> {
        if (0.01..=1000.0).contains(&number) {
            Ok(Self((number * 1000.0).round() as u32))
        } else {
            Err(ValueError::Cpus(number.to_string()))
        }
    }
}

impl FromStr for Cpus {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number = text.parse();
        Self::parse(number.map_err(|_| ValueError::Cpus(text.chars().take(40).collect()))?)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"512MiB\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
        u64::try_from(bytes)
            .map(Size)
            .map_err(|_| E::custom(ValueError::Size(bytes.to_string())))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct CpusVisitor;

impl Visitor<'_> for CpusVisitor {
    type Value = Cpus;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of processors such as 1.5")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Cpus, E> {
        Cpus::parse(number as f64).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Cpus, E> {
        Cpus::parse(number).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CpusVisitor)
    }
}

/// Bytes for people, in the unit that leaves a short number.
#[must_use]
pub fn human(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        if bytes >= 1 << shift {
            let tenths = bytes * 10 / (1 << shift);
            return match tenths % 10 {
                0 => format!("{} {unit}", tenths / 10),
                rest => format!("{}.{rest} {unit}", tenths / 10),
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("512MiB", 512 << 20),
            ("2 GiB", 2 << 30),
            ("1.5GB", 1_500_000_000),
            ("50MB", 50_000_000),
            ("0B", 0),
        ] {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
        for wrong in [
            "",
            "512",
            "MiB",
            "-1MB",
            "1.2.3MB",
            "1e3MB",
            "99999999999TB",
            "1.9e9TB",
        ] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn processors_are_numbers() {
        assert_eq!(Cpus::parse(1.5), Ok(Cpus(1500)));
        for wrong in [0.0, -1.0, 0.001, 1001.0, f64::NAN, f64::INFINITY] {
            assert!(Cpus::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_applications_own_limits_win_one_by_one() {
        let defaults = Defaults::of(8 << 30, 2);
        assert_eq!(
            (defaults.memory_bytes, defaults.cpu_millis),
            (4 << 30, 1500)
        );
        let own = ResourceLimits {
            processes: Some(7),
            storage_bytes: Some(1),
            ..ResourceLimits::default()
        };
        let effective = defaults.merge(own);
        assert_eq!(effective.resources.processes, 7);
        assert_eq!(effective.resources.memory_bytes, 4 << 30);
        assert_eq!(effective.storage_bytes, 1);
        let nothing = defaults.merge(ResourceLimits::default());
        assert_eq!(nothing.resources.processes, PROCESSES);
    }

    #[test]
    fn bytes_are_told_shortly() {
        assert_eq!(human(512 << 20), "512 MiB");
        assert_eq!(human(3 << 29), "1.5 GiB");
        assert_eq!(human(900), "900 bytes");
    }
}
