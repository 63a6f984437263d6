//! What is known of a host: values only, so that every judgement can be tried with made-up ones.
//!
//! Whatever could not be found out is an [`Unknown`] that says what was missing. A check that uses
//! it ends in [`crate::report::Level::Unknown`]: nothing that is not known is ever taken for good.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parapet_device::reported::Separation;

/// What was missing to know something: a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(String);

impl Unknown {
    /// Says what was missing.
    pub fn because(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A fact, or what was missing to know it.
pub type Known<T> = Result<T, Unknown>;

/// Everything that the checks judge by.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Seconds since the epoch.
    pub now: i64,
    /// Whether the doctor runs as root.
    pub is_root: bool,
    /// The appliance's agent.
    pub agent: Agent,
    /// How networks are kept apart.
    pub network: Network,
    /// What was reached from where.
    pub reach: Reach,
    /// The configured cameras, as far as they were asked.
    pub cameras: Known<Vec<Camera>>,
    /// The host's clock.
    pub clock: Clock,
    /// Parapet's and the host's software.
    pub software: Software,
    /// The state directory and what it lies on.
    pub data: Data,
    /// The host itself.
    pub host: Host,
}

/// The appliance's agent, as its state directory and configuration show it.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The configuration file's fault, if it has one; `Unknown` when none was named.
    pub configuration: Known<Option<String>>,
    /// `status.json`; `None` when no agent has ever run there.
    pub status: Known<Option<AgentStatus>>,
    /// Lives of certificates; `None` when the device is not enrolled.
    pub identity: Known<Option<Identity>>,
    /// Inbound ports of applications.
    pub inbound: Known<Vec<Inbound>>,
}

/// What an agent said of itself.
#[derive(Debug, Clone)]
pub struct AgentStatus {
    /// Whether the process that wrote it lives.
    pub is_running: bool,
    /// Whether every process has a user of its own.
    pub privileged: bool,
    /// How it says that networks are kept apart.
    pub separation: Option<Separation>,
    /// Ports towards the control plane.
    pub uplink: Vec<String>,
    /// Ports towards cameras.
    pub cameras: Vec<String>,
    /// What the host does not give, a sentence each.
    pub missing: Vec<String>,
    /// What starts applications: `own`, a runtime, or `none`; empty where an older agent says
    /// nothing of it.
    pub applications: String,
}

/// A device's certificates.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The device's own.
    pub certificate: Validity,
    /// Those of the control plane's authorities.
    pub authorities: Vec<Validity>,
}

/// When a certificate begins and ends, seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: i64,
    /// Last second.
    pub not_after: i64,
}

/// An inbound port of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// On the uplink.
    pub port: u16,
    /// Whose it is.
    pub instance: String,
    /// Whether only some may connect.
    pub has_sources: bool,
    /// Whether TLS is in front.
    pub has_tls: bool,
}

/// The networks of the host and of Parapet's zones.
#[derive(Debug, Clone)]
pub struct Network {
    /// The namespace of the uplink: where the doctor runs.
    pub host: Space,
    /// The camera zone; `None` when there is no such namespace.
    pub cameras: Known<Option<Space>>,
    /// Parapet's processes.
    pub processes: Known<Vec<Process>>,
}

/// One network namespace.
#[derive(Debug, Clone)]
pub struct Space {
    /// Its interfaces.
    pub interfaces: Known<Vec<Interface>>,
    /// Whether it forwards packets.
    pub forwarding: Known<Forwarding>,
    /// Switches of each interface but loopback.
    pub switches: Known<Vec<Switch>>,
    /// Sockets that wait for somebody.
    pub listeners: Known<Vec<Listener>>,
    /// Its packet filter.
    pub rules: Known<Rules>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Whether packets are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarding {
    /// `net.ipv4.ip_forward` or that of any interface.
    pub v4: bool,
    /// `net.ipv6.conf.*.forwarding`.
    pub v6: bool,
}

/// A switch of an interface that makes the host believe its neighbours, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// The interface.
    pub interface: String,
    /// Name below `net.`, e.g. `ipv4.conf.eth1.proxy_arp`.
    pub name: String,
    /// As the kernel applies it.
    pub value: i64,
    /// Whether that is what a camera port needs.
    pub is_safe: bool,
}

/// The two protocols that listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A socket that waits for somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Which protocol.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// Whose.
    pub user: u32,
    /// By which process, where that could be seen.
    pub process: Option<String>,
}

