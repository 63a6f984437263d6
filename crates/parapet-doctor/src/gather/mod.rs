//! Finding the facts: reads files, asks `ip`, `nft` and `apt-get`, and tries connections.
//!
//! Never changes anything, has a limit on every wait and every size, and needs neither root nor a
//! running agent: what it then cannot know is an [`Unknown`] that says so.

mod cameras;
mod data;
mod host;
mod processes;
mod reach;
mod read;
mod sockets;
mod software;
mod space;

use std::fs::File;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parapet_agent::{Config, KeySettings, RTSP_PORT, RTSPS_PORT, examine};
use parapet_device::{DesiredDocument, SecretId};
use parapet_sandbox::examine::{Vantage, clock_state, look_from};
use parapet_sandbox::failure::with_causes;
use parapet_sandbox::launcher_process::ID_BASE;

use crate::facts::{
    Agent, AgentStatus, Camera, Clock, Facts, Identity, Inbound, Known, Network, Outcome, Reach,
    Space, Target, Unknown, Validity,
};
use crate::report::{plain, plain_to};

/// For looking a name up.
const NAME_LIMIT: Duration = Duration::from_secs(4);
/// For the control plane's answer.
const PLANE_LIMIT: Duration = Duration::from_secs(8);
/// Most cameras that are asked.
const MOST_CAMERAS: usize = 64;
/// Most ports of the host that are tried from inside zones.
const MOST_PORTS: usize = 16;
/// A port that nobody listens at (discard): its refusal shows that the way is open.
const CLOSED_PORT: u16 = 9;

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// State directory of an appliance.
    pub data: Option<PathBuf>,
    /// Its configuration file.
    pub config: Option<PathBuf>,
    /// How many well-known passwords are tried on each camera; none at all without.
    pub password_attempts: Option<usize>,
}

/// A camera's URL, taken apart.
struct Wanted {
    name: String,
    scheme: String,
    host: String,
    port: u16,
    url: String,
    secret: Option<SecretId>,
}

/// Looks at everything.
#[must_use]
pub fn facts(options: &Options) -> Facts {
    let is_root = rustix::process::geteuid().is_root();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let (configuration, id_base, settings) = configuration(options);
    let not_named = || Unknown::because("no state directory was named: give it with --data");
    let data = options.data.as_deref().ok_or_else(not_named);

    let status = data.clone().and_then(|data| {
        examine::status(data).map_err(|error| Unknown::because(with_causes(&error)))
    });
    let agent_pid = status.as_ref().ok().and_then(|s| s.as_ref().map(|s| s.pid));
    let is_running = agent_pid.is_some_and(|pid| Path::new("/proc").join(pid.to_string()).exists());
    let status: Known<Option<AgentStatus>> =
        status.map(|status| status.map(|status| agent_status(status, is_running)));
    let desired = data.clone().and_then(|data| {
        examine::desired(data).map_err(|error| Unknown::because(with_causes(&error)))
    });
    let enrolled = data.clone().and_then(|data| {
        examine::enrolled(data).map_err(|error| Unknown::because(with_causes(&error)))
    });
    let wanted = desired
        .as_ref()
        .map(|d| d.as_ref().map(wanted).unwrap_or_default());
    let wanted = wanted.map_err(Clone::clone);

    let (own_table, zone) = names(id_base);
    let zone = camera_zone(&zone);
    let owners = sockets::owners();
    let network = Network {
        host: space::space(&own_table, &owners),
        cameras: zone.as_ref().map_err(Clone::clone).and_then(|zone| {
            let Some(zone) = zone else { return Ok(None) };
            if !is_root {
                return Err(Unknown::because(
                    "only root can look into the camera zone: start the doctor as root",
                ));
            }
            inside(zone, || space::space(&own_table, &owners)).map(Some)
        }),
        processes: processes::processes(
            id_base,
            agent_pid.filter(|_| is_running),
            zone.as_ref()
                .ok()
                .and_then(|zone| zone.as_ref())
                .and_then(number_of),
        ),
    };

    let mut targets = Vec::new();
    let mut addresses = Vec::new();
    for camera in wanted.iter().flatten() {
        let found = resolve(&camera.host, camera.port);
        if let Ok(address) = &found {
            targets.push((Target::Camera, *address));
        }
        addresses.push(found);
    }
    targets.extend(appliance(&network.host));
    let endpoint = enrolled
        .as_ref()
        .ok()
        .and_then(|e| e.as_ref())
        .map(|e| e.config.endpoint.clone());
    if let Some(address) = endpoint.as_deref().and_then(place_of) {
        targets
            .extend(resolve(&address.0, address.1).map(|address| (Target::ControlPlane, address)));
    }
    for metadata in reach::METADATA {
        targets.extend(metadata.parse().map(|address| (Target::Metadata, address)));
    }
    targets.truncate(reach::MOST_TARGETS);
    let privileged = matches!(&status, Ok(Some(status)) if status.privileged);
    let reach = reach::Plan {
        targets,
        is_root,
        id_base,
        privileged,
        cameras: &zone,
        processes: &network.processes,
    }
    .run();

    // Once: a TPM takes its time.
    let keys = data.clone().and_then(|data| {
        examine::keys(data, &settings)
            .map_err(|error| Unknown::because(plain_to(&with_causes(&error), 600)))
    });
    let cameras = wanted
        .map(|wanted| ask_cameras(options, &keys, &wanted, &addresses, &reach, &network, &zone));
    let before_control_plane = data
        .clone()
        .and_then(|data| clock_difference(data, keys?.as_ref()));
    Facts {
        now,
        is_root,
        agent: Agent {
            configuration,
            status,
            identity: enrolled.map(|enrolled| enrolled.map(identity)),
            inbound: desired.map(|desired| desired.map(|d| inbound(&d)).unwrap_or_default()),
        },
        network,
        reach,
        cameras,
        clock: Clock {
            synchronised: clock_state()
                .map(|state| state.synchronised)
                .map_err(|error| Unknown::because(format!("the kernel does not tell: {error}"))),
            before_control_plane,
        },
        software: software::software(),
        data: match data {
            Ok(directory) => data::data(directory, privileged.then_some(id_base)),
            Err(_) => data::not_named(),
        },
        host: host::host(),
    }
}

