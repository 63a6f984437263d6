//! Graph, overrides and registered packages to a deployment (`spec/manifests.md` sections 3, 7).
//!
//! In this order: packages are pinned, nodes replaced, edges re-attached, and then every rule is
//! held against the effective graph.

use std::collections::{BTreeMap, BTreeSet};

use crate::deployment::{
    DeployedAsset, DeployedEdge, DeployedInput, DeployedNode, DeployedOutput, DeployedParameter,
    Deployment, InputSource, NodeKind, NodePort, PackagePin, Route,
};
use crate::error::ManifestError;
use crate::graph::{Edge, EdgeEnd, Graph, Launch, Node, NodeShape, PackageInclude};
use crate::names::{self, InterfaceRef, PackageRef};
use crate::overrides::Overrides;
use crate::package::{
    AssetType, Category, InputPort, Interface, Literal, PackageManifest, PortType,
};
use crate::system;

/// Cameras of one application (`spec/api.md` section 10).
const MAX_CAMERAS: usize = 8;
/// Nodes of one application; replacement may not blow a small document up.
const MAX_NODES: usize = 250;
/// Edges of one application, likewise.
const MAX_EDGES: usize = 2000;
/// Ports of the appliance that an application may open.
const HOST_PORTS: std::ops::RangeInclusive<u16> = 8000..=9000;

/// A registered and complete version of a package.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredPackage {
    /// The pinned patch if the include has one, else the latest.
    pub patch: String,
    /// Its manifest.
    pub manifest: PackageManifest,
}

/// The packages that [`resolve`] will ask for, system packages left out.
pub fn includes<'a>(
    graph: &'a Graph,
    overrides: Option<&'a Overrides>,
) -> impl Iterator<Item = &'a PackageInclude> {
    graph
        .packages
        .iter()
        .chain(
            overrides
                .into_iter()
                .flat_map(|overrides| &overrides.packages),
        )
        .filter(|include| include.name.owner != system::OWNER)
}

/// The effective graph. `lookup` answers for registered and complete versions; system packages are
/// known here.
///
/// # Errors
/// The first rule that is broken.
pub fn resolve(
    graph: &Graph,
    overrides: Option<&Overrides>,
    lookup: &dyn Fn(&PackageInclude) -> Option<RegisteredPackage>,
) -> Result<Deployment, ManifestError> {
    let nothing = Overrides::default();
    let overrides = overrides.unwrap_or(&nothing);
    let packages = Packages::pin(graph, overrides, lookup)?;
    let replaced = replacements(graph, overrides)?;
    let nodes = effective_nodes(graph, overrides, &replaced)?;
    let edges = effective_edges(graph, overrides, &replaced)?;

    let mut parts = BTreeMap::new();
    for node in &nodes {
        parts.insert(node.name.as_str(), packages.part(node)?);
    }
    check_edges(&edges, &parts)?;
    let deployed: Vec<DeployedNode> = nodes
        .iter()
        .filter_map(|node| match parts.get(node.name.as_str()) {
            Some(Part::Packaged(packaged)) => Some(packaged.deploy(node, &edges, &parts)),
            _ => None,
        })
        .collect();
    check_counts(&deployed)?;
    let routing = routes(overrides, &deployed)?;
    let parameters = nodes
        .iter()
        .filter_map(|node| match &node.shape {
            NodeShape::Parameter { value } => Some(DeployedParameter {
                name: node.name.clone(),
                value: value.clone(),
            }),
            NodeShape::Packaged { .. } => None,
        })
        .collect();
    let edges = edges.into_iter().filter_map(deployed_edge).collect();
    Ok(Deployment {
        packages: packages.pins(),
        nodes: deployed,
        parameters,
        edges,
        routing,
    })
}

/// A consumer always has a port here: edges without one have been refused.
fn deployed_edge(edge: Edge) -> Option<DeployedEdge> {
    Some(DeployedEdge {
        producer: edge.producer.node,
        producer_port: edge.producer.port,
        consumer: NodePort {
            node: edge.consumer.node,
            port: edge.consumer.port?,
        },
    })
}

struct Pinned {
    pin: PackagePin,
    manifest: PackageManifest,
}

struct Packages {
    pinned: BTreeMap<PackageRef, Pinned>,
    order: Vec<PackageRef>,
}

/// A node with what its package says of it.
enum Part<'a> {
    Parameter(&'a Literal),
    Packaged(Packaged<'a>),
}

struct Packaged<'a> {
    pin: &'a PackagePin,
    interface: &'a Interface,
    asset: Option<DeployedAsset>,
    launch: Launch,
}

