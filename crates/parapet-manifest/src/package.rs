//! `package.json`: what a package holds and offers (`spec/manifests.md` section 4).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::descriptor::Descriptor;
use crate::error::{Document, ManifestError};
use crate::graph::read_all;
use crate::json::{self, Object};
use crate::names;

/// Bytes of a package.json.
const LIMIT: usize = 1 << 20;
/// Assets of a package (`spec/api.md` section 10).
const MAX_ASSETS: usize = 50;
/// Ports that an interface may listen at.
const MAX_INBOUND_PORTS: usize = 10;

/// A package's assets and interfaces.
#[derive(Debug, Clone, PartialEq)]
pub struct PackageManifest {
    /// Should equal the registered name.
    pub name: Option<String>,
    /// `1.0` where the document has none, as the CLI takes it.
    pub version: String,
    /// For people.
    pub description: Option<String>,
    /// Its files.
    pub assets: Vec<Asset>,
    /// What graphs can use, at least one.
    pub interfaces: Vec<Interface>,
}

/// A named file in one or several implementations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// Unique in the package.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Alternatives, the first suitable one wins.
    pub implementations: Vec<Implementation>,
}

/// One implementation of an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implementation {
    /// What it is.
    pub kind: AssetType,
    /// File below the binary prefix, or the name of a driver.
    pub asset_uri: String,
    /// File of its descriptor below the binary prefix.
    pub descriptor_uri: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What the device must have.
    pub requirements: Vec<Requirement>,
}

impl Implementation {
    /// Whether its own processes shall see an accelerator.
    #[must_use]
    pub fn asks_for_accelerator(&self) -> bool {
        self.requirements.iter().any(|requirement| {
            matches!(requirement, Requirement::HardwareAccess { accelerators } if !accelerators.is_empty())
        })
    }
}

/// Kinds of assets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetType {
    /// A root file system.
    Container,
    /// A model archive.
    Model,
    /// A driver of the appliance.
    System,
}

/// What a device must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// Software within a range.
    Ota {
        /// At least.
        min: Option<String>,
        /// At most.
        max: Option<String>,
    },
    /// A kind of device.
    Device {
        /// `panorama_devkit`.
        name: String,
    },
    /// Accelerators for the container itself.
    HardwareAccess {
        /// `deviceType` of each.
        accelerators: Vec<String>,
    },
    /// `os` or `sdk`: in the schema, referenced by nothing, and ignored.
    Ignored,
}

/// What a graph's node can be.
#[derive(Debug, Clone, PartialEq)]
pub struct Interface {
    /// Unique in the package.
    pub name: String,
    /// What it is for.
    pub category: Category,
    /// The asset behind it; camera drivers name something else.
    pub asset: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What it takes.
    pub inputs: Vec<InputPort>,
    /// What it gives.
    pub outputs: Vec<OutputPort>,
    /// Where its code listens.
    pub inbound_ports: Vec<InboundPort>,
}

/// Kinds of interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A camera.
    MediaSource,
    /// A screen.
    MediaSink,
    /// Code.
    BusinessLogic,
    /// A model.
    MlModel,
}

impl Category {
    /// The API's word, `NodeCategory`.
    #[must_use]
    pub fn as_api(self) -> &'static str {
        match self {
            Self::MediaSource => "MEDIA_SOURCE",
            Self::MediaSink => "MEDIA_SINK",
            Self::BusinessLogic => "BUSINESS_LOGIC",
            Self::MlModel => "ML_MODEL",
        }
    }
}

/// Types of ports and parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortType {
    /// `true` or `false`.
    Boolean,
    /// A 32-bit integer.
    Int32,
    /// A single-precision number.
    Float32,
    /// A text.
    String,
    /// Frames.
    Media,
}

impl PortType {
    /// The manifest's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int32 => "int32",
            Self::Float32 => "float32",
            Self::String => "string",
            Self::Media => "media",
        }
    }

    /// The API's word, `PortType`.
    #[must_use]
    pub fn as_api(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Int32 => "INT32",
            Self::Float32 => "FLOAT32",
            Self::String => "STRING",
            Self::Media => "MEDIA",
        }
    }

    /// The type of a parameter node's `interface`.
    pub(crate) fn literal(text: &str) -> Option<Self> {
        match text {
            "boolean" => Some(Self::Boolean),
            "int32" => Some(Self::Int32),
            "float32" => Some(Self::Float32),
            "string" => Some(Self::String),
            _ => None,
        }
    }

    /// What a value of the type looks like.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Int32 => "an integer of 32 bits",
            Self::Float32 => "a number of single precision",
            Self::String => "a string",
            Self::Media => "no value",
        }
    }
}

