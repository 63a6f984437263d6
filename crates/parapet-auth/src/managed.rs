//! The managed policies that exist under the original's names, and one of our own.
//!
//! The documents beside this file say what `spec/security.md` section 3 says of each, in our own
//! words: those of Panorama, two that its console asks for, and the administrator's. None of them
//! contains a `parapet` action but the administrator's and our read-only one: whoever held
//! `AWSPanoramaFullAccess` gets what the original gave and no pictures.

use crate::policy::{Policy, PolicyError, PolicyKind};

/// A policy that is there from the first day and that nobody can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManagedPolicy {
    /// `AWSPanoramaFullAccess`.
    pub name: &'static str,
    /// `/`, `/service-role/` or `/aws-service-role/`.
    pub path: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// The document, JSON.
    pub document: &'static str,
}

impl ManagedPolicy {
    /// `arn:aws:iam::aws:policy/service-role/AWSPanoramaApplianceServiceRolePolicy`.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::aws:policy{}{}", self.path, self.name)
    }

    /// The compiled document.
    pub fn policy(&self) -> Result<Policy, PolicyError> {
        Policy::parse(self.document, PolicyKind::Managed)
    }

    /// Whether it is for a service-linked role only and cannot be attached to anything else.
    #[must_use]
    pub fn is_service_linked(&self) -> bool {
        self.path == "/aws-service-role/"
    }
}

macro_rules! managed {
    ($($path:literal $name:literal: $description:literal;)+) => {
        &[$(ManagedPolicy {
            name: $name,
            path: $path,
            description: $description,
            document: include_str!(concat!("managed/", $name, ".json")),
        }),+]
    };
}

/// All of them.
pub const MANAGED: &[ManagedPolicy] = managed! {
    "/" "AdministratorAccess": "Everything.";
    "/" "ParapetReadOnlyAccess": "Sees devices, packages, applications and the pictures of their streams; changes nothing.";
    "/" "AWSPanoramaFullAccess": "All of Panorama, with the objects, secrets, roles, logs and metrics that go with it.";
    "/" "ResourceGroupsandTagEditorFullAccess": "Groups resources and edits their tags.";
    "/" "ElementalAppliancesSoftwareFullAccess": "Orders appliances.";
    "/aws-service-role/" "AWSPanoramaServiceLinkedRolePolicy": "What the service itself does for an account.";
    "/service-role/" "AWSPanoramaApplianceServiceRolePolicy": "What an appliance does: logs, metrics, packages.";
    "/service-role/" "AWSPanoramaServiceRolePolicy": "The service's role before general availability; unused.";
    "/service-role/" "AWSPanoramaApplianceRolePolicy": "The appliance's role before general availability; unused.";
    "/service-role/" "AWSPanoramaGreengrassGroupRolePolicy": "The applications' role before general availability; unused.";
    "/service-role/" "AWSPanoramaSageMakerRolePolicy": "The model compiler's role before general availability; unused.";
};

/// The managed policy with this ARN.
#[must_use]
pub fn find(arn: &str) -> Option<&'static ManagedPolicy> {
    MANAGED.iter().find(|policy| policy.arn() == arn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Attached, Context, Grants, Question, actions, decide};

    fn may(name: &str, action: &str, resource: &str, context: &Context) -> bool {
        let policy = MANAGED.iter().find(|it| it.name == name).expect(name);
        let grants = Grants::identity(vec![Attached::new(name, policy.policy().unwrap())]);
        let question = Question {
            action,
            resource,
            context,
        };
        decide(&grants, &question).is_allowed()
    }

    #[test]
    fn every_document_is_read_by_the_strict_parser_and_names_known_actions() {
        for managed in MANAGED {
            let policy = managed
                .policy()
                .unwrap_or_else(|error| panic!("{}: {error}", managed.name));
            let unknown = policy.unknown_actions();
            // Withdrawn with the preview: no action of today begins with Get but one.
            assert!(unknown.is_empty(), "{}: {unknown:?}", managed.name);
            assert_eq!(find(&managed.arn()), Some(managed));
        }
    }

    #[test]
    fn arns_are_those_of_the_original() {
        for arn in [
            "arn:aws:iam::aws:policy/AdministratorAccess",
            "arn:aws:iam::aws:policy/AWSPanoramaFullAccess",
            "arn:aws:iam::aws:policy/aws-service-role/AWSPanoramaServiceLinkedRolePolicy",
            "arn:aws:iam::aws:policy/service-role/AWSPanoramaApplianceServiceRolePolicy",
        ] {
            assert!(find(arn).is_some(), "{arn}");
        }
        assert!(find("arn:aws:iam::123456789012:policy/AdministratorAccess").is_none());
    }

    #[test]
    fn no_policy_of_the_original_opens_what_goes_beyond_it() {
        for managed in MANAGED {
            let opens = actions::ACTIONS
                .iter()
                .filter(|action| action.name.starts_with("parapet:"))
                .filter(|action| may(managed.name, action.name, "*", &Context::new()))
                .count();
            let ours = ["AdministratorAccess", "ParapetReadOnlyAccess"].contains(&managed.name);
            assert_eq!(opens > 0, ours, "{}", managed.name);
        }
    }

    #[test]
    fn the_read_only_policy_reads_everything_of_panorama_and_changes_nothing() {
        use actions::Level;
        for action in actions::ACTIONS {
            let opens = may("ParapetReadOnlyAccess", action.name, "*", &Context::new());
            let reads = matches!(action.level, Level::List | Level::Read);
            let named = |service| action.name.starts_with(service);
            let expected = match action.name {
                // No Describe or List; and the audit trail tells who did what from where, which is
                // not for everybody who may look.
                "panorama:GetWebSocketURL" | "parapet:SearchAudit" | "parapet:ExportAudit" => false,
                // A session of the console can do what its caller can do.
                "parapet:CreateConsoleSession" => true,
                _ => reads && (named("panorama:") || named("parapet:")),
            };
            assert_eq!(opens, expected, "{}", action.name);
        }
    }

    #[test]
    fn full_access_passes_roles_to_panorama_only() {
        let role = "arn:aws:iam::123456789012:role/app";
        let to = |service: &str| Context::new().with("iam:PassedToService", service);
        let passes = |context| may("AWSPanoramaFullAccess", "iam:PassRole", role, &context);
        assert!(passes(to("panorama.amazonaws.com")));
        assert!(!passes(to("ec2.amazonaws.com")));
        assert!(!passes(Context::new()));
    }

    #[test]
    fn an_appliance_writes_metrics_into_its_namespace_only() {
        let into = |name: &str| {
            let context = Context::new().with("cloudwatch:namespace", name);
            may(
                "AWSPanoramaApplianceServiceRolePolicy",
                "cloudwatch:PutMetricData",
                "*",
                &context,
            )
        };
        assert!(into("PanoramaDeviceMetrics"));
        assert!(!into("AWS/EC2"));
    }
}
