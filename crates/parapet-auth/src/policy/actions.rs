//! The actions of this server, with their access level, resource types and condition keys.
//!
//! Panorama's come from the published service authorization reference (`spec/security.md` section
//! 2), where an empty resource column means that only `*` can be asked; two rows carry the
//! resource that the reference lacks and the operation acts on. What goes beyond Panorama's API has
//! actions under `parapet`, so that `panorama:*` never contains them. Those of `iam`, `sts` and `s3`
//! are listed by name, with the resource they are asked for.

use super::parse::Policy;

/// What an action does, in the words of the original's reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Sees what there is.
    List,
    /// Sees what is in it.
    Read,
    /// Changes something.
    Write,
    /// Changes tags only.
    Tagging,
    /// Changes who may do what.
    PermissionsManagement,
}

/// One action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// `panorama:CreatePackage`.
    pub name: &'static str,
    /// What it does.
    pub level: Level,
    /// Types of the resources it can be asked for; none means `*` only.
    pub resources: &'static [&'static str],
    /// Condition keys of its own; global keys (`aws:SourceIp`…) are there for all.
    pub keys: &'static [&'static str],
}

const TAGS: &[&str] = &["aws:RequestTag/${TagKey}", "aws:TagKeys"];
const OLD_TAGS: &[&str] = &["aws:ResourceTag/${TagKey}"];
const ALL_TAGS: &[&str] = &[
    "aws:RequestTag/${TagKey}",
    "aws:ResourceTag/${TagKey}",
    "aws:TagKeys",
];
const UNTAG: &[&str] = &["aws:ResourceTag/${TagKey}", "aws:TagKeys"];
const TAGGED: &[&str] = &["applicationInstance", "device", "package"];

const fn action(
    name: &'static str,
    level: Level,
    resources: &'static [&'static str],
    keys: &'static [&'static str],
) -> Action {
    Action {
        name,
        level,
        resources,
        keys,
    }
}

use Level::{List, PermissionsManagement as Permissions, Read, Tagging, Write};

