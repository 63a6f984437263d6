//! The managed policies that AWS owns, as this server knows them.

use std::sync::{Arc, LazyLock};

use parapet_auth::{Policy, PolicyKind};

use crate::identity::ADMINISTRATOR;

/// The policy with this ARN, parsed; `None` if AWS's is not one that this server has.
pub(crate) fn parsed(arn: &str) -> Option<Arc<Policy>> {
    static ALL: LazyLock<Option<Arc<Policy>>> = LazyLock::new(|| {
        Policy::parse(Policy::ADMINISTRATOR, PolicyKind::Managed)
            .ok()
            .map(Arc::new)
    });
    if arn == ADMINISTRATOR {
        ALL.clone()
    } else {
        None
    }
}