/// Whether the configuration can be used, the first user that it gives out, and how keys are kept.
fn configuration(options: &Options) -> (Known<Option<String>>, u32, KeySettings) {
    let Some(file) = &options.config else {
        let unknown = Unknown::because("no configuration was named: give it with --config");
        return (Err(unknown), ID_BASE, KeySettings::default());
    };
    let data = options.data.clone().unwrap_or_else(|| PathBuf::from("."));
    match Config::load(&data, Some(file), None, None) {
        Ok(config) => (Ok(None), config.id_base, config.keys),
        Err(error) => (
            Ok(Some(plain_to(&with_causes(&error), 600))),
            ID_BASE,
            KeySettings::default(),
        ),
    }
}

fn agent_status(status: parapet_agent::Status, is_running: bool) -> AgentStatus {
    let network = status.reported.network;
    AgentStatus {
        is_running,
        privileged: status.privileged,
        separation: network.as_ref().map(|network| network.separation),
        uplink: network
            .as_ref()
            .map(|n| n.uplink.clone())
            .unwrap_or_default(),
        cameras: network.map(|network| network.cameras).unwrap_or_default(),
        missing: status
            .missing
            .iter()
            .map(|missing| plain_to(missing, 600))
            .collect(),
        applications: plain_to(&status.applications, 600),
    }
}

fn identity(enrolled: examine::Enrolled) -> Identity {
    let validity = |(not_before, not_after)| Validity {
        not_before,
        not_after,
    };
    Identity {
        certificate: validity(enrolled.certificate),
        authorities: enrolled.authorities.into_iter().map(validity).collect(),
    }
}

fn inbound(desired: &DesiredDocument) -> Vec<Inbound> {
    let mut all = Vec::new();
    for instance in &desired.instances {
        for application in &instance.applications {
            all.extend(application.confinement.ports.iter().map(|port| Inbound {
                port: port.host,
                instance: plain(&instance.name),
                has_sources: !port.sources.is_empty(),
                has_tls: port.tls.is_some(),
            }));
        }
    }
    all
}

