//! The packages of the account `panorama` as the API shows them (`spec/api.md` section 5).

use parapet_api::{
    DescribeNodeResponse, DescribePackageVersionResponse, Node, NodeCategory, PackageId,
    PackageIdentifier, PackageVersionStatus, Timestamp, WireEnum as _, node_id,
};
use parapet_manifest::system::{PACKAGES, SystemPackage, VERSION};
use parapet_manifest::{Interface, PackageManifest};

use super::node::wire_interface;

pub use parapet_manifest::system::OWNER;

/// They have been there from the beginning: a fixed instant of the year in which their envelope
/// version was set.
const CREATED: i64 = 1_609_459_200_000_000;

/// All system nodes.
#[must_use]
pub fn nodes() -> Vec<Node> {
    interfaces()
        .into_iter()
        .map(|(package, interface)| Node {
            category: category(&interface),
            created_time: Timestamp::from_micros(CREATED),
            description: Some(interface.description.clone().unwrap_or_default()),
            node_id: node_id(package.name, VERSION, package.patch, &interface.name),
            name: interface.name,
            owner_account: OWNER.to_owned(),
            package_arn: None,
            package_id: package_id(&package),
            package_name: package.name.to_owned(),
            package_version: VERSION.to_owned(),
            patch_version: package.patch.to_owned(),
        })
        .collect()
}

/// The system node with this ID.
#[must_use]
pub fn node(id: &str) -> Option<DescribeNodeResponse> {
    let (package, interface) = interfaces().into_iter().find(|(package, interface)| {
        node_id(package.name, VERSION, package.patch, &interface.name) == id
    })?;
    Some(DescribeNodeResponse {
        asset_name: interface.asset.clone(),
        category: category(&interface),
        created_time: Timestamp::from_micros(CREATED),
        description: interface.description.clone().unwrap_or_default(),
        last_updated_time: Timestamp::from_micros(CREATED),
        node_interface: wire_interface(&interface),
        name: interface.name,
        node_id: id.to_owned(),
        owner_account: OWNER.to_owned(),
        package_arn: None,
        package_id: package_id(&package),
        package_name: package.name.to_owned(),
        package_version: VERSION.to_owned(),
        patch_version: package.patch.to_owned(),
    })
}

/// The version of a system package; `None` when there is no such package, version or patch.
#[must_use]
pub fn version(
    named: &PackageIdentifier,
    version: &str,
    patch: Option<&str>,
) -> Option<DescribePackageVersionResponse> {
    let package = PACKAGES.into_iter().find(|package| match named {
        PackageIdentifier::Id(id) => *id == package_id(package),
        PackageIdentifier::Name(name) => name == package.name,
    })?;
    if version != VERSION || patch.is_some_and(|patch| patch != package.patch) {
        return None;
    }
    Some(DescribePackageVersionResponse {
        is_latest_patch: true,
        owner_account: OWNER.to_owned(),
        package_arn: None,
        package_id: package_id(&package),
        package_name: package.name.to_owned(),
        package_version: VERSION.to_owned(),
        patch_version: package.patch.to_owned(),
        registered_time: Some(Timestamp::from_micros(CREATED)),
        status: PackageVersionStatus::RegisterCompleted,
        status_description: "Comes with the service.".to_owned(),
    })
}

fn interfaces() -> Vec<(SystemPackage, Interface)> {
    PACKAGES
        .into_iter()
        .filter_map(|package| Some((package, package.manifest().ok()?)))
        .flat_map(|(package, PackageManifest { interfaces, .. })| {
            interfaces
                .into_iter()
                .map(move |interface| (package, interface))
        })
        .collect()
}

fn category(interface: &Interface) -> NodeCategory {
    let word = interface.category.as_api();
    // Both tables hold the same four words; the test below compares them.
    NodeCategory::from_wire(word).unwrap_or(NodeCategory::BusinessLogic)
}

/// An ID that is the same on every server: the patch names the content already.
fn package_id(package: &SystemPackage) -> String {
    let digits = package
        .patch
        .get(..32)
        .and_then(|hex| u128::from_str_radix(hex, 16).ok());
    PackageId::from_random(digits.unwrap_or_default()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_nodes_are_the_two_of_the_original() {
        let nodes = nodes();
        let names: Vec<_> = nodes
            .iter()
            .map(|n| (n.name.as_str(), n.category.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("rtsp_v1_interface", "MEDIA_SOURCE"),
                ("hdmi0", "MEDIA_SINK")
            ]
        );
        for found in &nodes {
            assert!(node(&found.node_id).is_some_and(|n| n.package_id == found.package_id));
        }
        assert_ne!(nodes[0].package_id, nodes[1].package_id);
    }

    #[test]
    fn every_category_has_a_word_of_the_api() {
        use parapet_manifest::Category::{BusinessLogic, MediaSink, MediaSource, MlModel};
        for category in [BusinessLogic, MediaSink, MediaSource, MlModel] {
            assert!(NodeCategory::from_wire(category.as_api()).is_some());
        }
    }

    #[test]
    fn a_system_package_is_found_by_its_alias() {
        let named = PackageIdentifier::Name("hdmi_data_sink".to_owned());
        assert!(version(&named, "1.0", None).is_some());
        assert!(version(&named, "2.0", None).is_none());
        assert!(version(&named, "1.0", Some("ab")).is_none());
    }
}
