//! Puts the parts together, and takes them down again.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use rustls::server::ResolvesServerCert;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::audit::{self, Audit, Event, ExportError, KeyError, Unrecorded};
use crate::config::ServerConfig;
use crate::context::{Context, Endpoints, OpenError};
use crate::directory;
use crate::front::Front;
use crate::front::limits::Limits;
use crate::front::listener::{ConnectionLimits, Door, HandshakeTurns, told};
use crate::front::tls::{Tls, TlsError};
use crate::front::{HandshakeLimits, PlaceLimits};
use crate::gateway::Gateway;
use crate::identity::rotation;
use crate::identity::{
    self, CertificateFault, CertificateFiles, DeviceVerifier, IdentityError, OperatorCertificate,
    ServerCertificate,
};
use crate::metrics::{self, Metrics};
use crate::panorama;
use crate::store::{Micros, StoreError};

/// Connections of clients.
const CLIENTS: ConnectionLimits = ConnectionLimits {
    handshakes: HandshakeLimits {
        all: 1_024,
        address: 128,
    },
    places: PlaceLimits {
        all: 1_024,
        address: 256,
    },
};
/// Connections of devices: a held request and a live channel each. All of them may come from one
/// address, that of the router they are behind.
const DEVICES: ConnectionLimits = ConnectionLimits {
    handshakes: HandshakeLimits {
        all: 2_048,
        address: 1_024,
    },
    places: PlaceLimits {
        all: 16_384,
        address: 16_384,
    },
};