impl fmt::Display for PortType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fixed value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "snake_case")]
pub enum Literal {
    /// A truth value.
    Boolean(bool),
    /// A 32-bit integer.
    Int32(i32),
    /// A single-precision number.
    Float32(f32),
    /// A text.
    String(String),
}

impl Literal {
    /// Its type.
    #[must_use]
    pub fn port_type(&self) -> PortType {
        match self {
            Self::Boolean(_) => PortType::Boolean,
            Self::Int32(_) => PortType::Int32,
            Self::Float32(_) => PortType::Float32,
            Self::String(_) => PortType::String,
        }
    }

    /// As text, the way the API shows defaults.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Boolean(value) => value.to_string(),
            Self::Int32(value) => value.to_string(),
            Self::Float32(value) => value.to_string(),
            Self::String(value) => value.clone(),
        }
    }

    /// The value of a parameter without one. `Media` has none and is never asked.
    pub(crate) fn zero(kind: PortType) -> Self {
        match kind {
            PortType::Boolean => Self::Boolean(false),
            PortType::Int32 => Self::Int32(0),
            PortType::Float32 => Self::Float32(0.0),
            PortType::String | PortType::Media => Self::String(String::new()),
        }
    }

    pub(crate) fn read(kind: PortType, value: &Value) -> Option<Self> {
        match kind {
            PortType::Boolean => value.as_bool().map(Self::Boolean),
            PortType::Int32 => json::integer(value)
                .and_then(|n| i32::try_from(n).ok())
                .map(Self::Int32),
            PortType::Float32 => {
                let number = value.as_f64()? as f32;
                number.is_finite().then_some(Self::Float32(number))
            }
            PortType::String => value.as_str().map(|text| Self::String(text.to_owned())),
            PortType::Media => None,
        }
    }
}

/// An input of an interface.
#[derive(Debug, Clone, PartialEq)]
pub struct InputPort {
    /// A Python attribute.
    pub name: String,
    /// What it takes.
    pub kind: PortType,
    /// For people.
    pub description: Option<String>,
    /// The value without an edge.
    pub default: Option<Literal>,
    /// How many edges may lead here; 0 is no limit.
    pub max_connections: u32,
    /// Whether `default` names a value kept elsewhere.
    pub reference: bool,
}

/// An output of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPort {
    /// A Python attribute.
    pub name: String,
    /// What it gives.
    pub kind: PortType,
    /// For people.
    pub description: Option<String>,
}

/// A port that an interface's code listens at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundPort {
    /// The number.
    pub port: u16,
    /// For people.
    pub description: Option<String>,
}

/// A file that a version needs in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile<'a> {
    /// The asset it belongs to.
    pub asset: &'a str,
    /// What the asset is: `Container` or `Model`.
    pub kind: AssetType,
    /// The asset's file name below the binary prefix.
    pub asset_uri: &'a str,
    /// The descriptor's file name below the binary prefix.
    pub descriptor_uri: &'a str,
}

