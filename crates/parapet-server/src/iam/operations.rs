//! The table of all operations: what is served, under which action, on what.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::{
    Answer, Call, access_key_last_used, access_keys, account, account_aliases, attached_policies,
    authorization_details, entities_for_policy, groups, inline_policies, memberships, mfa_devices,
    oidc_providers, permissions_boundaries, policies, policy_versions, roles, service_linked_roles,
    simulate, tags, users,
};
use crate::store::HolderKind::{Group, Role, User};
use crate::store::principal_tags::Tagged;

/// How far an operation reaches, as the service authorization reference classes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Names of things.
    List,
    /// What they are.
    Read,
    /// Makes, changes, removes.
    Write,
    /// Changes tags alone.
    Tagging,
    /// Changes what somebody may do.
    Permissions,
}

/// What an operation acts on: the resource that its action is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Everything: `*`.
    Any,
    /// `user<path><name>`.
    User,
    /// `group<path><name>`.
    Group,
    /// `role<path><name>`.
    Role,
    /// `policy<path><name>`.
    Policy,
    /// `mfa<path><name>`.
    Mfa,
    /// `oidc-provider/<url>`.
    OidcProvider,
}

type Running<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// An operation of the API.
pub struct Operation {
    /// As `Action` names it.
    pub name: &'static str,
    /// As policies name it: `iam:` and a name.
    pub action: &'static str,
    /// How far it reaches.
    pub access: Access,
    /// What it is asked about.
    pub resource: Shape,
    pub(super) run: for<'a> fn(&'a Call) -> Running<'a>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action)
    }
}

macro_rules! operations {
    ($($name:literal $access:ident $shape:ident => $run:expr),+ $(,)?) => {
        /// Everything that is served.
        pub static OPERATIONS: &[Operation] = &[
            $(Operation {
                name: $name,
                action: concat!("iam:", $name),
                access: Access::$access,
                resource: Shape::$shape,
                run: |call| Box::pin($run(call)),
            }),+
        ];
    };
}

