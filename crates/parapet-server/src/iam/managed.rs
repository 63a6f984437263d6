//! The managed policies that AWS owns, as this server has them.

use std::sync::{Arc, LazyLock};

use parapet_auth::Policy;
use parapet_auth::managed::{MANAGED, ManagedPolicy};

/// One of them, with its document parsed.
pub(crate) struct Owned {
    /// `arn:aws:iam::aws:policy/…`.
    pub(crate) arn: String,
    /// Unique ID, as AWS's look: made from the name, so that it is the same everywhere.
    pub(crate) id: String,
    /// Name, path, document.
    pub(crate) policy: &'static ManagedPolicy,
    parsed: Arc<Policy>,
}

static OWNED: LazyLock<Vec<Owned>> = LazyLock::new(|| {
    MANAGED
        .iter()
        .filter_map(|policy| {
            // A test of parapet-auth holds that every document is read.
            let parsed = Arc::new(policy.policy().ok()?);
            let hash =
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, policy.arn().as_bytes());
            let id = data_encoding::BASE32_NOPAD.encode(hash.as_ref());
            Some(Owned {
                arn: policy.arn(),
                id: format!("ANPA{}", &id[..17]),
                policy,
                parsed,
            })
        })
        .collect()
});

/// All of them.
pub(crate) fn all() -> &'static [Owned] {
    &OWNED
}

/// The one with this ARN.
pub(crate) fn find(arn: &str) -> Option<&'static Owned> {
    OWNED.iter().find(|owned| owned.arn == arn)
}

/// The one with this ARN, parsed.
pub(crate) fn parsed(arn: &str) -> Option<Arc<Policy>> {
    find(arn).map(|owned| Arc::clone(&owned.parsed))
}