impl PackageManifest {
    /// Reads the text of a `package.json`.
    ///
    /// # Errors
    /// The first rule it breaks, with its path.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let value = json::parse(Document::Package, text, LIMIT)?;
        let root = Object::root(Document::Package, "nodePackage", &value)?;
        root.only(&[
            "envelopeVersion",
            "name",
            "version",
            "description",
            "assets",
            "interfaces",
        ])?;
        root.envelope()?;
        let version = root.text("version")?.unwrap_or("1.0");
        if !names::is_version(version) {
            return Err(root.broken("version", version, "two numbers, such as 1.0"));
        }
        let assets = root.objects("assets")?;
        let interfaces = root.needed_objects("interfaces")?;
        let manifest = Self {
            name: root.name("name", names::PACKAGE_NAME)?,
            version: version.to_owned(),
            description: root.description()?,
            assets: read_all(&assets, Asset::read)?,
            interfaces: read_all(&interfaces, Interface::read)?,
        };
        unique(
            &assets,
            manifest.assets.iter().map(|asset| asset.name.as_str()),
        )?;
        unique(
            &interfaces,
            manifest
                .interfaces
                .iter()
                .map(|interface| interface.name.as_str()),
        )?;
        Ok(manifest)
    }

    /// The interface of that name.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
    }

    /// The implementation behind an interface, where its asset is one of the package.
    #[must_use]
    pub fn implementation(&self, interface: &Interface) -> Option<(&Asset, &Implementation)> {
        let name = interface.asset.as_deref()?;
        let asset = self.assets.iter().find(|asset| asset.name == name)?;
        Some((asset, asset.implementations.first()?))
    }

    /// The files that have to be in storage, asset and descriptor of each.
    ///
    /// # Errors
    /// The first rule of registration that the package breaks: name and version as in the call,
    /// at most 50 assets, real file names, an asset of the right kind behind each code and model
    /// interface, a descriptor with each (`spec/manifests.md` section 7, rows 13 and 14).
    pub fn files(&self, name: &str, version: &str) -> Result<Vec<PackageFile<'_>>, ManifestError> {
        if let Some(other) = self.name.as_deref().filter(|given| *given != name) {
            return Err(ManifestError::OtherPackage {
                path: "nodePackage.name",
                value: other.to_owned(),
                needed: name.to_owned(),
            });
        }
        if self.version != version {
            return Err(ManifestError::OtherPackage {
                path: "nodePackage.version",
                value: self.version.clone(),
                needed: version.to_owned(),
            });
        }
        if self.assets.len() > MAX_ASSETS {
            let count = self.assets.len();
            return Err(ManifestError::TooManyAssets {
                count,
                limit: MAX_ASSETS,
            });
        }
        for interface in &self.interfaces {
            self.asset_of(interface, "")?;
        }
        let mut files = Vec::new();
        for asset in &self.assets {
            for implementation in &asset.implementations {
                files.extend(asset.file(implementation)?);
            }
        }
        Ok(files)
    }

    /// The asset that a code or model interface runs.
    pub(crate) fn asset_of(
        &self,
        interface: &Interface,
        node: &str,
    ) -> Result<Option<(&Asset, &Implementation)>, ManifestError> {
        let found = self.implementation(interface);
        let (kind, needed) = match interface.category {
            Category::BusinessLogic => (AssetType::Container, "container"),
            Category::MlModel => (AssetType::Model, "model"),
            Category::MediaSource | Category::MediaSink => return Ok(found),
        };
        match found {
            Some((_, implementation)) if implementation.kind == kind => Ok(found),
            _ => Err(ManifestError::NoAsset {
                node: node.to_owned(),
                interface: interface.name.clone(),
                needed,
            }),
        }
    }
}

impl Asset {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&["name", "description", "implementations"])?;
        Ok(Self {
            name: from.needed_name("name", names::ASSET_NAME)?,
            description: from.description()?,
            implementations: read_all(&from.objects("implementations")?, Implementation::read)?,
        })
    }

    fn file<'a>(
        &'a self,
        implementation: &'a Implementation,
    ) -> Result<Option<PackageFile<'a>>, ManifestError> {
        let needed = match implementation.kind {
            AssetType::System => return Ok(None),
            AssetType::Container => "runtimeDescriptor",
            AssetType::Model => "mlModelDescriptor",
        };
        let Some(descriptor_uri) = implementation.descriptor_uri.as_deref() else {
            return Err(ManifestError::DescriptorKind {
                asset: self.name.clone(),
                needed,
            });
        };
        for uri in [&implementation.asset_uri, descriptor_uri] {
            // `.tar.gz` and `.json` alone are the placeholders of packages that are not built.
            if uri.starts_with('.') || uri.contains(['/', '\\']) {
                return Err(ManifestError::AssetFile {
                    asset: self.name.clone(),
                    uri: uri.to_owned(),
                });
            }
        }
        Ok(Some(PackageFile {
            asset: &self.name,
            kind: implementation.kind,
            asset_uri: &implementation.asset_uri,
            descriptor_uri,
        }))
    }
}

