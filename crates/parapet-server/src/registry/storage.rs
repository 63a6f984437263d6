//! Where a package's files lie in the S3 front (`spec/api.md` section 3).

/// The one bucket of an account. No blank and no shell metacharacter: panorama-cli puts it into a
/// command line unquoted. A plain name, because SDKs turn an access point's ARN into a host name.
#[must_use]
pub fn bucket(account: &str) -> String {
    format!("panorama-{account}-nodepackages")
}

/// `<account>/nodePackages/<name>/`: everything of one package.
#[must_use]
pub fn package_prefix(account: &str, package: &str) -> String {
    format!("{account}/nodePackages/{package}/")
}

/// `RepoPrefixLocation`.
#[must_use]
pub fn repo_prefix(account: &str, package: &str) -> String {
    package_prefix(account, package) + "repo"
}

/// `GeneratedPrefixLocation`.
#[must_use]
pub fn generated_prefix(account: &str, package: &str) -> String {
    package_prefix(account, package) + "generated"
}

/// `BinaryPrefixLocation`.
#[must_use]
pub fn binary_prefix(account: &str, package: &str) -> String {
    package_prefix(account, package) + "binaries"
}

/// `ManifestPrefixLocation`; published scripts match on `/manifests`.
#[must_use]
pub fn manifest_prefix(account: &str, package: &str) -> String {
    package_prefix(account, package) + "manifests"
}

/// Key of an asset's archive or descriptor.
#[must_use]
pub fn binary_key(account: &str, package: &str, uri: &str) -> String {
    format!("{}/{uri}", binary_prefix(account, package))
}

/// Key of package.json.
#[must_use]
pub fn manifest_key(account: &str, package: &str, version: &str, patch: &str) -> String {
    format!(
        "{}/{version}/{patch}.json",
        manifest_prefix(account, package)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_shape_that_scripts_match() {
        assert_eq!(
            manifest_key("123456789012", "PEOPLE_CODE", "1.0", "9b3f"),
            "123456789012/nodePackages/PEOPLE_CODE/manifests/1.0/9b3f.json"
        );
        assert_eq!(
            binary_key("123456789012", "PEOPLE_CODE", "ab.tar.gz"),
            "123456789012/nodePackages/PEOPLE_CODE/binaries/ab.tar.gz"
        );
        assert_eq!(bucket("123456789012"), "panorama-123456789012-nodepackages");
    }
}
