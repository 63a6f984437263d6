//! Whether an uploaded package can be registered (`spec/manifests.md` section 7, rows 13 to 15).

use parapet_manifest::{Descriptor, PackageManifest};

use crate::store::versions::PatchKey;

/// Longest `StatusDescription`.
const DESCRIPTION_CHARACTERS: usize = 255;

/// A package.json that fits its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Its text.
    pub text: String,
    /// Its SHA-256: the patch version.
    pub patch: String,
    /// What it says.
    pub manifest: PackageManifest,
    /// The version it is for.
    pub version: String,
}

impl Checked {
    /// Reads the bytes of a package.json for this package and version; says why it is refused.
    pub fn manifest(package: &str, version: &str, bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| "package.json is not UTF-8; save it as UTF-8".to_owned())?;
        let manifest = PackageManifest::parse(text).map_err(|error| shortened(&error))?;
        manifest
            .files(package, version)
            .map_err(|error| shortened(&error))?;
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        Ok(Self {
            text: text.to_owned(),
            patch: hex::encode(hash),
            manifest,
            version: version.to_owned(),
        })
    }

    /// Where it stands in package `id`.
    #[must_use]
    pub fn key(&self, id: &str) -> PatchKey {
        PatchKey {
            package: id.to_owned(),
            version: self.version.clone(),
            patch: self.patch.clone(),
        }
    }
}

/// Reads a descriptor; says why it is refused.
pub fn descriptor(uri: &str, bytes: &[u8]) -> Result<(String, Descriptor), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{uri} is not UTF-8"))?;
    let descriptor = Descriptor::parse(text).map_err(|error| cut(&format!("{uri}: {error}")))?;
    Ok((text.to_owned(), descriptor))
}

/// What a caller reads when a package has as many patches as it may.
#[must_use]
pub fn quota_message(package: &str) -> String {
    cut(&format!(
        "You've reached the maximum number of versions for package {package}. Deregister versions \
         that are no longer used."
    ))
}

/// An error as a `StatusDescription`.
#[must_use]
pub fn shortened(error: &impl std::fmt::Display) -> String {
    cut(&error.to_string())
}

/// The first characters that a `StatusDescription` can hold.
#[must_use]
pub fn cut(text: &str) -> String {
    text.chars().take(DESCRIPTION_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = r#"{"nodePackage":{"envelopeVersion":"2021-01-01","name":"CODE","version":"1.0",
        "assets":[{"name":"code","implementations":[{"type":"container","assetUri":"a.tar.gz","descriptorUri":"d.json"}]}],
        "interfaces":[{"name":"interface","category":"business_logic","asset":"code"}]}}"#;

    #[test]
    fn a_patch_is_the_hash_of_the_bytes() {
        let one = Checked::manifest("CODE", "1.0", CODE.as_bytes()).expect("valid");
        let two = Checked::manifest("CODE", "1.0", format!("{CODE}\n").as_bytes()).expect("valid");
        assert_eq!(one.patch.len(), 64);
        assert_ne!(one.patch, two.patch);
        assert_eq!(one.manifest, two.manifest);
    }

    #[test]
    fn a_manifest_of_another_package_or_of_nothing_is_refused_in_short() {
        for (package, version, text) in [
            ("OTHER", "1.0", CODE),
            ("CODE", "2.0", CODE),
            ("CODE", "1.0", "{}"),
            ("CODE", "1.0", ""),
        ] {
            let reason = Checked::manifest(package, version, text.as_bytes()).expect_err(package);
            assert!(
                (1..=DESCRIPTION_CHARACTERS).contains(&reason.chars().count()),
                "{reason}"
            );
        }
        assert!(Checked::manifest("CODE", "1.0", b"\xff").is_err());
    }
}