impl PackageFile<'_> {
    /// Whether the descriptor is one for this asset (`spec/manifests.md` section 7, row 15).
    ///
    /// # Errors
    /// It is one of the other kind, or has no command to start.
    pub fn check_descriptor(&self, descriptor: &Descriptor) -> Result<(), ManifestError> {
        let asset = self.asset.to_owned();
        match (self.kind, descriptor) {
            (AssetType::Container, Descriptor::Runtime(runtime)) => match runtime.command() {
                Some(_) => Ok(()),
                None => Err(ManifestError::NoCommand { asset }),
            },
            (AssetType::Container, Descriptor::Model(_)) => Err(ManifestError::DescriptorKind {
                asset,
                needed: "runtimeDescriptor",
            }),
            (AssetType::Model, Descriptor::Runtime(_)) => Err(ManifestError::DescriptorKind {
                asset,
                needed: "mlModelDescriptor",
            }),
            (AssetType::Model, Descriptor::Model(_)) | (AssetType::System, _) => Ok(()),
        }
    }
}

impl Implementation {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&[
            "type",
            "assetUri",
            "descriptorUri",
            "description",
            "requirements",
        ])?;
        let kind = match from.needed_text("type")? {
            "container" => AssetType::Container,
            "model" => AssetType::Model,
            "system" => AssetType::System,
            other => return Err(from.broken("type", other, "container, model or system")),
        };
        Ok(Self {
            kind,
            asset_uri: from.needed_name("assetUri", names::URI)?,
            descriptor_uri: from.name("descriptorUri", names::URI)?,
            description: from.description()?,
            requirements: read_all(&from.objects("requirements")?, Requirement::read)?,
        })
    }
}

impl Requirement {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        match from.needed_text("type")? {
            "ota" => {
                from.only(&["type", "minVersion", "maxVersion"])?;
                let min = from.bounded("minVersion", 1, 255)?;
                let max = from.bounded("maxVersion", 1, 255)?;
                if min.is_none() && max.is_none() {
                    return Err(from.missing("minVersion"));
                }
                Ok(Self::Ota { min, max })
            }
            "device" => {
                from.only(&["type", "name"])?;
                match from.needed_text("name")? {
                    "panorama_devkit" => Ok(Self::Device {
                        name: "panorama_devkit".to_owned(),
                    }),
                    other => Err(from.broken("name", other, "panorama_devkit")),
                }
            }
            "hardware_access" => {
                from.only(&["type", "inferenceAccelerators", "nvAccelerators"])?;
                // The older spelling, still in three published samples.
                let member = if from.get("nvAccelerators").is_some() {
                    "nvAccelerators"
                } else {
                    "inferenceAccelerators"
                };
                let accelerators = read_all(&from.needed_objects(member)?, read_accelerator)?;
                Ok(Self::HardwareAccess { accelerators })
            }
            "os" | "sdk" => Ok(Self::Ignored),
            other => Err(from.broken("type", other, "ota, device or hardware_access")),
        }
    }
}

fn read_accelerator(from: &Object<'_>) -> Result<String, ManifestError> {
    from.only(&["deviceType", "sharedResourcePolicy"])?;
    let device = from.needed_text("deviceType")?;
    if device != "nvhost_gpu" {
        return Err(from.broken("deviceType", device, "nvhost_gpu"));
    }
    // The one object besides string ports that takes further members.
    let policy = from
        .object("sharedResourcePolicy")?
        .ok_or_else(|| from.missing("sharedResourcePolicy"))?;
    match policy.needed_text("policy")? {
        "allow_all" => Ok(device.to_owned()),
        other => Err(policy.broken("policy", other, "allow_all")),
    }
}