/// Every action, in the order of services and names.
pub const ACTIONS: &[Action] = &[
    action("panorama:CreateApplicationInstance", Write, &[], TAGS),
    action("panorama:CreateJobForDevices", Write, &[], &[]),
    action("panorama:CreateNodeFromTemplateJob", Write, &[], &[]),
    action("panorama:CreatePackage", Write, &[], TAGS),
    action("panorama:CreatePackageImportJob", Write, &[], &[]),
    action("panorama:DeleteDevice", Write, &["device"], OLD_TAGS),
    action("panorama:DeletePackage", Write, &["package"], OLD_TAGS),
    action("panorama:DeregisterPackageVersion", Write, &[], &[]),
    action(
        "panorama:DescribeApplicationInstance",
        Read,
        &["applicationInstance"],
        OLD_TAGS,
    ),
    action(
        "panorama:DescribeApplicationInstanceDetails",
        Read,
        &["applicationInstance"],
        OLD_TAGS,
    ),
    action("panorama:DescribeDevice", Read, &["device"], OLD_TAGS),
    action("panorama:DescribeDeviceJob", Read, &[], &[]),
    action("panorama:DescribeNode", Read, &[], &[]),
    action("panorama:DescribeNodeFromTemplateJob", Read, &[], &[]),
    action("panorama:DescribePackage", Read, &["package"], OLD_TAGS),
    action("panorama:DescribePackageImportJob", Read, &[], &[]),
    action("panorama:DescribePackageVersion", Read, &[], &[]),
    action("panorama:DescribeSoftware", Read, &[], &[]),
    action("panorama:GetWebSocketURL", Read, &[], &[]),
    action(
        "panorama:ListApplicationInstanceDependencies",
        List,
        &[],
        &[],
    ),
    action(
        "panorama:ListApplicationInstanceNodeInstances",
        List,
        &[],
        &[],
    ),
    action("panorama:ListApplicationInstances", List, &[], &[]),
    action("panorama:ListDevices", List, &[], &[]),
    action("panorama:ListDevicesJobs", List, &[], &[]),
    action("panorama:ListNodeFromTemplateJobs", List, &[], &[]),
    action("panorama:ListNodes", List, &[], &[]),
    action("panorama:ListPackageImportJobs", List, &[], &[]),
    action("panorama:ListPackages", List, &[], &[]),
    action("panorama:ListTagsForResource", Read, TAGGED, OLD_TAGS),
    action("panorama:ProvisionDevice", Write, &[], TAGS),
    action("panorama:RegisterPackageVersion", Write, &[], &[]),
    action(
        "panorama:RemoveApplicationInstance",
        Write,
        &["applicationInstance"],
        OLD_TAGS,
    ),
    action(
        "panorama:SignalApplicationInstanceNodeInstances",
        Write,
        &["applicationInstance"],
        OLD_TAGS,
    ),
    action("panorama:TagResource", Tagging, TAGGED, ALL_TAGS),
    action("panorama:UntagResource", Tagging, TAGGED, UNTAG),
    action(
        "panorama:UpdateDeviceMetadata",
        Write,
        &["device"],
        OLD_TAGS,
    ),
    action("parapet:CreateConsoleSession", Write, &[], &[]),
    action("parapet:DescribeAuthorities", Read, &[], &[]),
    action("parapet:DescribeMasterKey", Read, &[], &[]),
    action("parapet:ExportAudit", Read, &[], &[]),
    action(
        "parapet:GetInstanceConfinement",
        Read,
        &["applicationInstance"],
        OLD_TAGS,
    ),
    action(
        "parapet:GetSnapshot",
        Read,
        &["applicationInstance", "package"],
        OLD_TAGS,
    ),
    action(
        "parapet:PutInstanceConfinement",
        Write,
        &["applicationInstance"],
        OLD_TAGS,
    ),
    action("parapet:RevokeRoleSessions", Write, &["role"], OLD_TAGS),
    action("parapet:RevokeUserSessions", Write, &["user"], OLD_TAGS),
    action("parapet:RollAuthority", Write, &[], &[]),
    action("parapet:RotateMasterKey", Write, &[], &[]),
    action("parapet:SearchAudit", Read, &[], &[]),
    action("parapet:UpdateCamera", Write, &["package"], OLD_TAGS),
    action(
        "parapet:ViewStream",
        Read,
        &["applicationInstance", "package"],
        OLD_TAGS,
    ),
    action(
        "iam:AddClientIDToOpenIDConnectProvider",
        Write,
        &["oidc-provider"],
        &[],
    ),
    action("iam:AddUserToGroup", Write, &["group"], &[]),
    action(
        "iam:AttachGroupPolicy",
        Permissions,
        &["group"],
        &["iam:PolicyARN"],
    ),
    action(
        "iam:AttachRolePolicy",
        Permissions,
        &["role"],
        &["iam:PolicyARN"],
    ),
    action(
        "iam:AttachUserPolicy",
        Permissions,
        &["user"],
        &["iam:PolicyARN"],
    ),
    action("iam:CreateAccessKey", Write, &["user"], &[]),
    action("iam:CreateAccountAlias", Write, &[], &[]),
    action("iam:CreateGroup", Write, &["group"], &[]),
    action(
        "iam:CreateOpenIDConnectProvider",
        Write,
        &["oidc-provider"],
        TAGS,
    ),
    action("iam:CreatePolicy", Permissions, &["policy"], TAGS),
    action("iam:CreatePolicyVersion", Permissions, &["policy"], &[]),
    action(
        "iam:CreateRole",
        Write,
        &["role"],
        &["iam:PermissionsBoundary"],
    ),
    action(
        "iam:CreateServiceLinkedRole",
        Write,
        &["role"],
        &["iam:AWSServiceName"],
    ),
    action(
        "iam:CreateUser",
        Write,
        &["user"],
        &["iam:PermissionsBoundary"],
    ),
    action("iam:CreateVirtualMFADevice", Write, &["mfa"], TAGS),
    action("iam:DeactivateMFADevice", Write, &["user"], &[]),
    action("iam:DeleteAccessKey", Write, &["user"], &[]),
    action("iam:DeleteAccountAlias", Write, &[], &[]),
    action("iam:DeleteGroup", Write, &["group"], &[]),
    action("iam:DeleteGroupPolicy", Permissions, &["group"], &[]),
    action(
        "iam:DeleteOpenIDConnectProvider",
        Write,
        &["oidc-provider"],
        &[],
    ),
    action("iam:DeletePolicy", Permissions, &["policy"], &[]),
    action("iam:DeletePolicyVersion", Permissions, &["policy"], &[]),
    action("iam:DeleteRole", Write, &["role"], &[]),
    action(
        "iam:DeleteRolePermissionsBoundary",
        Permissions,
        &["role"],
        &[],
    ),
    action("iam:DeleteRolePolicy", Permissions, &["role"], &[]),
    action("iam:DeleteServiceLinkedRole", Write, &["role"], &[]),
    action("iam:DeleteUser", Write, &["user"], &[]),
    action(
        "iam:DeleteUserPermissionsBoundary",
        Permissions,
        &["user"],
        &[],
    ),
    action("iam:DeleteUserPolicy", Permissions, &["user"], &[]),
    action("iam:DeleteVirtualMFADevice", Write, &["mfa"], &[]),
    action(
        "iam:DetachGroupPolicy",
        Permissions,
        &["group"],
        &["iam:PolicyARN"],
    ),
    action(
        "iam:DetachRolePolicy",
        Permissions,
        &["role"],
        &["iam:PolicyARN"],
    ),
    action(
        "iam:DetachUserPolicy",
        Permissions,
        &["user"],
        &["iam:PolicyARN"],
    ),
    action("iam:EnableMFADevice", Write, &["user"], &[]),
    action("iam:GetAccessKeyLastUsed", Read, &["user"], &[]),
    action("iam:GetAccountAuthorizationDetails", Read, &[], &[]),
    action("iam:GetAccountSummary", List, &[], &[]),
    action("iam:GetGroup", Read, &["group"], &[]),
    action("iam:GetGroupPolicy", Read, &["group"], &[]),
    action(
        "iam:GetOpenIDConnectProvider",
        Read,
        &["oidc-provider"],
        &[],
    ),
    action("iam:GetPolicy", Read, &["policy"], &[]),
    action("iam:GetPolicyVersion", Read, &["policy"], &[]),
    action("iam:GetRole", Read, &["role"], &[]),
    action("iam:GetRolePolicy", Read, &["role"], &[]),
    action(
        "iam:GetServiceLinkedRoleDeletionStatus",
        Read,
        &["role"],
        &[],
    ),
    action("iam:GetUser", Read, &["user"], &[]),
    action("iam:GetUserPolicy", Read, &["user"], &[]),
    action("iam:ListAccessKeys", List, &["user"], &[]),
    action("iam:ListAccountAliases", List, &[], &[]),
    action("iam:ListAttachedGroupPolicies", List, &["group"], &[]),
    action("iam:ListAttachedRolePolicies", List, &["role"], &[]),
    action("iam:ListAttachedUserPolicies", List, &["user"], &[]),
    action("iam:ListEntitiesForPolicy", List, &["policy"], &[]),
    action("iam:ListGroupPolicies", List, &["group"], &[]),
    action("iam:ListGroups", List, &[], &[]),
    action("iam:ListGroupsForUser", List, &["user"], &[]),
    action("iam:ListInstanceProfilesForRole", List, &["role"], &[]),
    action("iam:ListMFADevices", List, &["user"], &[]),
    action("iam:ListOpenIDConnectProviders", List, &[], &[]),
    action("iam:ListPolicies", List, &[], &[]),
    action("iam:ListPolicyTags", List, &["policy"], &[]),
    action("iam:ListPolicyVersions", List, &["policy"], &[]),
    action("iam:ListRolePolicies", List, &["role"], &[]),
    action("iam:ListRoleTags", List, &["role"], &[]),
    action("iam:ListRoles", List, &[], &[]),
    action("iam:ListUserPolicies", List, &["user"], &[]),
    action("iam:ListUserTags", List, &["user"], &[]),
    action("iam:ListUsers", List, &[], &[]),
    action("iam:ListVirtualMFADevices", List, &[], &[]),
    action(
        "iam:PassRole",
        Write,
        &["role"],
        &["iam:PassedToService", "iam:AssociatedResourceArn"],
    ),
    action("iam:PutGroupPolicy", Permissions, &["group"], &[]),
    action(
        "iam:PutRolePermissionsBoundary",
        Permissions,
        &["role"],
        &["iam:PermissionsBoundary"],
    ),
    action(
        "iam:PutRolePolicy",
        Permissions,
        &["role"],
        &["iam:PermissionsBoundary"],
    ),
    action(
        "iam:PutUserPermissionsBoundary",
        Permissions,
        &["user"],
        &["iam:PermissionsBoundary"],
    ),
    action(
        "iam:PutUserPolicy",
        Permissions,
        &["user"],
        &["iam:PermissionsBoundary"],
    ),
    action(
        "iam:RemoveClientIDFromOpenIDConnectProvider",
        Write,
        &["oidc-provider"],
        &[],
    ),
    action("iam:RemoveUserFromGroup", Write, &["group"], &[]),
    action("iam:SetDefaultPolicyVersion", Permissions, &["policy"], &[]),
    action("iam:SimulateCustomPolicy", Read, &[], &[]),
    action(
        "iam:SimulatePrincipalPolicy",
        Read,
        &["group", "role", "user"],
        &[],
    ),
    action("iam:TagPolicy", Tagging, &["policy"], TAGS),
    action("iam:TagRole", Tagging, &["role"], TAGS),
    action("iam:TagUser", Tagging, &["user"], TAGS),
    action("iam:UntagPolicy", Tagging, &["policy"], &["aws:TagKeys"]),
    action("iam:UntagRole", Tagging, &["role"], &["aws:TagKeys"]),
    action("iam:UntagUser", Tagging, &["user"], &["aws:TagKeys"]),
    action("iam:UpdateAccessKey", Write, &["user"], &[]),
    action("iam:UpdateAssumeRolePolicy", Permissions, &["role"], &[]),
    action("iam:UpdateGroup", Write, &["group"], &[]),
    action(
        "iam:UpdateOpenIDConnectProviderThumbprint",
        Write,
        &["oidc-provider"],
        &[],
    ),
    action("iam:UpdateRole", Write, &["role"], &[]),
    action("iam:UpdateRoleDescription", Write, &["role"], &[]),
    action("iam:UpdateUser", Write, &["user"], &[]),
    action(
        "sts:AssumeRole",
        Write,
        &["role"],
        &[
            "sts:ExternalId",
            "sts:RoleSessionName",
            "sts:SourceIdentity",
            "sts:TransitiveTagKeys",
        ],
    ),
    action(
        "sts:AssumeRoleWithWebIdentity",
        Write,
        &["role"],
        &["sts:RoleSessionName"],
    ),
    action("sts:GetCallerIdentity", Read, &[], &[]),
    action("sts:GetSessionToken", Read, &[], &[]),
    action(
        "sts:SetSourceIdentity",
        Write,
        &["role", "user"],
        &["sts:SourceIdentity"],
    ),
    action("sts:TagSession", Tagging, &["role", "user"], TAGS),
    action("s3:AbortMultipartUpload", Write, &["object"], &[]),
    action("s3:DeleteObject", Write, &["object"], &[]),
    action("s3:GetBucketLocation", Read, &["bucket"], &[]),
    action("s3:GetObject", Read, &["object"], &[]),
    action("s3:ListBucket", List, &["bucket"], &["s3:prefix"]),
    action("s3:ListMultipartUploadParts", Read, &["object"], &[]),
    action("s3:PutObject", Write, &["object"], &[]),
];

