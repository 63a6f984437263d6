//! How much there may be of what: the quotas of an account (IAM user guide, "IAM and STS quotas").

use crate::query::{Code, Failure};

/// Users.
pub(super) const USERS: u64 = 5_000;
/// Groups.
pub(super) const GROUPS: u64 = 300;
/// Roles.
pub(super) const ROLES: u64 = 1_000;
/// Managed policies of the account.
pub(super) const POLICIES: u64 = 1_500;
/// Versions of one managed policy.
pub(super) const VERSIONS: u64 = 5;
/// Groups of one user.
pub(super) const GROUPS_PER_USER: u64 = 10;
/// Managed policies attached to one user, group or role.
pub(super) const ATTACHED: u64 = 10;
/// Access keys of one user.
pub(super) const ACCESS_KEYS: u64 = 2;
/// Second factors of one user.
pub(super) const MFA_PER_USER: u64 = 8;
/// Second factors of the account: enough for each user, and some nobody has.
pub(super) const MFA_DEVICES: u64 = 10_000;
/// Identity providers.
pub(super) const PROVIDERS: u64 = 100;
/// Audiences of one provider.
pub(super) const CLIENT_IDS: u64 = 100;
/// Thumbprints of one provider.
pub(super) const THUMBPRINTS: u64 = 5;
/// Tags of anything.
pub(super) const TAGS: u64 = 50;

/// Refuses one more where there are `have` of `most`. `name` is the quota's.
pub(super) fn room(name: &str, have: u64, most: u64) -> Result<(), Failure> {
    if have < most {
        return Ok(());
    }
    Err(exceeded(name, most))
}

/// More than there may be.
pub(super) fn exceeded(name: &str, most: u64) -> Failure {
    Failure::refused(
        Code::LimitExceeded,
        format!("Cannot exceed quota for {name}: {most}"),
    )
}