impl Interface {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&[
            "name",
            "category",
            "asset",
            "description",
            "inputs",
            "outputs",
            "network",
        ])?;
        let category = match from.needed_text("category")? {
            "media_source" => Category::MediaSource,
            "media_sink" => Category::MediaSink,
            "business_logic" => Category::BusinessLogic,
            "ml_model" => Category::MlModel,
            other => {
                let rule = "media_source, media_sink, business_logic or ml_model";
                return Err(from.broken("category", other, rule));
            }
        };
        let (inputs, outputs) = (from.objects("inputs")?, from.objects("outputs")?);
        let interface = Self {
            name: from.needed_name("name", names::INTERFACE_NAME)?,
            category,
            asset: from.bounded("asset", 0, 255)?,
            description: from.description()?,
            inputs: read_all(&inputs, InputPort::read)?,
            outputs: read_all(&outputs, OutputPort::read)?,
            inbound_ports: read_inbound_ports(from)?,
        };
        unique(
            &inputs,
            interface.inputs.iter().map(|port| port.name.as_str()),
        )?;
        unique(
            &outputs,
            interface.outputs.iter().map(|port| port.name.as_str()),
        )?;
        Ok(interface)
    }
}

fn read_inbound_ports(from: &Object<'_>) -> Result<Vec<InboundPort>, ManifestError> {
    let Some(network) = from.object("network")? else {
        return Ok(Vec::new());
    };
    network.only(&["inboundPorts"])?;
    let ports = read_all(&network.objects("inboundPorts")?, |item| {
        item.only(&["port", "description"])?;
        let port = item
            .integer("port", 1, 65535)?
            .ok_or_else(|| item.missing("port"))?;
        // In bounds, so that the conversion always succeeds.
        let port = u16::try_from(port).unwrap_or_default();
        Ok(InboundPort {
            port,
            description: item.description()?,
        })
    })?;
    if ports.len() > MAX_INBOUND_PORTS {
        let rule = format!("at most {MAX_INBOUND_PORTS} ports");
        return Err(network.broken("inboundPorts", &ports.len().to_string(), &rule));
    }
    Ok(ports)
}

/// The type of a port. `string[]` stands in an unused template; such a port is taken as a text.
fn read_port_type(from: &Object<'_>) -> Result<PortType, ManifestError> {
    match from.needed_text("type")? {
        "media" => Ok(PortType::Media),
        "string[]" => Ok(PortType::String),
        text => PortType::literal(text)
            .ok_or_else(|| from.broken("type", text, "boolean, int32, float32, string or media")),
    }
}

impl InputPort {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        let name = from.needed_name("name", names::PORT_NAME)?;
        let kind = read_port_type(from)?;
        let common = ["name", "type", "description", "maxConnections", "minimum"];
        let literal = ["default", "reference", "referenceSource"];
        let known: Vec<&str> = match kind {
            // A string port takes further members: its schema forgets to refuse them.
            PortType::String => Vec::new(),
            PortType::Media => common.to_vec(),
            PortType::Boolean => [&common[..], &literal[..]].concat(),
            PortType::Int32 | PortType::Float32 => {
                [&common[..], &literal[..], &["constraintRegex"]].concat()
            }
        };
        if kind != PortType::String {
            from.only(&known)?;
        }
        from.bounded("constraintRegex", 0, 1024)?;
        from.bounded("referenceSource", 0, 255)?;
        let reference = from.boolean("reference")?.unwrap_or(false);
        let list = from.text("type")? == Some("string[]");
        let default = match from.get("default") {
            None => None,
            Some(Value::Array(_)) if list => None,
            Some(value) => {
                let needed = if reference { PortType::String } else { kind };
                let literal = Literal::read(needed, value)
                    .ok_or_else(|| from.broken("default", &value.to_string(), needed.words()))?;
                Some(literal)
            }
        };
        let max_connections = from
            .integer("maxConnections", 0, i64::from(u32::MAX))?
            .unwrap_or(0);
        Ok(Self {
            name,
            kind,
            description: from.description()?,
            default,
            max_connections: u32::try_from(max_connections).unwrap_or_default(),
            reference,
        })
    }
}

impl OutputPort {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&["name", "type", "description", "minimum"])?;
        Ok(Self {
            name: from.needed_name("name", names::PORT_NAME)?,
            kind: read_port_type(from)?,
            description: from.description()?,
        })
    }
}

/// Refuses a name that stands twice in a list.
fn unique<'a>(
    objects: &[Object<'_>],
    names: impl Iterator<Item = &'a str>,
) -> Result<(), ManifestError> {
    let mut seen = BTreeSet::new();
    for (object, name) in objects.iter().zip(names) {
        if !seen.insert(name) {
            return Err(object.duplicate("name", name));
        }
    }
    Ok(())
}