impl Packages {
    fn pin(
        graph: &Graph,
        overrides: &Overrides,
        lookup: &dyn Fn(&PackageInclude) -> Option<RegisteredPackage>,
    ) -> Result<Self, ManifestError> {
        let mut listed: BTreeMap<&PackageRef, &PackageInclude> = BTreeMap::new();
        let mut packages = Self {
            pinned: BTreeMap::new(),
            order: Vec::new(),
        };
        for include in graph.packages.iter().chain(&overrides.packages) {
            if let Some(first) = listed.insert(&include.name, include) {
                if first.version == include.version && first.patch == include.patch {
                    continue;
                }
                return Err(ManifestError::TwoVersions {
                    package: include.name.to_string(),
                    first: version_and_patch(first),
                    second: version_and_patch(include),
                });
            }
            let found = if include.name.owner == system::OWNER {
                system::lookup(include)
            } else {
                lookup(include)
            };
            let Some(RegisteredPackage { patch, manifest }) = found else {
                return Err(ManifestError::PackageNotRegistered {
                    owner: include.name.owner.clone(),
                    package: include.name.package.clone(),
                    version: include.version.clone(),
                    patch: include.patch.clone(),
                });
            };
            let pin = PackagePin {
                owner: include.name.owner.clone(),
                name: include.name.package.clone(),
                version: include.version.clone(),
                patch,
            };
            packages
                .pinned
                .insert(include.name.clone(), Pinned { pin, manifest });
            packages.order.push(include.name.clone());
        }
        Ok(packages)
    }

    /// All pins, in the order of the documents.
    fn pins(&self) -> Vec<PackagePin> {
        self.order
            .iter()
            .filter_map(|name| self.pinned.get(name))
            .map(|pinned| pinned.pin.clone())
            .collect()
    }

    fn part<'a>(&'a self, node: &'a Node) -> Result<Part<'a>, ManifestError> {
        match &node.shape {
            NodeShape::Parameter { value } => Ok(Part::Parameter(value)),
            NodeShape::Packaged { interface, launch } => self
                .packaged(&node.name, interface, *launch)
                .map(Part::Packaged),
        }
    }

    fn packaged(
        &self,
        node: &str,
        reference: &InterfaceRef,
        launch: Launch,
    ) -> Result<Packaged<'_>, ManifestError> {
        if !names::is_node_instance_id(node) {
            return Err(ManifestError::NodeName {
                node: node.to_owned(),
            });
        }
        let package = reference.package.to_string();
        let Some(Pinned { pin, manifest }) = self.pinned.get(&reference.package) else {
            return Err(ManifestError::PackageNotListed {
                node: node.to_owned(),
                package,
            });
        };
        let Some(interface) = manifest.interface(&reference.interface) else {
            let known: Vec<&str> = manifest
                .interfaces
                .iter()
                .map(|i| i.name.as_str())
                .collect();
            return Err(ManifestError::UnknownInterface {
                node: node.to_owned(),
                package: format!("{package} {}", pin.version),
                interface: reference.interface.clone(),
                known: known.join(", "),
            });
        };
        let found = manifest.asset_of(interface, node)?;
        let asset = found.map(|(asset, implementation)| DeployedAsset {
            name: asset.name.clone(),
            kind: implementation.kind,
            uri: implementation.asset_uri.clone(),
            descriptor_uri: implementation.descriptor_uri.clone(),
            accelerator: implementation.asks_for_accelerator(),
        });
        if interface.category == Category::MediaSource {
            check_driver(node, asset.as_ref())?;
        }
        Ok(Packaged {
            pin,
            interface,
            asset,
            launch,
        })
    }
}

fn version_and_patch(include: &PackageInclude) -> String {
    match &include.patch {
        Some(patch) => format!("{} ({patch})", include.version),
        None => include.version.clone(),
    }
}

/// Only the RTSP driver can be read. A source whose asset is not one of its package is taken as
/// one: published camera drivers name something else.
fn check_driver(node: &str, asset: Option<&DeployedAsset>) -> Result<(), ManifestError> {
    match asset {
        Some(asset) if asset.kind != AssetType::System || asset.uri != system::RTSP_DRIVER => {
            let driver = asset.uri.clone();
            Err(ManifestError::UnknownDriver {
                node: node.to_owned(),
                driver,
            })
        }
        _ => Ok(()),
    }
}

