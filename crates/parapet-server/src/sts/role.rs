//! Roles as STS sees them.

use std::sync::Arc;

use parapet_auth::policy::{Decision, Denial, Layer};

use crate::context::Context;
use crate::directory::RoleEntry;
use crate::query::{Failure, Xml};

/// The role of this name, if its ARN is this one.
pub(super) async fn find(
    ctx: &Context,
    name: &str,
    arn: &str,
) -> Result<Option<Arc<RoleEntry>>, Failure> {
    let found = ctx.directory.role(name).await.map_err(Failure::internal)?;
    Ok(found.filter(|role| role.arn == arn))
}

/// What the trust policy of a role says that is not there.
pub(super) fn untrusted() -> Decision {
    Decision::Denied(Denial::NoAllow(Layer::Trust))
}

/// Writes element `AssumedRoleUser`.
pub(super) fn write_user(xml: &mut Xml, account: &str, role: &RoleEntry, session: &str) {
    xml.element("AssumedRoleUser", |xml| {
        xml.text("AssumedRoleId", format!("{}:{session}", role.id));
        xml.text(
            "Arn",
            format!(
                "arn:aws:sts::{account}:assumed-role/{}/{session}",
                role.name
            ),
        );
    });
}