/// The cameras that a document names, each once.
fn wanted(desired: &DesiredDocument) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for camera in desired
        .instances
        .iter()
        .flat_map(|instance| &instance.cameras)
    {
        let Ok(url) = url::Url::parse(&camera.url) else {
            continue;
        };
        let host = url
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        if host.is_empty() || all.iter().any(|known| known.url == camera.url) {
            continue;
        }
        let usual = if url.scheme() == "rtsps" {
            RTSPS_PORT
        } else {
            RTSP_PORT
        };
        all.push(Wanted {
            name: plain(&camera.stream),
            scheme: plain(url.scheme()),
            host,
            port: url.port().unwrap_or(usual),
            url: camera.url.clone(),
            secret: camera.secret.as_ref().map(|secret| secret.id.clone()),
        });
        if all.len() == MOST_CAMERAS {
            break;
        }
    }
    all
}

/// Names that the launcher gives its table and the camera zone of this installation.
fn names(id_base: u32) -> (String, PathBuf) {
    (
        format!("parapet_{id_base:08x}"),
        PathBuf::from(format!("/run/parapet/{id_base:08x}/cameras")),
    )
}

/// The camera zone's handle; `None` when there is none.
fn camera_zone(path: &Path) -> Known<Option<File>> {
    match File::open(path) {
        Ok(zone) => Ok(Some(zone)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Unknown::because(format!(
            "the camera zone {} cannot be opened (start the doctor as root): {error}",
            path.display()
        ))),
    }
}

fn number_of(zone: &File) -> Option<u64> {
    use std::os::linux::fs::MetadataExt;
    zone.metadata().ok().map(|metadata| metadata.st_ino())
}

fn inside<T: Send>(zone: &File, look: impl FnOnce() -> T + Send) -> Known<T> {
    let vantage = Vantage {
        network: Some(zone.as_fd()),
        user: None,
    };
    look_from(vantage, look)
        .map_err(|error| Unknown::because(format!("the camera zone cannot be entered: {error}")))
}

/// The first address of a host, within a limit: a name server that does not answer holds nobody.
fn resolve(host: &str, port: u16) -> Known<SocketAddr> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let name = host.to_owned();
    std::thread::spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs();
        // Nobody may be waiting any more.
        let _ = sender.send(found.map(|mut all| all.next()));
    });
    match receiver.recv_timeout(NAME_LIMIT) {
        Ok(Ok(Some(address))) => Ok(address),
        Ok(Ok(None)) => Err(Unknown::because(format!("{} has no address", plain(host)))),
        Ok(Err(error)) => Err(Unknown::because(format!(
            "{} cannot be looked up: {error}",
            plain(host)
        ))),
        Err(_) => Err(Unknown::because(format!(
            "{} was not looked up within {} s",
            plain(host),
            NAME_LIMIT.as_secs()
        ))),
    }
}

fn place_of(url: &str) -> Option<(String, u16)> {
    let url = url::Url::parse(url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    Some((host, url.port_or_known_default()?))
}

/// The appliance's own addresses, each with the ports that wait there and one that nobody waits at.
fn appliance(host: &Space) -> Vec<(Target, SocketAddr)> {
    let mut targets = Vec::new();
    let addresses = host
        .interfaces
        .iter()
        .flatten()
        .flat_map(|i| &i.addresses)
        .copied();
    for address in addresses
        .filter(|address| reach::is_outside(*address))
        .take(4)
    {
        targets.push((Target::Appliance, SocketAddr::new(address, CLOSED_PORT)));
        let ports = host
            .listeners
            .iter()
            .flatten()
            .filter(|listener| listener.protocol == crate::facts::Protocol::Tcp)
            .filter(|listener| {
                let own = listener.address.ip();
                own.is_unspecified() || own == address
            })
            .map(|listener| listener.address.port());
        targets.extend(
            ports
                .take(MOST_PORTS)
                .map(|port| (Target::Appliance, SocketAddr::new(address, port))),
        );
    }
    targets.sort();
    targets.dedup();
    targets
}

/// Asks each camera, from where it was reached a moment ago.
fn ask_cameras(
    options: &Options,
    keys: &Known<Option<examine::Keys>>,
    wanted: &[Wanted],
    addresses: &[Known<SocketAddr>],
    reach: &Reach,
    network: &Network,
    zone: &Known<Option<File>>,
) -> Vec<Camera> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = wanted
            .iter()
            .zip(addresses)
            .map(|(camera, address)| {
                scope.spawn(move || ask_camera(options, camera, address, reach, network, zone))
            })
            .collect();
        wanted
            .iter()
            .zip(asking)
            .map(|(camera, asking)| {
                let told = asking.join().unwrap_or_else(|_| cameras::Told {
                    passwords: Err(Unknown::because("the question ended early")),
                    server: None,
                });
                Camera {
                    name: camera.name.clone(),
                    scheme: camera.scheme.clone(),
                    place: plain(&format!("{}:{}", camera.host, camera.port)),
                    passwords: told.passwords,
                    uses_well_known: uses_well_known(keys, camera),
                    server: told.server,
                }
            })
            .collect()
    })
}

