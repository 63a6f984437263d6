//! Who a browser is signed in as, and what that person may see now.
//!
//! A sign-in lasts hours and a permission may end in between, so each request, and a running
//! picture every second, asks the directory anew: the key that made the link must still be good,
//! the session behind it must not be over or revoked, and the policies are those of this moment.

use std::sync::Arc;

use http::HeaderMap;
use parapet_auth::Caller;
use parapet_auth::policy::Context as Circumstances;

use crate::call::Ask;
use crate::context::Context;
use crate::front::circumstances;
use crate::front::source::Source;
use crate::store::Micros;

/// Somebody at the console.
#[derive(Clone)]
pub(super) struct Visitor {
    /// As of now.
    pub caller: Caller,
    /// Where from.
    pub source: Source,
    headers: Arc<HeaderMap>,
    circumstances: Circumstances,
}

impl Visitor {
    /// The one who signed in as `caller`; `None` when that is worth nothing any more.
    pub(super) async fn of(
        context: &Context,
        caller: &Caller,
        source: &Source,
        headers: Arc<HeaderMap>,
    ) -> Option<Self> {
        let caller = current(context, caller).await?;
        let circumstances = circumstances::of(source, &headers, &caller, &context.scope.region);
        Some(Self {
            caller,
            source: source.clone(),
            headers,
            circumstances,
        })
    }

    /// The same person a while later.
    pub(super) async fn renewed(&self, context: &Context) -> Option<Self> {
        Self::of(
            context,
            &self.caller,
            &self.source,
            Arc::clone(&self.headers),
        )
        .await
    }

    /// Whether the policies allow `action` on `resource`.
    pub(super) fn may(&self, action: &str, resource: &str) -> bool {
        Ask::new(action, resource)
            .decide(&self.caller.grants, &self.circumstances)
            .is_allowed()
    }
}

async fn current(context: &Context, signed_in: &Caller) -> Option<Caller> {
    let found = match &signed_in.session {
        Some(claims) => {
            let now = Micros::now().0.div_euclid(1_000_000);
            if now >= claims.expires {
                return None;
            }
            context.directory.of_claims(claims).await.map(Result::ok)
        }
        None => context
            .directory
            .key(&signed_in.access_key)
            .await
            .map(|key| {
                key.filter(|key| key.is_active)
                    .map(|key| key.caller.clone())
            }),
    };
    match found {
        Ok(caller) => caller,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "could not look up who is signed in");
            None
        }
    }
}
