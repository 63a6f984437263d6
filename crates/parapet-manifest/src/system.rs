//! The packages of the account `panorama` (`spec/api.md` section 5): visible to everyone, never
//! registered, never counted.

use crate::graph::PackageInclude;
use crate::package::PackageManifest;
use crate::resolve::RegisteredPackage;

/// Owner of the system packages.
pub const OWNER: &str = "panorama";
/// The stand-in for a camera, which a deployment has to replace.
pub const ABSTRACT_CAMERA: &str = "abstract_rtsp_media_source";
/// The screen.
pub const DISPLAY: &str = "hdmi_data_sink";
/// Version of both.
pub const VERSION: &str = "1.0";
/// Driver of RTSP cameras.
pub const RTSP_DRIVER: &str = "source/video/camera/rtsp/source_rtsp";
/// Driver of the screen.
pub const DISPLAY_DRIVER: &str = "sink/video/hdmi/sink_hdmi";

/// A package that comes with the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemPackage {
    /// Its name; the owner is [`OWNER`], the version [`VERSION`].
    pub name: &'static str,
    /// SHA-256 of the manifest.
    pub patch: &'static str,
    /// Its `package.json`.
    pub json: &'static str,
}

/// All of them.
pub const PACKAGES: [SystemPackage; 2] = [
    SystemPackage {
        name: ABSTRACT_CAMERA,
        patch: "17a4aeec65694e6e4ed52813901c402f705e35c0f16f8555206a7d0bb58facde",
        json: r#"{"nodePackage":{"envelopeVersion":"2021-01-01","name":"abstract_rtsp_media_source","version":"1.0","description":"Stands for a camera that the deployment names","assets":[],"interfaces":[{"name":"rtsp_v1_interface","category":"media_source","asset":"rtsp_v1_camera","description":"Stands for a camera that the deployment names","outputs":[{"name":"video_out","type":"media","description":"Video stream output"}]}]}}"#,
    },
    SystemPackage {
        name: DISPLAY,
        patch: "78626744147f92a428848ef4b9513e08dea8d679df75035e1c624b176445b92b",
        json: r#"{"nodePackage":{"envelopeVersion":"2021-01-01","name":"hdmi_data_sink","version":"1.0","description":"Shows pictures","assets":[{"name":"hdmi_sink","implementations":[{"type":"system","assetUri":"sink/video/hdmi/sink_hdmi"}]}],"interfaces":[{"name":"hdmi0","category":"media_sink","asset":"hdmi_sink","description":"Shows pictures","inputs":[{"name":"video_in","type":"media","description":"Video stream input"}]}]}}"#,
    },
];

impl SystemPackage {
    /// Its manifest, read.
    ///
    /// # Errors
    /// None for the packages of this crate: a test reads them all.
    pub fn manifest(&self) -> Result<PackageManifest, crate::ManifestError> {
        PackageManifest::parse(self.json)
    }
}

/// The system package that an include names, if it does.
#[must_use]
pub fn lookup(include: &PackageInclude) -> Option<RegisteredPackage> {
    if include.name.owner != OWNER || include.version != VERSION {
        return None;
    }
    let package = PACKAGES
        .iter()
        .find(|package| package.name == include.name.package)?;
    if include
        .patch
        .as_deref()
        .is_some_and(|patch| patch != package.patch)
    {
        return None;
    }
    let manifest = package.manifest().ok()?;
    Some(RegisteredPackage {
        patch: package.patch.to_owned(),
        manifest,
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;

    use super::*;

    #[test]
    fn the_patch_of_a_system_package_is_its_hash() {
        for package in PACKAGES {
            let digest = digest::digest(&digest::SHA256, package.json.as_bytes());
            let hex = format!("{digest:?}").to_ascii_lowercase();
            assert!(hex.contains(package.patch), "{}: {hex}", package.name);
        }
    }

    #[test]
    fn every_system_package_can_be_read() {
        for package in PACKAGES {
            let manifest = package.manifest().unwrap();
            assert_eq!(manifest.name.as_deref(), Some(package.name));
            assert_eq!(manifest.version, VERSION);
        }
    }
}