/// The replacement table, checked: node of the graph to nodes of the override document.
fn replacements<'a>(
    graph: &'a Graph,
    overrides: &'a Overrides,
) -> Result<BTreeMap<&'a str, Vec<&'a Node>>, ManifestError> {
    let mut table = BTreeMap::new();
    for entry in &overrides.replacements {
        let replace = || entry.replace.clone();
        let Some(old) = graph.nodes.iter().find(|node| node.name == entry.replace) else {
            return Err(ManifestError::UnknownReplaced { replace: replace() });
        };
        if !(old.overridable || old.override_mandatory || is_abstract_camera(old)) {
            return Err(ManifestError::NotOverridable { replace: replace() });
        }
        let mut new = Vec::new();
        for name in &entry.with {
            let Some(node) = overrides.nodes.iter().find(|node| node.name == *name) else {
                return Err(ManifestError::UnknownReplacement {
                    replace: replace(),
                    with: name.clone(),
                });
            };
            check_same_type(old, node)?;
            new.push(node);
        }
        if matches!(old.shape, NodeShape::Parameter { .. }) && new.len() != 1 {
            return Err(ManifestError::ParameterCount {
                replace: replace(),
                count: new.len(),
            });
        }
        if table.insert(entry.replace.as_str(), new).is_some() {
            return Err(ManifestError::ReplacedTwice { replace: replace() });
        }
    }
    for node in &graph.nodes {
        let must = node.override_mandatory || is_abstract_camera(node);
        if must && table.get(node.name.as_str()).is_none_or(Vec::is_empty) {
            return Err(ManifestError::OverrideMissing {
                node: node.name.clone(),
            });
        }
    }
    if let Some(node) = overrides.nodes.iter().find(|node| is_abstract_camera(node)) {
        return Err(ManifestError::OverrideMissing {
            node: node.name.clone(),
        });
    }
    Ok(table)
}

fn is_abstract_camera(node: &Node) -> bool {
    match &node.shape {
        NodeShape::Packaged { interface, .. } => {
            interface.package.owner == system::OWNER
                && interface.package.package == system::ABSTRACT_CAMERA
        }
        NodeShape::Parameter { .. } => false,
    }
}

/// A parameter is replaced by one of its type, a packaged node by a packaged node.
fn check_same_type(old: &Node, new: &Node) -> Result<(), ManifestError> {
    let words = |node: &Node| match &node.shape {
        NodeShape::Parameter { value } => format!("parameter of type {}", value.port_type()),
        NodeShape::Packaged { .. } => "node of a package".to_owned(),
    };
    let (needed, found) = (words(old), words(new));
    if needed == found {
        return Ok(());
    }
    Err(ManifestError::ReplacementType {
        replace: old.name.clone(),
        with: new.name.clone(),
        found,
        needed,
    })
}

/// The nodes that remain: replacements stand where the replaced node stood, other nodes of the
/// override document come last.
fn effective_nodes<'a>(
    graph: &'a Graph,
    overrides: &'a Overrides,
    replaced: &BTreeMap<&str, Vec<&'a Node>>,
) -> Result<Vec<&'a Node>, ManifestError> {
    let staying: BTreeSet<&str> = graph
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .filter(|name| !replaced.contains_key(name))
        .collect();
    if let Some(node) = overrides
        .nodes
        .iter()
        .find(|node| staying.contains(node.name.as_str()))
    {
        return Err(ManifestError::NodeNameTaken {
            node: node.name.clone(),
        });
    }
    let mut seen = BTreeSet::new();
    let mut nodes = Vec::new();
    for node in &graph.nodes {
        match replaced.get(node.name.as_str()) {
            // One node may stand in for two: it is there once, at its first place.
            Some(new) => nodes.extend(new.iter().copied().filter(|n| seen.insert(&n.name))),
            None => nodes.push(node),
        }
    }
    nodes.extend(
        overrides
            .nodes
            .iter()
            .filter(|node| seen.insert(&node.name)),
    );
    if nodes.len() > MAX_NODES {
        return Err(ManifestError::TooMuch {
            what: "nodes",
            limit: MAX_NODES,
        });
    }
    Ok(nodes)
}

