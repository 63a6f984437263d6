//! The zones on this host: rules loaded, the camera namespace made or found again, ports moved.
//!
//! Owns the host's table and the camera namespace of one appliance, under a lock, for as long as
//! the launcher lives; both stay when it is killed. What the rules are is decided by
//! `parapet_sandbox::zones`, a pure function; this executes, with `nft` and `ip` by their full
//! paths and texts of our own. Order is security here: the host's table before anything else, the
//! camera namespace's table before a port moves in, and a port goes up last. What fails leaves
//! camera ports down and is a sentence in [`NetworkFound::missing`].

mod commands;
mod kept;
mod sysctl;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use parapet_sandbox::launch::{NetworkFound, Separation};
use parapet_sandbox::namespace::{self, Namespace};
use parapet_sandbox::spawn::Network;
use parapet_sandbox::zones::{self as rules, Level, Port, PortAddress};

use self::commands::Tools;
use self::kept::{Directory, Taken};
use crate::options::Options;
use crate::users;

/// Most addresses of one camera: a name may have several.
const MAX_ADDRESSES: usize = 16;

/// Why a zone is not as it was asked for.
#[derive(Debug, thiserror::Error)]
enum ZoneError {
    #[error(transparent)]
    Command(#[from] parapet_sandbox::programs::ProgramError),
    #[error(transparent)]
    Kept(#[from] kept::KeptError),
    #[error("{step}: {cause}")]
    Step {
        step: &'static str,
        cause: io::Error,
    },
    #[error("find the port {0}: plug it in, or correct `network.cameras`, and start again")]
    NoPort(Port),
    #[error(
        "use the port {0}: it has no address; set `network.camera_addresses`, since nothing is \
         asked for one on the cameras' side"
    )]
    NoAddress(Port),
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> ZoneError {
    move |cause| ZoneError::Step { step, cause }
}

/// The zones at work.
#[derive(Debug)]
pub(crate) struct Zones {
    found: NetworkFound,
    ruled: Option<Ruled>,
    /// Cameras were to have ports of their own and have none: nobody reaches a camera.
    shut: bool,
}

/// What there is when rules could be loaded.
#[derive(Debug)]
struct Ruled {
    zones: rules::Zones,
    tools: Tools,
    directory: Directory,
    cameras: Option<Namespace>,
    reached: BTreeMap<u32, Vec<SocketAddr>>,
    /// Users whose rules could not be taken away: they are given to nobody again.
    spent: BTreeSet<u32>,
}

impl Zones {
    /// Makes the zones that the options ask for, as far as this host allows.
    pub(crate) fn prepare(network: Option<rules::Ports>, run: &Path, id_base: u32) -> Self {
        let Some(ports) = network else {
            let mut missing = vec![OFF.to_owned()];
            // Rules that an earlier start has left would go on ruling.
            if Directory::is_there(run, id_base)
                && let Err(error) = remove(run, id_base)
            {
                missing.push(format!(
                    "removal of the zones of an earlier start: {error:#}"
                ));
            }
            return Self::flat(missing, false);
        };
        let separate = ports.level() == Level::Separated;
        let zones = rules::Zones {
            camera_networks: ports.camera_addresses.clone(),
            ports,
            users: rules::Users {
                agent: id_base,
                workers: id_base + 1,
                applications: id_base + users::RANGE,
                end: id_base + users::SPAN,
            },
        };
        let cameras = zones.ports.cameras.clone();
        let mut ruled = match Ruled::begin(zones, run) {
            Ok(ruled) => ruled,
            Err(error) => {
                let mut missing = vec![format!("separation of networks: failed to {error}")];
                if separate {
                    missing.extend(shut_all(&cameras));
                }
                return Self::flat(missing, separate);
            }
        };
        let mut missing = Vec::new();
        let mut shut = false;
        if separate {
            if let Err(error) = ruled.camera_zone(&mut missing) {
                shut = true;
                missing.push(format!("the camera zone: failed to {error}"));
                missing.extend(ruled.shut_cameras());
            }
        } else if let Err(error) = ruled.leave_camera_zone() {
            missing.push(format!(
                "the camera zone of an earlier start: failed to {error}"
            ));
        }
        let networks = match ruled.networks() {
            Ok(networks) => networks,
            Err(error) => {
                missing.push(format!("the addresses of camera ports: failed to {error}"));
                Vec::new()
            }
        };
        if separate && let Err(error) = ruled.tell_host(&networks) {
            missing.push(format!("rules about camera addresses: failed to {error}"));
        }
        let separated = ruled.cameras.is_some() && !shut && missing.is_empty();
        Self {
            found: NetworkFound {
                separation: if separated {
                    Separation::Separated
                } else {
                    Separation::Filtered
                },
                uplink: ruled.zones.ports.uplink.clone(),
                cameras,
                camera_networks: networks,
                missing,
            },
            ruled: Some(ruled),
            shut,
        }
    }

