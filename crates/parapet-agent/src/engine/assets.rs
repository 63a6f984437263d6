//! Assets on their way: one task per asset, and what the plan sees of it.
//!
//! A network fault is tried again for ever; a package at fault is final until the document names
//! another. An asset counts as fetched only by this agent's own doing: after a restart the store
//! finds the file at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use parapet_device::desired::Blob;
use parapet_device::reported::Reason;
use parapet_plan::{Asset, AssetKind, AssetState};
use parapet_sandbox::failure::with_causes;
use tokio::sync::Notify;

use crate::backoff::Backoff;
use crate::board::cut;
use crate::launcher::lock;
use crate::logs::Task;
use crate::store::{AssetError, Store};

struct Held {
    state: AssetState,
    blob: Option<Blob>,
    _task: Option<Task>,
}

type Shared = Arc<Mutex<BTreeMap<Asset, Held>>>;

/// All assets that are there or on their way.
pub(super) struct Assets {
    store: Arc<Store>,
    held: Shared,
    wake: Arc<Notify>,
}

impl Assets {
    /// Begins with what is on disk.
    pub(super) fn new(store: Arc<Store>, wake: Arc<Notify>) -> Self {
        let ready = |asset| {
            (
                asset,
                Held {
                    state: AssetState::Ready,
                    blob: None,
                    _task: None,
                },
            )
        };
        let held = store.unpacked().into_iter().map(ready).collect();
        Self {
            store,
            held: Arc::new(Mutex::new(held)),
            wake,
        }
    }

    /// As the plan sees them.
    pub(super) fn observed(&self) -> BTreeMap<Asset, AssetState> {
        lock(&self.held)
            .iter()
            .map(|(asset, held)| (*asset, held.state.clone()))
            .collect()
    }

    /// Begins to fetch.
    pub(super) fn fetch(&mut self, asset: Asset, blob: Blob) {
        let (store, wanted) = (Arc::clone(&self.store), blob.clone());
        let work = move || {
            let (store, blob) = (Arc::clone(&store), wanted.clone());
            async move { store.fetch(&blob).await.map(drop) }
        };
        self.begin(
            asset,
            Some(blob),
            AssetState::Fetching,
            AssetState::Fetched,
            work,
        );
    }

    /// Begins to unpack what has been fetched.
    pub(super) fn unpack(&mut self, asset: Asset) {
        let blob = lock(&self.held)
            .get(&asset)
            .and_then(|held| held.blob.clone());
        let store = Arc::clone(&self.store);
        let work = move || {
            let store = Arc::clone(&store);
            async move {
                match asset.kind {
                    AssetKind::Image => store.unpack_image(&asset.sha256).await,
                    AssetKind::Model => store.unpack_model(&asset.sha256).await,
                }
            }
        };
        self.begin(asset, blob, AssetState::Unpacking, AssetState::Ready, work);
    }

    /// Deletes an asset, or stops fetching it.
    pub(super) async fn discard(&mut self, asset: Asset) {
        lock(&self.held).remove(&asset);
        if let Err(error) = self.store.discard(asset).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an unused asset is still there"
            );
        }
    }

    fn begin<F>(
        &mut self,
        asset: Asset,
        blob: Option<Blob>,
        during: AssetState,
        after: AssetState,
        work: impl Fn() -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), AssetError>> + Send,
    {
        let (shared, wake) = (Arc::clone(&self.held), Arc::clone(&self.wake));
        let task = tokio::spawn(async move {
            let state = until_done(work)
                .await
                .map_or_else(AssetState::Failed, |()| after);
            if let Some(held) = lock(&shared).get_mut(&asset) {
                held.state = state;
            }
            wake.notify_one();
        });
        // The task takes the lock as well, so it finds the entry below.
        let held = Held {
            state: during,
            blob,
            _task: Some(task.into()),
        };
        lock(&self.held).insert(asset, held);
    }
}

async fn until_done<F>(work: impl Fn() -> F) -> Result<(), Reason>
where
    F: Future<Output = Result<(), AssetError>> + Send,
{
    let mut backoff = Backoff::for_network();
    loop {
        let error = match work().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "an asset is not ready"
        );
        if error.is_final() {
            return Err(Reason {
                code: "asset".to_owned(),
                message: cut(&with_causes(&error)),
            });
        }
        tokio::time::sleep(backoff.next()).await;
    }
}
