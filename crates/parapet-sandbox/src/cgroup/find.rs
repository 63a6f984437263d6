//! Where this host keeps its control groups: one hierarchy for all (version 2), one for each
//! controller (version 1), or both at once (hybrid).
//!
//! Pure: reads texts of `/proc` that the caller hands in. A controller belongs to exactly one
//! hierarchy at a time, so that where version 1 has it, version 2 lacks it
//! (`Documentation/admin-guide/cgroup-v2.rst`, "Mounting").

use std::fmt;
use std::path::{Path, PathBuf};

/// Name of the group that a service manager puts the launcher into, so that the group above it is
/// ours to divide (`DelegateSubgroup=` of systemd).
const OWN_LEAF: &str = "launcher";

/// What limits something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Memory, swap included.
    Memory,
    /// Processor time.
    Cpu,
    /// Processes and threads.
    Pids,
    /// Bytes to and from a disk.
    Io,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Cpu, Self::Pids, Self::Io];

    fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Memory, _) => "memory",
            (Self::Cpu, _) => "cpu",
            (Self::Pids, _) => "pids",
            (Self::Io, Version::One) => "blkio",
            (Self::Io, Version::Two) => "io",
        }
    }

    /// As version 2 names it.
    #[must_use]
    pub fn modern_name(self) -> &'static str {
        self.name(Version::Two)
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Cpu => "processor time",
            Self::Pids => "processes",
            Self::Io => "disk traffic",
        })
    }
}

/// Of the interface: its files differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for some controllers.
    One,
    /// The one hierarchy of version 2.
    Two,
}

/// A hierarchy that has something we need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it is mounted.
    pub(super) place: PathBuf,
    /// The group that ours are made in.
    pub(super) base: PathBuf,
    pub(super) version: Version,
    pub(super) controllers: Vec<Controller>,
}

/// All hierarchies with a controller of ours. `own` is `/proc/self/cgroup`; `offered` gives
/// `cgroup.controllers` of a group of version 2.
pub(super) fn hierarchies(
    mountinfo: &str,
    own: &str,
    offered: impl Fn(&Path) -> String,
) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for mount in places_of(mountinfo) {
        let (base, names) = match mount.version {
            Version::One => (PathBuf::from(mount.place), mount.options.to_owned()),
            Version::Two => {
                let base = base_of_two(&mount, own);
                let names = offered(&base);
                (base, names)
            }
        };
        let controllers: Vec<Controller> = Controller::ALL
            .into_iter()
            .filter(|controller| {
                let taken = found.iter().any(|f| f.controllers.contains(controller));
                let name = controller.name(mount.version);
                !taken && names.split([',', ' ', '\n']).any(|other| other == name)
            })
            .collect();
        if !controllers.is_empty() {
            found.push(Found {
                place: PathBuf::from(mount.place),
                base,
                version: mount.version,
                controllers,
            });
        }
    }
    found
}

/// The hierarchy of version 1 that says who may use which device, if there is one beside all others.
pub(super) fn devices(mountinfo: &str) -> Option<PathBuf> {
    places_of(mountinfo)
        .find(|mount| mount.version == Version::One && mount.options.split(',').any(is_devices))
        .map(|mount| PathBuf::from(mount.place))
}

fn is_devices(option: &str) -> bool {
    option == "devices"
}

/// Where hierarchies are mounted, the last one first.
pub(super) fn places(mountinfo: &str) -> Vec<PathBuf> {
    let places: Vec<_> = places_of(mountinfo)
        .map(|mount| PathBuf::from(mount.place))
        .collect();
    places.into_iter().rev().collect()
}

fn places_of(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.lines().filter_map(Mount::parse)
}

/// Our group is made in the mount's root, where every start of the launcher finds what an earlier
/// one has left; or in the group that a service manager has handed to us.
fn base_of_two(mount: &Mount<'_>, own: &str) -> PathBuf {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let delegated = path.and_then(|path| {
        let path = Path::new(path);
        let ours = path.file_name().is_some_and(|name| name == OWN_LEAF);
        (ours && mount.root == "/").then(|| path.parent().unwrap_or(Path::new("")))
    });
    match delegated {
        Some(path) => Path::new(mount.place).join(path),
        None => PathBuf::from(mount.place),
    }
}

struct Mount<'a> {
    root: &'a str,
    place: &'a str,
    version: Version,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [TAGS] - TYPE SOURCE OPTIONS` (proc(5)).
    fn parse(line: &'a str) -> Option<Self> {
        let (place, file_system) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, place) = (place.next()?, place.next()?);
        let mut file_system = file_system.split(' ');
        let version = match file_system.next()? {
            "cgroup" => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        Some(Self {
            root,
            place,
            version,
            options: file_system.nth(1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
34 30 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
35 30 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
36 30 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
    const UNIFIED: &str = "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

    fn bases(found: &[Found]) -> Vec<(&str, Version, &[Controller])> {
        found
            .iter()
            .map(|f| (f.base.to_str().unwrap(), f.version, &f.controllers[..]))
            .collect()
    }

    #[test]
    fn on_a_hybrid_host_each_controller_is_taken_where_it_is() {
        let found = hierarchies(HYBRID, "0::/\n", |_| "hugetlb\n".to_owned());
        let expected: [(&str, Version, &[Controller]); 4] = [
            ("/sys/fs/cgroup/cpu", Version::One, &[Controller::Cpu]),
            ("/sys/fs/cgroup/memory", Version::One, &[Controller::Memory]),
            ("/sys/fs/cgroup/blkio", Version::One, &[Controller::Io]),
            ("/sys/fs/cgroup/pids", Version::One, &[Controller::Pids]),
        ];
        assert_eq!(bases(&found), expected);
    }

    #[test]
    fn on_a_modern_host_all_are_in_one() {
        let offered = |_: &Path| "cpuset cpu io memory hugetlb pids\n".to_owned();
        let found = hierarchies(UNIFIED, "0::/user.slice/x\n", offered);
        let all = Controller::ALL;
        assert_eq!(bases(&found), [("/sys/fs/cgroup", Version::Two, &all[..])]);
    }

    #[test]
    fn a_group_that_a_service_manager_hands_over_is_used() {
        let own = "0::/system.slice/parapet-launcher.service/launcher\n";
        let found = hierarchies(UNIFIED, own, |base| {
            assert_eq!(
                base,
                Path::new("/sys/fs/cgroup/system.slice/parapet-launcher.service")
            );
            "memory pids".to_owned()
        });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].controllers, [Controller::Memory, Controller::Pids]);
    }

    #[test]
    fn every_hierarchy_is_found_for_a_runtime_that_shall_see_ours_alone() {
        let devices_too = format!("{HYBRID}37 30 0:33 / /d rw - cgroup cgroup rw,devices\n");
        assert_eq!(places(&devices_too).len(), 7);
        assert_eq!(devices(&devices_too), Some("/d".into()));
        assert_eq!(devices(HYBRID), None);
        assert_eq!(places(UNIFIED), [PathBuf::from("/sys/fs/cgroup")]);
    }

    #[test]
    fn a_host_without_groups_has_none() {
        let plain = "22 1 254:0 / / rw - ext4 /dev/vda rw\nnonsense\n";
        assert_eq!(hierarchies(plain, "", |_| String::new()), []);
    }
}