    /// An ordinary user's launcher has no say about the host's network.
    pub(crate) fn not_root(options: &Options) -> Self {
        let sentence = match options.network {
            None => OFF,
            Some(_) => {
                "separation of networks: only root may load rules, so nothing but each process's \
                 own restraint keeps cameras, applications and uplink apart; start Parapet as root"
            }
        };
        let own = |ports: &rules::Ports| ports.level() == Level::Separated;
        // Asked to keep cameras apart and unable to: they are not reached at all.
        let shut = options.network.as_ref().is_some_and(own);
        let mut missing = vec![sentence.to_owned()];
        if shut {
            missing.push(SHUT.to_owned());
        }
        Self::flat(missing, shut)
    }

    fn flat(missing: Vec<String>, shut: bool) -> Self {
        Self {
            found: NetworkFound::flat(missing),
            ruled: None,
            shut,
        }
    }

    /// No process gets a user or namespace: rules by user say nothing then.
    pub(crate) fn without_sandboxes(&mut self) {
        self.shut |= self.found.separation == Separation::Separated;
        self.found.separation = Separation::Flat;
        self.found.missing.push(
            "separation of networks: without sandboxes no rule can tell processes apart".to_owned(),
        );
    }

    /// What the agent is told.
    pub(crate) fn found(&self) -> &NetworkFound {
        &self.found
    }

    /// Where an ingest lives.
    pub(crate) fn network(&self) -> io::Result<Network> {
        if self.shut {
            return Ok(Network::None);
        }
        match self.ruled.as_ref().and_then(|ruled| ruled.cameras.as_ref()) {
            Some(cameras) => Ok(Network::Join(cameras.try_clone()?)),
            None => Ok(Network::Host),
        }
    }

    /// Users that must not be given out.
    pub(crate) fn spent(&self) -> impl Iterator<Item = u32> {
        self.ruled
            .iter()
            .flat_map(|ruled| ruled.spent.iter().copied())
    }

    /// Lets a user reach these addresses and no others. On failure it may still reach what it did.
    pub(crate) fn reach(&mut self, user: u32, addresses: &[SocketAddr]) -> Result<(), String> {
        if self.shut {
            return Err(format!("reach a camera: {SHUT}"));
        }
        if addresses.len() > MAX_ADDRESSES {
            return Err(format!(
                "reach a camera: it has more than {MAX_ADDRESSES} addresses"
            ));
        }
        match &mut self.ruled {
            Some(ruled) => ruled
                .reach(user, addresses)
                .map_err(|error| format!("reach a camera: failed to {error}")),
            None => Ok(()),
        }
    }

    /// A user has ended.
    pub(crate) fn forget(&mut self, user: u32) {
        let Some(ruled) = &mut self.ruled else { return };
        if ruled.reached.contains_key(&user) && ruled.reach(user, &[]).is_err() {
            ruled.spent.insert(user);
        }
    }
}

const OFF: &str = "separation of networks: switched off by `network.rules = false`; nothing but \
                   each process's own restraint keeps cameras, applications and uplink apart";
const SHUT: &str = "the camera zone is shut, since cameras were to have ports of their own and \
                    could not get them; see the sentences before";

/// Brings ports down that could not be given a zone; says what became of each.
fn shut_all(ports: &[Port]) -> Vec<String> {
    ports
        .iter()
        .map(|port| match namespace::shut(port) {
            Ok(()) => format!("camera port {port}: stays down, since its zone is not there"),
            Err(error) if error.raw_os_error() == Some(19) => {
                format!("camera port {port}: is not there")
            }
            Err(error) => format!(
                "camera port {port}: CANNOT BE BROUGHT DOWN ({error}); unplug it, or run \
                 `ip link set {port} down`"
            ),
        })
        .collect()
}

impl Ruled {
    /// Takes the lock and loads the host's table.
    fn begin(zones: rules::Zones, run: &Path) -> Result<Self, ZoneError> {
        let directory = Directory::open(run, zones.users.agent)?;
        let tools = Tools::find()?;
        tools.rules(&zones.host_rules())?;
        Ok(Self {
            zones,
            tools,
            directory,
            cameras: None,
            reached: BTreeMap::new(),
            spent: BTreeSet::new(),
        })
    }

