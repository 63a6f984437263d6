//! `GetAccountSummary`: how much there is of what, and how much there may be.

use super::{Answer, Call, quotas};
use crate::query::Xml;
use crate::store::{groups, mfa_devices, oidc_providers, policies, roles, users};

pub(super) async fn summary(call: &Call) -> Answer {
    call.authorize(&call.ask("*"))?;
    let account = call.account.clone();
    let entries = call
        .read(move |connection| {
            let devices = mfa_devices::all(connection, &account)?;
            let in_use = devices.iter().filter(|it| it.enabled.is_some()).count();
            Ok([
                ("Users", users::count(connection, &account)?),
                ("UsersQuota", quotas::USERS),
                ("Groups", groups::count(connection, &account)?),
                ("GroupsQuota", quotas::GROUPS),
                ("GroupsPerUserQuota", quotas::GROUPS_PER_USER),
                ("Roles", roles::count(connection, &account)?),
                ("RolesQuota", quotas::ROLES),
                ("Policies", policies::count(connection, &account)?),
                ("PoliciesQuota", quotas::POLICIES),
                ("PolicySizeQuota", 6_144),
                ("VersionsPerPolicyQuota", quotas::VERSIONS),
                ("AttachedPoliciesPerUserQuota", quotas::ATTACHED),
                ("AttachedPoliciesPerGroupQuota", quotas::ATTACHED),
                ("AttachedPoliciesPerRoleQuota", quotas::ATTACHED),
                ("UserPolicySizeQuota", 2_048),
                ("GroupPolicySizeQuota", 5_120),
                ("RolePolicySizeQuota", 10_240),
                ("AssumeRolePolicySizeQuota", 2_048),
                ("AccessKeysPerUserQuota", quotas::ACCESS_KEYS),
                ("MFADevices", devices.len() as u64),
                ("MFADevicesInUse", in_use as u64),
                (
                    "Providers",
                    oidc_providers::all(connection, &account)?.len() as u64,
                ),
                // The account's root has no key and never signs in.
                ("AccountAccessKeysPresent", 0),
                ("AccountMFAEnabled", 0),
            ])
        })
        .await?;
    let mut xml = Xml::default();
    xml.element("SummaryMap", |xml| {
        for (key, value) in entries {
            xml.element("entry", |xml| {
                xml.text("key", key);
                xml.text("value", value);
            });
        }
    });
    Ok(Some(xml))
}