/// Why the server does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address is taken, or not ours.
    #[error("listen at {address}: is another server running there?")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Data, keys, settings.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Certificates and the files for clients.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The operator's certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Work that an earlier run left.
    #[error("go on with unfinished jobs")]
    Resume(#[source] StoreError),
    /// The trail takes no record of the start.
    #[error(transparent)]
    Audit(#[from] Unrecorded),
    /// The key that signs the trail's checkpoints.
    #[error(transparent)]
    AuditKey(#[from] KeyError),
    /// Where checkpoints go.
    #[error(transparent)]
    AuditExport(#[from] ExportError),
}

/// A running control plane. Stop it with [`Server::stop`]; dropping it ends its tasks at once.
pub struct Server {
    /// Where the API and the console listen.
    pub api_addr: SocketAddr,
    /// Where devices dial in.
    pub device_addr: SocketAddr,
    /// Where metrics are.
    pub admin_addr: SocketAddr,
    shutdown: watch::Sender<bool>,
    tasks: JoinSet<()>,
    audit: Audit,
}

/// Runs a control plane until `shutdown` is ready.
pub async fn run(
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let server = Server::start(config).await?;
    shutdown.await;
    server.stop().await;
    Ok(())
}

impl Server {
    /// Opens the data directory, binds the listeners (port 0 takes a free one), writes
    /// `DATA/admin`, and serves.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        config.check().map_err(OpenError::from)?;
        let (api, api_addr) = bind(config.listen).await?;
        let (device, device_addr) = bind(config.device_listen).await?;
        let (admin, admin_addr) = bind(config.admin_listen).await?;
        let endpoints = Endpoints {
            api: url(&config, api_addr),
            device: url(&config, device_addr),
        };
        let context = Arc::new(Context::open(&config, endpoints).await?);
        let authorities = context.enrollment.authorities();
        let (names, addresses) = names(&config, &[api_addr, device_addr]);
        let certificate = Arc::new(ServerCertificate::new(
            &authorities.server,
            names,
            addresses,
        )?);
        let own: Arc<dyn ResolvesServerCert> = Arc::clone(&certificate) as _;
        let operator = match &config.certificate {
            Some(files) => Some(operator_certificate(files.clone(), &context.api_url)?),
            None => None,
        };
        let (api_certificate, ca_pem) = match &operator {
            Some(operator) => (Arc::clone(operator) as _, operator.files().authorities()?),
            None => (Arc::clone(&own), authorities.server.pem()),
        };
        let turns = HandshakeTurns::new();
        let api_door = Door::new(Tls::api(&api_certificate)?, turns.clone(), CLIENTS);
        let verifier = DeviceVerifier::new(Arc::clone(&context.enrollment));
        let device_tls = Tls::device(&own, &(Arc::new(verifier) as _))?;
        let device_door = Door::new(device_tls, turns, DEVICES);
        let endpoint = identity::Endpoint {
            url: &context.api_url,
            ca_pem: &ca_pem,
        };
        let (store, scope) = (&context.store, &context.scope);
        identity::write_files(store, &config, scope, &context.master_key, endpoint).await?;
        panorama::resume_jobs(&context)
            .await
            .map_err(StartError::Resume)?;

        let audit = context.audit.clone();
        let version = env!("CARGO_PKG_VERSION");
        audit.event(&Event::ServerStarted { version }).await?;
        let signing = audit::key::load(&config)?;
        audit::key::write_public(&signing.key, &config.data.join("admin"))?;
        if signing.is_new {
            let key = &signing.key.public().id();
            audit.event(&Event::CheckpointKeyMade { key }).await?;
        }
        audit.sign(signing.key, &config.audit)?;

        let (shutdown, stopped) = watch::channel(false);
        let metrics = Arc::new(Metrics::default());
        let mut tasks = JoinSet::new();
        let front = Arc::new(Front::new(
            Arc::clone(&context),
            Arc::clone(&metrics),
            config.strict_region,
            config.proxies.clone(),
            Arc::new(Limits::new(config.limits, Instant::now())),
        ));
        tasks.spawn(api_door.serve(api, stopped.clone(), move |peer, request| {
            let front = Arc::clone(&front);
            async move { front.handle(&peer, request).await }
        }));
        let gateway = Arc::new(Gateway::new(Arc::clone(&context), Arc::clone(&metrics)));
        tasks.spawn(
            device_door.serve(device, stopped.clone(), move |peer, request| {
                let gateway = Arc::clone(&gateway);
                async move { gateway.handle(&peer, request).await }
            }),
        );
        tasks.spawn(metrics::serve(admin, metrics, stopped.clone()));
        tasks.spawn(directory::watch(
            Arc::clone(&context.directory),
            stopped.clone(),
        ));
        if let Some(operator) = operator {
            tasks.spawn(identity::watch_certificate(operator, stopped.clone()));
        }
        tasks.spawn(rotation::serve(
            Arc::clone(&context.rotation),
            context.rotation_parts(),
            stopped.clone(),
        ));
        let resumed = context.rotation.resume(&context.rotation_parts()).await;
        resumed.map_err(StartError::Resume)?;
        tasks.spawn(renew(context, certificate, stopped));
        tracing::info!(%api_addr, %device_addr, %admin_addr, "the control plane serves");
        Ok(Self {
            api_addr,
            device_addr,
            admin_addr,
            shutdown,
            tasks,
            audit,
        })
    }

    /// Takes no more requests, waits a little for those that are open, and ends.
    pub async fn stop(mut self) {
        self.shutdown.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        self.audit.note(&Event::ServerStopped);
        self.audit.stop().await;
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The operator's certificate, with a word where clients will refuse it.
fn operator_certificate(
    files: CertificateFiles,
    api_url: &str,
) -> Result<Arc<OperatorCertificate>, CertificateFault> {
    let loaded = OperatorCertificate::load(files, Micros::now())?;
    let until = loaded.not_after();
    let host = url::Url::parse(api_url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    if loaded.is_for(&host) {
        tracing::info!(until, "the API has the operator's TLS certificate");
    } else {
        tracing::warn!(
            host,
            until,
            "the operator's TLS certificate is not for the host that clients are told: set advertise to a name it is for"
        );
    }
    Ok(Arc::new(loaded))
}

/// The URL under which a listener is reached.
fn url(config: &ServerConfig, address: SocketAddr) -> String {
    let host = match &config.advertise {
        Some(host) => match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
            _ => host.clone(),
        },
        None => match address.ip() {
            ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
            IpAddr::V4(v4) => v4.to_string(),
        },
    };
    format!("https://{host}:{}", address.port())
}

/// What the server's certificate is for.
fn names(config: &ServerConfig, listening: &[SocketAddr]) -> (Vec<String>, Vec<IpAddr>) {
    let mut names = vec!["localhost".to_owned()];
    let mut addresses = vec![
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1]),
    ];
    addresses.extend(
        listening
            .iter()
            .map(SocketAddr::ip)
            .filter(|ip| !ip.is_unspecified()),
    );
    if let Some(host) = &config.advertise {
        match host.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(host.clone()),
        }
    }
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hostname = hostname.trim();
    let proper = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if !hostname.is_empty() && hostname.chars().all(proper) {
        names.push(hostname.to_owned());
    }
    names.sort();
    names.dedup();
    addresses.sort();
    addresses.dedup();
    (names, addresses)
}

/// Replaces the TLS certificate when a third of its life is left, and at once when another
/// authority signs.
async fn renew(
    context: Arc<Context>,
    certificate: Arc<ServerCertificate>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut changes = context.enrollment.changes();
    loop {
        tokio::select! {
            () = tokio::time::sleep(ServerCertificate::renew_after()) => {}
            // The context holds the sender: there is always a next change to wait for.
            _ = changes.changed() => {}
            () = told(&mut shutdown) => return,
        }
        match certificate.renew(&context.enrollment.authorities().server) {
            Ok(()) => tracing::info!("renewed the TLS certificate"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "could not renew the TLS certificate; restart the server"
                );
            }
        }
    }
}