    /// Makes or finds the camera namespace, closes it, and takes the ports in. A port that cannot
    /// be taken is a sentence; an error means that there is no zone.
    fn camera_zone(&mut self, missing: &mut Vec<String>) -> Result<(), ZoneError> {
        let path = self.directory.namespace();
        let home = Namespace::current().map_err(step("look at the host's network"))?;
        let cameras = match Namespace::open(&path).map_err(step("open the camera namespace"))? {
            Some(cameras) => cameras,
            None => Namespace::make(&path).map_err(step("make the camera namespace"))?,
        };
        if cameras
            .is(&home)
            .map_err(step("look at the camera namespace"))?
        {
            let same = io::Error::other("it is the host's own");
            return Err(step("use the camera namespace")(same));
        }
        let cameras = self.cameras.insert(cameras);
        let inside = cameras
            .visit()
            .map_err(step("enter the camera namespace"))?;
        sysctl::close().map_err(step("set the camera namespace's sysctls"))?;
        self.tools.rules(&self.zones.camera_rules())?;
        self.tools.raise("lo")?;
        let there = namespace::ports().map_err(step("list the camera namespace's ports"))?;
        drop(inside);

        let wanted = self.zones.ports.cameras.clone();
        for port in there.iter().filter(|port| !wanted.contains(port)) {
            if let Err(error) = self.give_back(port) {
                missing.push(format!(
                    "port {port} of an earlier start: failed to {error}"
                ));
            }
        }
        for port in &wanted {
            let taken = if there.contains(port) {
                self.furnish(port, Vec::new())
            } else {
                self.take(port)
            };
            if let Err(error) = taken {
                missing.push(format!(
                    "camera port {port}: failed to {error}; it stays down"
                ));
                self.shut(port);
            }
        }
        Ok(())
    }

    /// Moves a port of the host into the camera namespace.
    fn take(&self, port: &Port) -> Result<(), ZoneError> {
        let mut taken = Taken::default();
        if !namespace::ports()
            .map_err(step("list the host's ports"))?
            .contains(port)
        {
            let (parent, number) = port.vlan().ok_or_else(|| ZoneError::NoPort(port.clone()))?;
            self.tools.make_vlan(&parent, port, number)?;
            taken.made = true;
        }
        taken.addresses = self.tools.addresses(Some(port))?;
        taken.up = self.tools.is_up(port)?;
        // Written first: whoever is killed after the next line can still give it back.
        self.directory.remember(port, &taken)?;
        namespace::shut(port).map_err(step("bring the port down"))?;
        self.tools.move_to(port, &self.directory.namespace())?;
        self.furnish(port, taken.addresses)
    }

    /// Gives a port in the camera namespace its addresses and brings it up.
    fn furnish(&self, port: &Port, had: Vec<PortAddress>) -> Result<(), ZoneError> {
        let _inside = self.enter()?;
        let has = self.tools.addresses(Some(port))?;
        let mut wanted = self.zones.ports.addresses_of(port);
        if wanted.is_empty() {
            wanted = if has.is_empty() { had } else { has.clone() };
        }
        if wanted.is_empty() {
            wanted = self.directory.recall(port)?.addresses;
        }
        if wanted.is_empty() {
            return Err(ZoneError::NoAddress(port.clone()));
        }
        let six = wanted.iter().any(|address| address.address.is_ipv6());
        sysctl::close_port(port, six).map_err(step("set the port's sysctls"))?;
        let plain =
            |list: &[PortAddress]| list.iter().map(PortAddress::plain).collect::<BTreeSet<_>>();
        let (has, wanted) = (plain(&has), plain(&wanted));
        for address in has.difference(&wanted) {
            self.tools.address("delete", address, port)?;
        }
        for address in wanted.difference(&has) {
            self.tools.address("replace", address, port)?;
        }
        Ok(self.tools.raise(port.as_str())?)
    }

    /// Brings a port down wherever it is.
    fn shut(&self, port: &Port) {
        // Where it is not there it cannot be up.
        let _ = namespace::shut(port);
        if let Ok(_inside) = self.enter() {
            let _ = namespace::shut(port);
        }
    }

    fn shut_cameras(&self) -> Vec<String> {
        let mut said = shut_all(&self.zones.ports.cameras);
        if let Some(Ok(_inside)) = self.cameras.as_ref().map(Namespace::visit) {
            for port in namespace::ports().unwrap_or_default() {
                said.extend(shut_all(&[port]));
            }
        }
        said
    }

    fn enter(&self) -> Result<Option<namespace::Visit>, ZoneError> {
        let visit = self.cameras.as_ref().map(Namespace::visit).transpose();
        visit.map_err(step("enter the camera namespace"))
    }

