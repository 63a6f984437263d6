//! Panorama's manifests: graph, overrides, package and descriptor, parsed strictly, and resolved
//! to what a device shall run (`spec/manifests.md`).
//!
//! Parsing refuses unknown members but for the exceptions and the deviations that published
//! packages contain (sections 4.3 and 8). [`resolve`] applies overrides, pins patches and holds
//! every rule of section 7 that needs no device; each is a variant of [`ManifestError`].
//!
//! Pure: texts and values in, values out. Where documents are kept and which packages are
//! registered is the caller's knowledge.

#![forbid(unsafe_code)]

pub mod deployment;
pub mod descriptor;
pub mod error;
pub mod graph;
mod json;
pub mod names;
pub mod overrides;
pub mod package;
mod resolve;
pub mod system;

pub use deployment::{
    DeployedAsset, DeployedEdge, DeployedInput, DeployedNode, DeployedOutput, DeployedParameter,
    Deployment, InputSource, NodeKind, NodePort, PackagePin, Route,
};
pub use descriptor::{
    Descriptor, Entry, Framework, ModelDescriptor, Precision, RuntimeDescriptor, Tensor, TensorType,
};
pub use error::{Document, ManifestError};
pub use graph::{Edge, EdgeEnd, Graph, Launch, Node, NodeShape, PackageInclude, RoutingRule};
pub use names::{InterfaceRef, PackageRef};
pub use overrides::{NodeOverride, Overrides};
pub use package::{
    Asset, AssetType, Category, Implementation, InboundPort, InputPort, Interface, Literal,
    OutputPort, PackageFile, PackageManifest, PortType, Requirement,
};
pub use resolve::{RegisteredPackage, includes, resolve};

/// The only version of every document that exists.
pub const ENVELOPE_VERSION: &str = "2021-01-01";