operations! {
    "CreateUser" Write User => users::create,
    "GetUser" Read User => users::get,
    "ListUsers" List User => users::list,
    "UpdateUser" Write User => users::update,
    "DeleteUser" Write User => users::delete,

    "CreateGroup" Write Group => groups::create,
    "GetGroup" Read Group => groups::get,
    "ListGroups" List Group => groups::list,
    "UpdateGroup" Write Group => groups::update,
    "DeleteGroup" Write Group => groups::delete,
    "AddUserToGroup" Write Group => memberships::add,
    "RemoveUserFromGroup" Write Group => memberships::remove,
    "ListGroupsForUser" List User => memberships::list,

    "CreateRole" Write Role => roles::create,
    "GetRole" Read Role => roles::get,
    "ListRoles" List Role => roles::list,
    "UpdateRole" Write Role => roles::update,
    "UpdateRoleDescription" Write Role => roles::update_description,
    "UpdateAssumeRolePolicy" Permissions Role => roles::update_trust,
    "DeleteRole" Write Role => roles::delete,
    "ListInstanceProfilesForRole" List Role => roles::list_instance_profiles,
    "CreateServiceLinkedRole" Write Role => service_linked_roles::create,
    "DeleteServiceLinkedRole" Write Role => service_linked_roles::delete,
    "GetServiceLinkedRoleDeletionStatus" Read Role => service_linked_roles::deletion_status,

    "CreateAccessKey" Write User => access_keys::create,
    "ListAccessKeys" List User => access_keys::list,
    "UpdateAccessKey" Write User => access_keys::update,
    "DeleteAccessKey" Write User => access_keys::delete,
    "GetAccessKeyLastUsed" Read User => access_key_last_used::get,

    "CreatePolicy" Permissions Policy => policies::create,
    "GetPolicy" Read Policy => policies::get,
    "ListPolicies" List Any => policies::list,
    "DeletePolicy" Permissions Policy => policies::delete,
    "CreatePolicyVersion" Permissions Policy => policy_versions::create,
    "GetPolicyVersion" Read Policy => policy_versions::get,
    "ListPolicyVersions" List Policy => policy_versions::list,
    "SetDefaultPolicyVersion" Permissions Policy => policy_versions::set_default,
    "DeletePolicyVersion" Permissions Policy => policy_versions::delete,
    "ListEntitiesForPolicy" List Policy => entities_for_policy::list,

    "AttachUserPolicy" Permissions User => |call| attached_policies::attach(call, User),
    "DetachUserPolicy" Permissions User => |call| attached_policies::detach(call, User),
    "ListAttachedUserPolicies" List User => |call| attached_policies::list(call, User),
    "AttachGroupPolicy" Permissions Group => |call| attached_policies::attach(call, Group),
    "DetachGroupPolicy" Permissions Group => |call| attached_policies::detach(call, Group),
    "ListAttachedGroupPolicies" List Group => |call| attached_policies::list(call, Group),
    "AttachRolePolicy" Permissions Role => |call| attached_policies::attach(call, Role),
    "DetachRolePolicy" Permissions Role => |call| attached_policies::detach(call, Role),
    "ListAttachedRolePolicies" List Role => |call| attached_policies::list(call, Role),

    "PutUserPolicy" Permissions User => |call| inline_policies::put(call, User),
    "GetUserPolicy" Read User => |call| inline_policies::get(call, User),
    "ListUserPolicies" List User => |call| inline_policies::list(call, User),
    "DeleteUserPolicy" Permissions User => |call| inline_policies::delete(call, User),
    "PutGroupPolicy" Permissions Group => |call| inline_policies::put(call, Group),
    "GetGroupPolicy" Read Group => |call| inline_policies::get(call, Group),
    "ListGroupPolicies" List Group => |call| inline_policies::list(call, Group),
    "DeleteGroupPolicy" Permissions Group => |call| inline_policies::delete(call, Group),
    "PutRolePolicy" Permissions Role => |call| inline_policies::put(call, Role),
    "GetRolePolicy" Read Role => |call| inline_policies::get(call, Role),
    "ListRolePolicies" List Role => |call| inline_policies::list(call, Role),
    "DeleteRolePolicy" Permissions Role => |call| inline_policies::delete(call, Role),

    "PutUserPermissionsBoundary" Permissions User => |call| permissions_boundaries::put(call, User),
    "DeleteUserPermissionsBoundary" Permissions User
        => |call| permissions_boundaries::delete(call, User),
    "PutRolePermissionsBoundary" Permissions Role => |call| permissions_boundaries::put(call, Role),
    "DeleteRolePermissionsBoundary" Permissions Role
        => |call| permissions_boundaries::delete(call, Role),

    "TagUser" Tagging User => |call| tags::tag(call, Tagged::User),
    "UntagUser" Tagging User => |call| tags::untag(call, Tagged::User),
    "ListUserTags" List User => |call| tags::list(call, Tagged::User),
    "TagRole" Tagging Role => |call| tags::tag(call, Tagged::Role),
    "UntagRole" Tagging Role => |call| tags::untag(call, Tagged::Role),
    "ListRoleTags" List Role => |call| tags::list(call, Tagged::Role),
    "TagPolicy" Tagging Policy => |call| tags::tag(call, Tagged::Policy),
    "UntagPolicy" Tagging Policy => |call| tags::untag(call, Tagged::Policy),
    "ListPolicyTags" List Policy => |call| tags::list(call, Tagged::Policy),

    "CreateOpenIDConnectProvider" Write OidcProvider => oidc_providers::create,
    "GetOpenIDConnectProvider" Read OidcProvider => oidc_providers::get,
    "ListOpenIDConnectProviders" List Any => oidc_providers::list,
    "DeleteOpenIDConnectProvider" Write OidcProvider => oidc_providers::delete,
    "AddClientIDToOpenIDConnectProvider" Write OidcProvider => oidc_providers::add_client_id,
    "RemoveClientIDFromOpenIDConnectProvider" Write OidcProvider
        => oidc_providers::remove_client_id,
    "UpdateOpenIDConnectProviderThumbprint" Write OidcProvider
        => oidc_providers::update_thumbprints,

    "CreateVirtualMFADevice" Write Mfa => mfa_devices::create,
    "DeleteVirtualMFADevice" Write Mfa => mfa_devices::delete,
    "ListVirtualMFADevices" List Any => mfa_devices::list_virtual,
    "EnableMFADevice" Write User => mfa_devices::enable,
    "DeactivateMFADevice" Write User => mfa_devices::deactivate,
    "ListMFADevices" List User => mfa_devices::list,

    "GetAccountSummary" Read Any => account::summary,
    "GetAccountAuthorizationDetails" Read Any => authorization_details::get,
    "ListAccountAliases" List Any => account_aliases::list,
    "CreateAccountAlias" Write Any => account_aliases::create,
    "DeleteAccountAlias" Write Any => account_aliases::delete,

    "SimulatePrincipalPolicy" Read Any => simulate::principal_policy,
    "SimulateCustomPolicy" Read Any => simulate::custom_policy,
}