    /// Moves a port back and restores what it had.
    fn give_back(&self, port: &Port) -> Result<(), ZoneError> {
        let taken = self.directory.recall(port)?;
        let home = Namespace::current().map_err(step("look at the host's network"))?;
        let inside = self.enter()?;
        if taken.made {
            self.tools.delete(port)?;
            drop(inside);
        } else {
            namespace::shut(port).map_err(step("bring the port down"))?;
            self.tools.move_to(port, &commands::path_of(&home))?;
            drop(inside);
            for address in &taken.addresses {
                self.tools.address("replace", &address.plain(), port)?;
            }
            if taken.up {
                self.tools.raise(port.as_str())?;
            }
        }
        Ok(self.directory.forget(port)?)
    }

    /// Empties and ends the camera namespace, where there is one.
    fn leave_camera_zone(&mut self) -> Result<(), ZoneError> {
        let path = self.directory.namespace();
        self.cameras = Namespace::open(&path).map_err(step("open the camera namespace"))?;
        if self.cameras.is_some() {
            let inside = self.enter()?;
            let ports = namespace::ports().map_err(step("list the camera namespace's ports"))?;
            drop(inside);
            for port in ports {
                self.give_back(&port)?;
            }
        }
        self.cameras = None;
        Namespace::release(&path).map_err(step("let go of the camera namespace"))
    }

    /// The networks that camera ports have an address in.
    fn networks(&self) -> Result<Vec<PortAddress>, ZoneError> {
        if self.cameras.is_none() {
            return Ok(Vec::new());
        }
        let _inside = self.enter()?;
        Ok(self.tools.addresses(None)?)
    }

    /// Tells the host's table of the cameras' networks, but for those that the host is in as well.
    fn tell_host(&mut self, networks: &[PortAddress]) -> Result<(), ZoneError> {
        let host = self.tools.addresses(None)?;
        let foreign = |network: &&PortAddress| {
            let shared =
                |own: &PortAddress| network.holds(own.address) || own.holds(network.address);
            !host.iter().any(shared)
        };
        self.zones.camera_networks = networks.iter().filter(foreign).cloned().collect();
        Ok(self.tools.rules(&self.zones.host_rules())?)
    }

    fn reach(&mut self, user: u32, addresses: &[SocketAddr]) -> Result<(), ZoneError> {
        let old = self.reached.get(&user).cloned().unwrap_or_default();
        let (old_hosts, new_hosts) = (self.hosts(user, &old), self.hosts(user, addresses));
        let change = self
            .zones
            .reach(user, &old, addresses, &old_hosts, &new_hosts);
        if !change.is_empty() {
            let _inside = self.enter()?;
            self.tools.rules(&change)?;
        }
        if addresses.is_empty() {
            self.reached.remove(&user);
        } else {
            self.reached.insert(user, addresses.to_vec());
        }
        Ok(())
    }

    /// All cameras that share the host's namespace, were `user` to reach `addresses`.
    fn hosts(&self, user: u32, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        if self.cameras.is_some() {
            return Vec::new();
        }
        let others = self.reached.iter().filter(|(other, _)| **other != user);
        others
            .flat_map(|(_, addresses)| addresses)
            .chain(addresses)
            .filter(|address| !address.ip().to_canonical().is_loopback())
            .copied()
            .collect()
    }
}

/// Loads rules and camera namespace for an appliance that is yet to start, and leaves them: at boot,
/// before ports come up. A port that is not there yet is taken when the appliance starts.
pub(crate) fn load(network: Option<rules::Ports>, run: &Path, id_base: u32) -> anyhow::Result<()> {
    let wanted = network.is_some();
    let zones = Zones::prepare(network, run, id_base);
    for sentence in &zones.found.missing {
        eprintln!("parapet-launcher: {sentence}");
    }
    anyhow::ensure!(
        !wanted || (zones.ruled.is_some() && !zones.shut),
        "load the zones: no camera is reached until they are"
    );
    Ok(())
}

/// Takes away what an appliance that does not run has left.
pub(crate) fn remove(run: &Path, id_base: u32) -> anyhow::Result<()> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "remove the zones: only root may; start this as root"
    );
    let zones = rules::Zones {
        ports: rules::Ports::default(),
        users: rules::Users {
            agent: id_base,
            workers: id_base + 1,
            applications: id_base + users::RANGE,
            end: id_base + users::SPAN,
        },
        camera_networks: Vec::new(),
    };
    let mut ruled = Ruled {
        directory: Directory::open(run, id_base)?,
        tools: Tools::find()?,
        zones,
        cameras: None,
        reached: BTreeMap::new(),
        spent: BTreeSet::new(),
    };
    // Ports come back down-to-up one by one, while the rules still hold; then the rules go.
    ruled.leave_camera_zone()?;
    ruled.tools.rules(&rules::removal(id_base))?;
    ruled.directory.remove().context("remove the zones")
}
