//! Interfaces of packages as the API shows them.

use parapet_api::{NodeInputPort, NodeInterface, NodeOutputPort, PortType};
use parapet_manifest::Interface;

/// Inputs that hold credentials in camera packages; their defaults are never shown.
const CREDENTIALS: [&str; 2] = ["username", "password"];
/// Longest `PortDefaultValue`.
const DEFAULT_CHARACTERS: usize = 255;

/// `NodeInterface` of an interface.
#[must_use]
pub fn wire_interface(interface: &Interface) -> NodeInterface {
    let is_camera = interface.category == parapet_manifest::Category::MediaSource;
    let inputs = interface.inputs.iter().map(|input| {
        let hidden = is_camera && CREDENTIALS.contains(&input.name.as_str());
        let default = input.default.as_ref().filter(|_| !hidden).map(|value| {
            value
                .to_text()
                .chars()
                .take(DEFAULT_CHARACTERS)
                .collect::<String>()
        });
        NodeInputPort {
            // The model's shortest default has one character.
            default_value: default.filter(|text| !text.is_empty()),
            description: input.description.clone(),
            max_connections: input.max_connections,
            name: input.name.clone(),
            port_type: wire_type(input.kind),
        }
    });
    let outputs = interface.outputs.iter().map(|output| NodeOutputPort {
        description: output.description.clone(),
        name: output.name.clone(),
        port_type: wire_type(output.kind),
    });
    NodeInterface {
        inputs: inputs.collect(),
        outputs: outputs.collect(),
    }
}

fn wire_type(kind: parapet_manifest::PortType) -> PortType {
    match kind {
        parapet_manifest::PortType::Boolean => PortType::Boolean,
        parapet_manifest::PortType::Int32 => PortType::Int32,
        parapet_manifest::PortType::Float32 => PortType::Float32,
        parapet_manifest::PortType::String => PortType::String,
        parapet_manifest::PortType::Media => PortType::Media,
    }
}

#[cfg(test)]
mod tests {
    use parapet_api::WireEnum as _;
    use parapet_manifest::PackageManifest;

    use super::*;

    #[test]
    fn a_cameras_credentials_are_not_shown() {
        let text = super::super::camera::package_json("cam", "1.0", "cam", None, "rtsp://h/1")
            .expect("json")
            .replace(
                r#""default":"","name":"password""#,
                r#""default":"hunter2","name":"password""#,
            );
        assert!(text.contains("hunter2"), "{text}");
        let manifest = PackageManifest::parse(&text).expect("a manifest");
        let shown = wire_interface(&manifest.interfaces[0]);
        let default = |name: &str| {
            shown
                .inputs
                .iter()
                .find(|i| i.name == name)
                .and_then(|i| i.default_value.clone())
        };
        assert_eq!(default("streamUrl").as_deref(), Some("rtsp://h/1"));
        assert_eq!(default("password"), None);
        assert_eq!(shown.outputs[0].port_type.as_str(), "MEDIA");
    }
}