/// The edges of both documents, each end attached to every replacement of its node, in order.
fn effective_edges(
    graph: &Graph,
    overrides: &Overrides,
    replaced: &BTreeMap<&str, Vec<&Node>>,
) -> Result<Vec<Edge>, ManifestError> {
    let ends = |end: &EdgeEnd| -> Vec<EdgeEnd> {
        match replaced.get(end.node.as_str()) {
            Some(new) => new
                .iter()
                .map(|node| EdgeEnd {
                    node: node.name.clone(),
                    port: end.port.clone(),
                })
                .collect(),
            None => vec![end.clone()],
        }
    };
    let mut seen = BTreeSet::new();
    let mut edges = Vec::new();
    for edge in graph.edges.iter().chain(&overrides.edges) {
        let consumers = ends(&edge.consumer);
        for producer in ends(&edge.producer) {
            for consumer in &consumers {
                // The same connection said twice is one.
                if !seen.insert((producer.clone(), consumer.clone())) {
                    continue;
                }
                if edges.len() == MAX_EDGES {
                    return Err(ManifestError::TooMuch {
                        what: "edges",
                        limit: MAX_EDGES,
                    });
                }
                edges.push(Edge {
                    producer: producer.clone(),
                    consumer: consumer.clone(),
                });
            }
        }
    }
    Ok(edges)
}

fn check_edges(edges: &[Edge], parts: &BTreeMap<&str, Part<'_>>) -> Result<(), ManifestError> {
    let mut arriving: BTreeMap<(&str, &str), (usize, &InputPort)> = BTreeMap::new();
    for edge in edges {
        let produced = output_type(edge, parts)?;
        let (port, input) = input_port(edge, parts)?;
        if produced != input.kind {
            return Err(ManifestError::EdgeType {
                edge: edge.to_string(),
                producer: produced.to_string(),
                consumer: input.kind.to_string(),
            });
        }
        arriving
            .entry((&edge.consumer.node, port))
            .or_insert((0, input))
            .0 += 1;
    }
    for ((node, port), (count, input)) in arriving {
        // Frames of several sources are batched; a value can only be one.
        let limit = match (input.kind, input.max_connections) {
            (PortType::Media, 0) => usize::MAX,
            (PortType::Media, limit) => limit as usize,
            _ => 1,
        };
        if count > limit {
            return Err(ManifestError::TooManyConnections {
                node: node.to_owned(),
                port: port.to_owned(),
                count,
                limit,
            });
        }
    }
    Ok(())
}

fn part_of<'a, 'b>(
    edge: &Edge,
    node: &str,
    parts: &'b BTreeMap<&str, Part<'a>>,
) -> Result<&'b Part<'a>, ManifestError> {
    parts
        .get(node)
        .ok_or_else(|| ManifestError::UnknownEdgeNode {
            edge: edge.to_string(),
            node: node.to_owned(),
        })
}

fn output_type(edge: &Edge, parts: &BTreeMap<&str, Part<'_>>) -> Result<PortType, ManifestError> {
    let end = &edge.producer;
    let unknown = |known: String| ManifestError::UnknownPort {
        edge: edge.to_string(),
        node: end.node.clone(),
        direction: "output",
        port: end.port.clone().unwrap_or_default(),
        known,
    };
    match (part_of(edge, &end.node, parts)?, end.port.as_deref()) {
        (Part::Parameter(value), None) => Ok(value.port_type()),
        (Part::Parameter(_), Some(_)) => Err(unknown("one without a name".to_owned())),
        (Part::Packaged(packaged), port) => {
            let outputs = &packaged.interface.outputs;
            let found = outputs
                .iter()
                .find(|output| port == Some(output.name.as_str()));
            let known = || listed(outputs.iter().map(|output| output.name.as_str()));
            found
                .map(|output| output.kind)
                .ok_or_else(|| unknown(known()))
        }
    }
}