/// Looks at the stored password; the camera is not asked.
fn uses_well_known(keys: &Known<Option<examine::Keys>>, camera: &Wanted) -> Known<Option<bool>> {
    let Some(secret) = &camera.secret else {
        return Ok(None);
    };
    let keys = keys.as_ref().map_err(Clone::clone)?;
    Ok(examine::password_is_one_of(
        keys.as_ref(),
        secret,
        &cameras::WELL_KNOWN,
    ))
}

fn ask_camera(
    options: &Options,
    camera: &Wanted,
    address: &Known<SocketAddr>,
    reach: &Reach,
    network: &Network,
    zone: &Known<Option<File>>,
) -> cameras::Told {
    let unknown = |why: String| cameras::Told {
        passwords: Err(Unknown::because(why)),
        server: None,
    };
    let Some(attempts) = options.password_attempts else {
        return unknown("not tried: --try-passwords tries well-known ones".to_owned());
    };
    if camera.scheme != "rtsp" {
        return unknown(format!("{} is not tried", camera.scheme));
    }
    let address = match address {
        Ok(address) => *address,
        Err(error) => return unknown(error.to_string()),
    };
    let ask = || cameras::try_passwords(address, &camera.url, attempts);
    let connected = |attempts: &Known<Vec<crate::facts::Attempt>>| {
        attempts
            .iter()
            .flatten()
            .find(|attempt| attempt.address == address && attempt.outcome == Outcome::Connected)
            .map(|attempt| attempt.from.clone())
    };
    // A reader of cameras first: rules may let nobody else through.
    if let Some(from) = connected(&reach.cameras) {
        let reader = network
            .processes
            .iter()
            .flatten()
            .find(|process| from == format!("ingest {}", process.pid));
        let opened = match (reader, zone) {
            (Some(process), _) => File::open(format!("/proc/{}/ns/net", process.pid)),
            (None, Ok(Some(zone))) => zone.try_clone(),
            (None, _) => return unknown("the camera zone is gone".to_owned()),
        };
        return match opened {
            Ok(namespace) => {
                let vantage = Vantage {
                    network: Some(namespace.as_fd()),
                    user: reader.map(|process| process.user),
                };
                look_from(vantage, ask).unwrap_or_else(|error| unknown(error.to_string()))
            }
            Err(error) => unknown(format!("its reader has ended: {error}")),
        };
    }
    if connected(&reach.host).is_some() {
        return ask();
    }
    unknown("the camera is not reached from any place that the doctor can look from".to_owned())
}

fn clock_difference(data: &Path, keys: Option<&examine::Keys>) -> Known<Option<i64>> {
    let Some(date) = examine::control_plane_date(data, keys, PLANE_LIMIT)
        .map_err(|error| Unknown::because(plain(&with_causes(&error))))?
    else {
        return Ok(None);
    };
    let theirs = jiff::fmt::rfc2822::parse(&date)
        .map_err(|_| Unknown::because("the control plane's date cannot be read"))?
        .timestamp()
        .as_second();
    let ours = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let ours = i64::try_from(ours.as_secs()).unwrap_or(i64::MAX);
    Ok(Some(ours.saturating_sub(theirs)))
}