/// Services whose actions are all in the table.
const WHOLE: &[&str] = &["panorama:", "parapet:", "sts:"];

/// The action of this name; names ignore case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Action> {
    ACTIONS
        .iter()
        .find(|action| action.name.eq_ignore_ascii_case(name))
}

impl Policy {
    /// Actions it names that this server does not know, although it knows the service: most likely
    /// misspelt. Not refused, since the original takes them, and policies written for it name
    /// actions that came later or were withdrawn.
    #[must_use]
    pub fn unknown_actions(&self) -> Vec<&str> {
        let patterns = self.statements.iter().flat_map(|it| &it.actions.patterns);
        patterns
            .filter(|it| WHOLE.iter().any(|service| it.text.starts_with(service)))
            .filter(|it| {
                !ACTIONS
                    .iter()
                    .any(|action| it.glob.fits(&action.name.to_ascii_lowercase()))
            })
            .map(|it| it.text.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyKind;
    use parapet_api::Operation;

    #[test]
    fn every_operation_of_the_api_has_its_action() {
        for operation in Operation::ALL {
            let found = find(operation.action());
            assert_eq!(found.map(|it| it.name), Some(operation.action()));
        }
    }

    #[test]
    fn each_action_is_there_once_and_its_keys_are_known() {
        let mut names: Vec<_> = ACTIONS.iter().map(|it| it.name.to_lowercase()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ACTIONS.len());
        for action in ACTIONS {
            for key in action.keys {
                let key = key.replace("${TagKey}", "Team");
                assert_eq!(super::super::keys::check(&key), Ok(()), "{key}");
            }
        }
    }

    #[test]
    fn the_documented_table_is_this_one() {
        let page = include_str!("../../../../docs/policies.md");
        for Action {
            name,
            level,
            resources,
            keys,
        } in ACTIONS
        {
            let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
            let row = format!(
                "| `{name}` | {level:?} | {} | {} |\n",
                resources.join(", "),
                keys.join(", ")
            );
            assert!(page.contains(&row), "docs/policies.md lacks {row}");
        }
        assert_eq!(page.matches("\n| `iam:").count(), count("iam:") + 1);
        assert_eq!(page.matches("\n| `panorama:").count(), count("panorama:"));
        assert_eq!(page.matches("\n| `parapet:").count(), count("parapet:"));
    }

    fn count(service: &str) -> usize {
        let of = |action: &&Action| action.name.starts_with(service);
        ACTIONS.iter().filter(of).count()
    }

    #[test]
    fn misspelt_actions_are_told() {
        let text = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["panorama:Describe*","panorama:DescribeDevise","Parapet:View*","parapet:Look*","ec2:Anything","*"],"Resource":"*"}]}"#;
        let policy = Policy::parse(text, PolicyKind::Managed).unwrap();
        assert_eq!(
            policy.unknown_actions(),
            ["panorama:describedevise", "parapet:look*"]
        );
    }
}