fn input_port<'a>(
    edge: &'a Edge,
    parts: &BTreeMap<&str, Part<'a>>,
) -> Result<(&'a str, &'a InputPort), ManifestError> {
    let end = &edge.consumer;
    let unknown = |known: String| ManifestError::UnknownPort {
        edge: edge.to_string(),
        node: end.node.clone(),
        direction: "input",
        port: end.port.clone().unwrap_or_default(),
        known,
    };
    match part_of(edge, &end.node, parts)? {
        Part::Parameter(_) => Err(unknown("none".to_owned())),
        Part::Packaged(packaged) => {
            let interface: &'a Interface = packaged.interface;
            let port = end.port.as_deref();
            let found = interface
                .inputs
                .iter()
                .find(|input| port == Some(input.name.as_str()));
            let known = || listed(interface.inputs.iter().map(|input| input.name.as_str()));
            found
                .map(|input| (input.name.as_str(), input))
                .ok_or_else(|| unknown(known()))
        }
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

impl Packaged<'_> {
    fn deploy(
        &self,
        node: &Node,
        edges: &[Edge],
        parts: &BTreeMap<&str, Part<'_>>,
    ) -> DeployedNode {
        let name = node.name.as_str();
        let inputs = self.interface.inputs.iter().map(|input| DeployedInput {
            name: input.name.clone(),
            source: source(name, input, edges, parts),
        });
        let outputs = self.interface.outputs.iter().map(|output| {
            let leaves = |edge: &&Edge| {
                edge.producer.node == name
                    && edge.producer.port.as_deref() == Some(output.name.as_str())
            };
            let consumers = edges
                .iter()
                .filter(leaves)
                .filter_map(|edge| node_port(&edge.consumer));
            DeployedOutput {
                name: output.name.clone(),
                kind: output.kind,
                consumers: consumers.collect(),
            }
        });
        DeployedNode {
            name: node.name.clone(),
            package: self.pin.clone(),
            interface: self.interface.name.clone(),
            category: self.interface.category,
            kind: match self.interface.category {
                Category::MediaSource => NodeKind::Camera,
                Category::MediaSink => NodeKind::Display,
                Category::BusinessLogic => NodeKind::Code,
                Category::MlModel => NodeKind::Model,
            },
            launch: self.launch,
            asset: self.asset.clone(),
            inputs: inputs.collect(),
            outputs: outputs.collect(),
        }
    }
}

/// What an input gives: the frames or the value that edges bring, else the default, else zero.
fn source(
    node: &str,
    input: &InputPort,
    edges: &[Edge],
    parts: &BTreeMap<&str, Part<'_>>,
) -> InputSource {
    let mut arriving = edges.iter().filter(|edge| {
        edge.consumer.node == node && edge.consumer.port.as_deref() == Some(input.name.as_str())
    });
    if input.kind == PortType::Media {
        let producers = arriving
            .filter_map(|edge| node_port(&edge.producer))
            .collect();
        return InputSource::Media { producers };
    }
    // A value that code produces is not known before it runs; the default stands in for it.
    let connected = arriving.find_map(|edge| match parts.get(edge.producer.node.as_str()) {
        Some(Part::Parameter(value)) => Some((*value).clone()),
        _ => None,
    });
    let value = connected.or_else(|| input.default.clone());
    InputSource::Value {
        value: value.unwrap_or_else(|| Literal::zero(input.kind)),
    }
}

fn node_port(end: &EdgeEnd) -> Option<NodePort> {
    Some(NodePort {
        node: end.node.clone(),
        port: end.port.clone()?,
    })
}

fn check_counts(nodes: &[DeployedNode]) -> Result<(), ManifestError> {
    let count = nodes
        .iter()
        .filter(|node| node.kind == NodeKind::Camera)
        .count();
    if count > MAX_CAMERAS {
        return Err(ManifestError::TooManyCameras {
            count,
            limit: MAX_CAMERAS,
        });
    }
    let mut code = nodes.iter().filter(|node| node.kind == NodeKind::Code);
    match (code.next(), code.next()) {
        (Some(first), Some(second)) => Err(ManifestError::TwoCodeNodes {
            first: first.name.clone(),
            second: second.name.clone(),
        }),
        _ => Ok(()),
    }
}

/// Ports open by the override manifest alone: it documents consent.
fn routes(overrides: &Overrides, nodes: &[DeployedNode]) -> Result<Vec<Route>, ManifestError> {
    let mut used = BTreeSet::new();
    let mut routes = Vec::new();
    for rule in &overrides.routing {
        let is_code = |node: &&DeployedNode| node.name == rule.node && node.kind == NodeKind::Code;
        if !nodes.iter().any(|node| is_code(&node)) {
            return Err(ManifestError::RoutingNode {
                node: rule.node.clone(),
            });
        }
        let host_port = rule.host_port.unwrap_or(rule.container_port);
        if !HOST_PORTS.contains(&host_port) {
            return Err(ManifestError::HostPort {
                node: rule.node.clone(),
                port: host_port,
            });
        }
        if !used.insert(host_port) {
            return Err(ManifestError::HostPortTwice {
                node: rule.node.clone(),
                port: host_port,
            });
        }
        routes.push(Route {
            node: rule.node.clone(),
            container_port: rule.container_port,
            host_port,
        });
    }
    Ok(routes)
}
