//! The server's parts, which every operation has in hand.
//!
//! Made once at the start ([`Context::open`]); owns the store, the contents, the master key and the
//! tables in memory. Does nothing itself but seal and open secrets.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parapet_auth::{Label, MasterKey, WrapError};
use parapet_device::desired::CameraSecret;
use thiserror::Error;

use crate::audit::Audit;
use crate::blobs::Blobs;
use crate::config::{ConfigError, ServerConfig};
use crate::console::Sessions;
use crate::directory::Directory;
use crate::fleet::{Presence, Wake};
use crate::gateway::Live;
use crate::identity::rollover;
use crate::identity::rotation::{self, Rotation};
use crate::identity::{self, Authorities, Enrollment, IdentityError, KeyRing, KeySource};
use crate::registry::camera::Allowed;
use crate::registry::quotas::Quotas;
use crate::store::{Scope, Store, StoreError};
use crate::sts::{Attempts, IssuerKeys, Tokens, TokensError};
use crate::{random, s3};

/// All parts.
pub struct Context {
    /// Account and region of this server.
    pub scope: Scope,
    /// All durable state but contents.
    pub store: Store,
    /// The trail of calls and events.
    pub audit: Audit,
    /// Contents by their hash.
    pub blobs: Blobs,
    /// Principals, ready to be asked.
    pub directory: Arc<Directory>,
    /// Wraps secrets.
    pub master_key: Arc<KeyRing>,
    /// Where the master key comes from.
    pub key_source: KeySource,
    /// Goes over to new master keys.
    pub rotation: Arc<Rotation>,
    /// Seals page tokens; a new master key does not touch them.
    pub page_key: MasterKey,
    /// How much there may be of what.
    pub quotas: Quotas,
    /// Which devices are there.
    pub presence: Arc<Presence>,
    /// Wakes held requests of devices.
    pub wake: Wake,
    /// Makes claims for new devices.
    pub enrollment: Arc<Enrollment>,
    /// Live pictures on their way from devices to browsers.
    pub live: Arc<Live>,
    /// Seals and opens session tokens.
    pub tokens: Tokens,
    /// Counts wrong one-time codes.
    pub mfa_attempts: Attempts,
    /// Public keys of identity providers.
    pub issuer_keys: IssuerKeys,
    /// Browsers that are signed in.
    pub sessions: Sessions,
    /// URL of the API and the console.
    pub api_url: String,
    /// What may be a camera.
    pub cameras: Allowed,
    /// The file of the server's authorities for clients; `None` where the API shows the
    /// operator's certificate, whose authorities are the operator's.
    pub ca_file: Option<PathBuf>,
}

/// Why the parts cannot be had.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The data directory or something in it.
    #[error("open {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys, certificates, the first user.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The session ring.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Name of the key that seals page tokens.
const PAGE_TOKENS: &str = "page-tokens";

/// How clients and devices reach the server.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// `https://<IP>:<port>` of the API.
    pub api: String,
    /// The same of the device listener.
    pub device: String,
}

/// Why a secret cannot be sealed or opened.
#[derive(Debug, Error)]
pub enum SecretError {
    /// No random nonce.
    #[error("seal a secret")]
    Random(#[from] io::Error),
    /// The cipher refused: wrong master key, or the row was altered.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The opened bytes are not what was sealed there.
    #[error("read an opened secret")]
    Shape(#[from] serde_json::Error),
}

impl Context {
    /// Opens the data directory; makes everything in it at the first start.
    pub async fn open(config: &ServerConfig, endpoints: Endpoints) -> Result<Self, OpenError> {
        config.check()?;
        let at = |path: &Path, source| OpenError::File {
            path: path.to_owned(),
            source,
        };
        make_private(&config.data).map_err(|source| at(&config.data, source))?;
        let database = config.data.join("parapet.db");
        let key_source = KeySource::choose(config).map_err(IdentityError::from)?;
        let keys = key_source.load(database.exists()).await;
        let master_key = Arc::new(KeyRing::new(keys.map_err(IdentityError::from)?));
        let store = Store::open(&database)?;
        let contents = config.data.join("blobs");
        let blobs = Blobs::open(contents.clone()).map_err(|source| at(&contents, source))?;
        let uploads = blobs.uploads();
        store
            .read(move |connection| s3::clear_uploads(&uploads, connection))
            .await?;
        let scope = identity::first_start(&store, config, &master_key).await?;
        let authorities = Authorities::load(&store, &scope, &master_key).await?;
        let tokens = Tokens::load(store.clone(), scope.account.clone(), &master_key).await?;
        Ok(Self {
            audit: Audit::start(store.clone(), &scope),
            directory: Arc::new(Directory::new(store.clone(), scope.account.clone())),
            enrollment: Arc::new(Enrollment::new(
                authorities,
                scope.clone(),
                endpoints.device,
            )),
            page_key: identity::service_key(&store, &scope, &master_key, PAGE_TOKENS).await?,
            scope,
            store,
            blobs,
            master_key,
            key_source,
            rotation: Arc::default(),
            quotas: Quotas::default(),
            presence: Arc::default(),
            wake: Wake::default(),
            live: Arc::default(),
            tokens,
            mfa_attempts: Attempts::default(),
            issuer_keys: IssuerKeys::new(config.oidc.clone()),
            sessions: Sessions::default(),
            cameras: config.cameras,
            api_url: endpoints.api,
            ca_file: (config.certificate.is_none()).then(|| config.data.join("admin/ca.pem")),
        })
    }

    /// What a change of the master key works on.
    #[must_use]
    pub fn rotation_parts(&self) -> rotation::Parts {
        rotation::Parts {
            audit: self.audit.clone(),
            store: self.store.clone(),
            ring: Arc::clone(&self.master_key),
            source: self.key_source.clone(),
        }
    }

    /// What a roll-over of an authority works on.
    #[must_use]
    pub fn rollover_parts(&self) -> rollover::Parts<'_> {
        rollover::Parts {
            store: &self.store,
            scope: &self.scope,
            master: &self.master_key,
            enrollment: &self.enrollment,
            ca_file: self.ca_file.as_deref(),
        }
    }

    /// Seals a value for the place that `label` names.
    pub fn seal(&self, label: &Label<'_>, plain: &[u8]) -> Result<Vec<u8>, SecretError> {
        Ok(self.master_key.wrap(label, plain, random::bytes()?)?)
    }

    /// Seals the credentials of a camera for table `secrets`.
    pub fn seal_camera(&self, id: &str, secret: &CameraSecret) -> Result<Vec<u8>, SecretError> {
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(secret)?);
        self.seal(&self.camera_label(id, secret.version), &plain)
    }

    /// Opens what [`seal_camera`](Self::seal_camera) sealed.
    pub fn open_camera(
        &self,
        id: &str,
        version: u64,
        wrapped: &[u8],
    ) -> Result<CameraSecret, SecretError> {
        let plain = self
            .master_key
            .unwrap(&self.camera_label(id, version), wrapped)?;
        Ok(serde_json::from_slice(&plain)?)
    }

    fn camera_label<'a>(&'a self, id: &'a str, version: u64) -> Label<'a> {
        Label {
            table: "secrets",
            account: &self.scope.account,
            id,
            column: "wrapped",
            version,
        }
    }
}

/// A directory that its owner alone can enter.
fn make_private(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}