/// The packet filter of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Hooks that Parapet's own table drops at by default; `None` without such a table.
    pub own: Option<OwnRules>,
    /// Others' chains that let forwarded packets through by default.
    pub open_forward: Vec<String>,
    /// Whether rules of the older kind (`iptables-legacy`) exist beside these.
    pub has_legacy: bool,
}

/// What Parapet's table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnRules {
    /// For what comes in.
    pub input: Chain,
    /// For what is passed on.
    pub forward: Chain,
    /// For what goes out.
    pub output: Chain,
}

/// A chain of a packet filter, and what it does where no rule of it says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chain {
    /// There is none.
    #[default]
    Absent,
    /// It lets through.
    Open,
    /// It drops.
    Closed,
}

/// What a process of Parapet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `parapet agent`.
    Agent,
    /// The launcher.
    Launcher,
    /// A reader of one camera.
    Ingest,
    /// A decoder.
    Codec,
    /// A model.
    Infer,
    /// An application.
    Application,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Launcher => "launcher",
            Self::Ingest => "ingest",
            Self::Codec => "decoder",
            Self::Infer => "model",
            Self::Application => "application",
        })
    }
}

/// The network namespace of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The host's.
    Host,
    /// The camera zone.
    Cameras,
    /// Another, by the kernel's number.
    Own(u64),
}

/// A process of Parapet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its ID.
    pub pid: u32,
    /// Its user.
    pub user: u32,
    /// What it is.
    pub role: Role,
    /// Where its network is.
    pub place: Known<Place>,
}

/// What was really tried, and how it ended.
#[derive(Debug, Clone)]
pub struct Reach {
    /// From the host's namespace, as the doctor's own user.
    pub host: Known<Vec<Attempt>>,
    /// From the host's namespace, as the agent's user.
    pub agent: Known<Vec<Attempt>>,
    /// From inside the camera zone, as root and as each reader of a camera.
    pub cameras: Known<Vec<Attempt>>,
    /// From inside the namespaces of decoders and models, as their users.
    pub workers: Known<Vec<Attempt>>,
    /// From inside the namespaces of applications, as their users.
    pub applications: Known<Vec<Attempt>>,
}

/// One attempt to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Who tried: e.g. `ingest 4711`.
    pub from: String,
    /// What was sought.
    pub target: Target,
    /// Its address.
    pub address: SocketAddr,
    /// How it ended.
    pub outcome: Outcome,
}

/// What was sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A configured camera.
    Camera,
    /// The appliance itself, on the uplink.
    Appliance,
    /// The control plane.
    ControlPlane,
    /// The address where clouds keep their machines' secrets.
    Metadata,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Camera => "camera",
            Self::Appliance => "appliance",
            Self::ControlPlane => "control plane",
            Self::Metadata => "metadata address",
        })
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A connection came up.
    Connected,
    /// Somebody said no: the way there is open.
    Refused,
    /// A connection came up and ended at the agent's gateway.
    Gateway,
    /// No answer in time.
    Silent,
    /// The kernel sends nothing there.
    NoWay,
}

impl Outcome {
    /// Whether a packet found its way there.
    #[must_use]
    pub fn arrived(self) -> bool {
        matches!(self, Self::Connected | Self::Refused)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected",
            Self::Refused => "answered with a refusal",
            Self::Gateway => "ended at the agent's gateway",
            Self::Silent => "no answer",
            Self::NoWay => "no way there",
        })
    }
}

/// A configured camera.
#[derive(Debug, Clone)]
pub struct Camera {
    /// The name it was registered by.
    pub name: String,
    /// How it is spoken to: `rtsp`, `rtsps`, ...
    pub scheme: String,
    /// Host and port of its URL.
    pub place: String,
    /// Whether a well-known password opens it.
    pub passwords: Known<Passwords>,
    /// Whether the user and password that Parapet uses are a well-known pair; `None` where it uses
    /// none, or has not fetched them yet.
    pub uses_well_known: Known<Option<bool>>,
    /// What it calls itself.
    pub server: Option<String>,
}

/// What is known of a camera's passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passwords {
    /// It asks for none.
    NoneAsked,
    /// One of the well-known pairs opens it: its user name.
    WellKnown(String),
    /// This many well-known pairs were refused.
    Refused(usize),
}

/// The host's clock.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Whether somebody keeps it near the true time.
    pub synchronised: Known<bool>,
    /// How far it is before the control plane's, in seconds; `None` for a device without one.
    pub before_control_plane: Known<Option<i64>>,
}

/// Parapet's and the host's software.
#[derive(Debug, Clone)]
pub struct Software {
    /// Parapet's version.
    pub version: String,
    /// When its executable was made, seconds since the epoch.
    pub built: Known<i64>,
    /// The distribution's pending updates.
    pub updates: Known<Updates>,
    /// Whether the running kernel is the newest that is installed.
    pub kernel: Known<Kernel>,
}

/// The distribution's pending updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updates {
    /// Packages that have a newer version.
    pub pending: Vec<String>,
    /// Those of them that repair a weakness.
    pub security: Vec<String>,
    /// When the lists were last fetched, seconds since the epoch.
    pub listed: i64,
}

/// Kernels of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The running one's release.
    pub running: String,
    /// A newer one that is installed.
    pub newer: Option<String>,
    /// Whether the distribution asks for a restart.
    pub restart_asked: bool,
}

/// The state directory and what it lies on.
#[derive(Debug, Clone)]
pub struct Data {
    /// Whether what is stored there is encrypted.
    pub encryption: Known<Encryption>,
    /// How the device's key and secrets are kept.
    pub secrets: Known<Vec<KeptSecret>>,
    /// Files whose owner or mode is wrong, a sentence each.
    pub modes: Known<Vec<String>>,
    /// Room on its file system.
    pub space: Known<Room>,
}

/// How stored data is kept from whoever takes the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// By the block device, named.
    Device(String),
    /// By the directory's own policy.
    Directory,
    /// It is memory: nothing is left without power.
    Memory,
    /// Not at all: on this device.
    None(String),
}

/// A secret of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSecret {
    /// Its file, below the state directory.
    pub file: String,
    /// How it lies there.
    pub kept: Kept,
}

/// How a secret lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// As it is: of use to whoever copies the directory.
    Plain,
    /// Sealed by the device key, which is another of these files.
    ByDeviceKey,
    /// Sealed by the machine's TPM.
    ByTpm,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that are free for the agent.
    pub free_bytes: u64,
    /// All bytes.
    pub total_bytes: u64,
    /// Files that may still be made, of how many.
    pub free_files: u64,
    /// All files; 0 where the file system has no such limit.
    pub total_files: u64,
}

/// The host itself.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its kernel's release.
    pub kernel: String,
    /// Its processor architecture.
    pub machine: String,
    /// Whether the firmware checks what it starts; `None` where it is no UEFI.
    pub secure_boot: Known<Option<bool>>,
    /// When the firmware was made, seconds since the epoch.
    pub firmware: Known<i64>,
    /// Places where somebody with a keyboard or a cable may log in.
    pub consoles: Known<Vec<Console>>,
    /// What a USB stick can do.
    pub usb: Known<Usb>,
    /// Where dumps of broken processes go.
    pub dumps: Known<Dumps>,
    /// Switches of the kernel that keep ordinary users out of it.
    pub hardening: Vec<Hardening>,
    /// Whether root itself is kept out of the kernel; `None` where the kernel cannot.
    pub lockdown: Known<Option<bool>>,
    /// What the kernel offers to sandboxes, each with whether it is there.
    pub sandbox: Vec<(String, Known<bool>)>,
}

/// A place where somebody may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// Its name: `tty1`, `ttyS0`.
    pub name: String,
    /// What waits there.
    pub program: String,
    /// Whether it asks for no password.
    pub is_open: bool,
}

/// What a USB stick can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usb {
    /// The kernel knows no USB.
    Absent,
    /// The driver for storage is forbidden or absent.
    Blocked,
    /// New devices are refused until somebody allows them.
    Guarded,
    /// A stick is mounted by whoever may.
    Allowed,
    /// One is in use now.
    InUse,
}

/// Where dumps of broken processes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dumps {
    /// `kernel.core_pattern`.
    pub pattern: String,
    /// `fs.suid_dumpable`.
    pub of_privileged: i64,
}

/// A switch of the kernel.
#[derive(Debug, Clone)]
pub struct Hardening {
    /// Its name as `sysctl` knows it.
    pub name: String,
    /// How it stands; `None` where this kernel has none.
    pub value: Known<Option<i64>>,
    /// Whether a kernel without it lacks what it guards, rather than the guard.
    pub guards_a_part: bool,
    /// Values that keep ordinary users out.
    pub good: std::ops::RangeInclusive<i64>,
}

/// A length of time in the largest unit that fits.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
