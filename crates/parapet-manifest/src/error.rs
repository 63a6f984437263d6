//! What can be wrong with a manifest. Every variant names where, what, and what to do.

use std::fmt;

use thiserror::Error;

/// Which document an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// `graph.json`, the application manifest.
    Graph,
    /// The override manifest.
    Overrides,
    /// `package.json`.
    Package,
    /// `descriptor.json`.
    Descriptor,
}

impl Document {
    /// Its root member.
    #[must_use]
    pub fn root(self) -> &'static str {
        match self {
            Self::Graph => "nodeGraph",
            Self::Overrides => "nodeGraphOverrides",
            Self::Package => "nodePackage",
            Self::Descriptor => "runtimeDescriptor or mlModelDescriptor",
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Graph => "the application manifest",
            Self::Overrides => "the override manifest",
            Self::Package => "package.json",
            Self::Descriptor => "descriptor.json",
        })
    }
}

/// A rule that a document, or several together, break.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// Longer than any sensible document.
    #[error("read {document}: it has {bytes} bytes, at most {limit} are read; shorten it")]
    TooLarge {
        /// Which.
        document: Document,
        /// Its length.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// Not JSON, or not UTF-8, or too deep.
    #[error("read {document}: not valid JSON at line {line}, column {column}: {message}")]
    NotJson {
        /// Which.
        document: Document,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// The root member is missing or not alone.
    #[error("read {document}: needs exactly one root member, {}", .document.root())]
    Root {
        /// Which.
        document: Document,
    },
    /// An envelope version that does not exist.
    #[error("read {document}: {path} is {value:?}, needs \"2021-01-01\"")]
    Envelope {
        /// Which.
        document: Document,
        /// Where.
        path: String,
        /// What stands there.
        value: String,
    },
    /// A member that no schema has.
    #[error("read {document}: {path} is not a known member; remove it")]
    UnknownMember {
        /// Which.
        document: Document,
        /// Where.
        path: String,
    },
    /// A member that has to be there.
    #[error("read {document}: {path} is missing")]
    Missing {
        /// Which.
        document: Document,
        /// Where.
        path: String,
    },
    /// A value of another type.
    #[error("read {document}: {path} is {found}, needs {needed}")]
    WrongType {
        /// Which.
        document: Document,
        /// Where.
        path: String,
        /// What stands there.
        found: &'static str,
        /// What should.
        needed: &'static str,
    },
    /// A value that breaks its rule.
    #[error("read {document}: {path} is {value:?}, needs {rule}")]
    Rule {
        /// Which.
        document: Document,
        /// Where.
        path: String,
        /// The value, at most 80 characters of it.
        value: String,
        /// What it should be.
        rule: String,
    },
    /// A name that is given twice.
    #[error("read {document}: {path} repeats the name {value:?}; give each its own")]
    Duplicate {
        /// Which.
        document: Document,
        /// Where the second stands.
        path: String,
        /// The name.
        value: String,
    },

    /// No such version is registered and complete.
    #[error(
        "no registered package version found for accountId:{owner}, packageName:{package}, \
         packageVersion:{version}{}; register it first",
        .patch.as_deref().map(|patch| format!(", patchVersion:{patch}")).unwrap_or_default()
    )]
    PackageNotRegistered {
        /// Owner of the package.
        owner: String,
        /// Its name.
        package: String,
        /// Its version.
        version: String,
        /// The patch, where the include pins one.
        patch: Option<String>,
    },
    /// One package in two versions or patches.
    #[error("resolve package {package}: it is listed as {first} and as {second}; keep one")]
    TwoVersions {
        /// `<owner>::<package>`.
        package: String,
        /// Version, or version and patch.
        first: String,
        /// The other.
        second: String,
    },
    /// A node of a package that is not listed.
    #[error("resolve node {node}: package {package} is not in packages; list it there")]
    PackageNotListed {
        /// The node.
        node: String,
        /// `<owner>::<package>`.
        package: String,
    },
    /// An interface that the package does not have.
    #[error("resolve node {node}: package {package} has no interface {interface}; it has {known}")]
    UnknownInterface {
        /// The node.
        node: String,
        /// `<owner>::<package>` and version.
        package: String,
        /// What was asked for.
        interface: String,
        /// What there is.
        known: String,
    },
    /// A node name that the API and the appliance cannot carry.
    #[error("resolve node {node}: its name needs letters, digits, '-' and '_' only")]
    NodeName {
        /// The node.
        node: String,
    },
    /// A node of the overrides has the name of a node that stays.
    #[error("resolve node {node}: graph and overrides both have one of that name; rename one")]
    NodeNameTaken {
        /// The node.
        node: String,
    },
    /// More nodes or edges than any real application has.
    #[error("resolve the graph: it has more than {limit} {what}; split the application")]
    TooMuch {
        /// `nodes` or `edges`.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// An override of a node that is not in the graph.
    #[error("resolve the override of {replace}: the graph has no node of that name")]
    UnknownReplaced {
        /// What was to be replaced.
        replace: String,
    },
    /// Two overrides of one node.
    #[error("resolve the override of {replace}: it is replaced twice; list all in one with")]
    ReplacedTwice {
        /// What was to be replaced.
        replace: String,
    },
    /// An override of a node that does not allow it.
    #[error("resolve the override of {replace}: set overridable in the graph to allow it")]
    NotOverridable {
        /// What was to be replaced.
        replace: String,
    },
    /// A replacement that the override manifest does not define.
    #[error("resolve the override of {replace}: the override manifest has no node {with}")]
    UnknownReplacement {
        /// What was to be replaced.
        replace: String,
        /// By what.
        with: String,
    },
    /// A replacement named twice in one list.
    #[error("resolve the override of {replace}: {with} is named twice; name it once")]
    ReplacementTwice {
        /// What was to be replaced.
        replace: String,
        /// By what.
        with: String,
    },
    /// A node that has to be replaced and is not.
    #[error("resolve node {node}: it has to be replaced; name its replacement in nodeOverrides")]
    OverrideMissing {
        /// The node.
        node: String,
    },
    /// A parameter not replaced by exactly one node.
    #[error("resolve the override of {replace}: a parameter needs one replacement, not {count}")]
    ParameterCount {
        /// The parameter.
        replace: String,
        /// How many there are.
        count: usize,
    },
    /// A replacement of another type.
    #[error("resolve the override of {replace}: {with} is a {found}, needs a {needed}")]
    ReplacementType {
        /// What was to be replaced.
        replace: String,
        /// By what.
        with: String,
        /// Its type.
        found: String,
        /// The type it should have.
        needed: String,
    },
    /// An edge from or to a node that does not exist.
    #[error("resolve the edge {edge}: there is no node {node}")]
    UnknownEdgeNode {
        /// `producer -> consumer`.
        edge: String,
        /// The node.
        node: String,
    },
    /// An edge from or to a port that does not exist.
    #[error("resolve the edge {edge}: node {node} has no {direction} {port:?}; it has {known}")]
    UnknownPort {
        /// `producer -> consumer`.
        edge: String,
        /// The node.
        node: String,
        /// `input` or `output`.
        direction: &'static str,
        /// The port; empty when none was named.
        port: String,
        /// What there is.
        known: String,
    },
    /// An edge between ports of different types.
    #[error("resolve the edge {edge}: it leads from {producer} to {consumer}; types must match")]
    EdgeType {
        /// `producer -> consumer`.
        edge: String,
        /// Type of the producer.
        producer: String,
        /// Type of the consumer.
        consumer: String,
    },
    /// More edges into an input than it takes.
    #[error("resolve input {node}.{port}: {count} edges lead into it, it takes {limit}")]
    TooManyConnections {
        /// The node.
        node: String,
        /// The port.
        port: String,
        /// How many there are.
        count: usize,
        /// How many may.
        limit: usize,
    },
    /// A routing rule for something that is no code node.
    #[error("resolve the routing rule of {node}: it is not a code node of the graph")]
    RoutingNode {
        /// The node.
        node: String,
    },
    /// A host port outside the range.
    #[error(
        "resolve the routing rule of {node}: host port {port} is outside 8000-9000; set hostPort"
    )]
    HostPort {
        /// The node.
        node: String,
        /// The port, or the container port where no host port is given.
        port: u16,
    },
    /// A host port for two rules.
    #[error("resolve the routing rule of {node}: host port {port} is used twice; choose another")]
    HostPortTwice {
        /// The node of the second rule.
        node: String,
        /// The port.
        port: u16,
    },
    /// More cameras than an application may have.
    #[error("resolve the graph: it has {count} cameras, at most {limit} are allowed")]
    TooManyCameras {
        /// How many there are.
        count: usize,
        /// How many may.
        limit: usize,
    },
    /// More code nodes than an application may have.
    #[error("resolve the graph: {first} and {second} are both code nodes, one is allowed")]
    TwoCodeNodes {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A media source that nothing here can read.
    #[error(
        "resolve node {node}: its driver {driver:?} is not supported, needs \
         source/video/camera/rtsp/source_rtsp"
    )]
    UnknownDriver {
        /// The node.
        node: String,
        /// What its asset names.
        driver: String,
    },
    /// A node that needs an asset of its own and has none.
    #[error("resolve node {node}: interface {interface} has no {needed} asset; build the package")]
    NoAsset {
        /// The node; empty at registration.
        node: String,
        /// The interface.
        interface: String,
        /// `container` or `model`.
        needed: &'static str,
    },

    /// package.json is for another package or version.
    #[error("register the version: {path} is {value:?}, needs {needed:?} as in the call")]
    OtherPackage {
        /// Where.
        path: &'static str,
        /// What stands there.
        value: String,
        /// What the call says.
        needed: String,
    },
    /// More assets than a package may have.
    #[error("register the version: {count} assets, at most {limit} are allowed")]
    TooManyAssets {
        /// How many there are.
        count: usize,
        /// How many may.
        limit: usize,
    },
    /// A file name that cannot be the name of an uploaded asset.
    #[error("register the version: asset {asset} names {uri:?}; build the package first")]
    AssetFile {
        /// The asset.
        asset: String,
        /// What it names.
        uri: String,
    },
    /// An asset without its descriptor, or with another's.
    #[error("register the version: asset {asset} needs a descriptor with {needed}")]
    DescriptorKind {
        /// The asset.
        asset: String,
        /// `runtimeDescriptor` or `mlModelDescriptor`.
        needed: &'static str,
    },
    /// A container without a command.
    #[error(
        "register the version: asset {asset} has no command; set runtimeDescriptor.entry.path and \
         entry.name"
    )]
    NoCommand {
        /// The asset.
        asset: String,
    },
}

impl ManifestError {
    /// Whether the text could not even be read; else a rule is broken. Tells `CANNOT_PARSE` from
    /// `FIELD_VALIDATION_FAILED`.
    #[must_use]
    pub fn is_syntax(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. } | Self::NotJson { .. } | Self::Root { .. }
        )
    }

    /// Where in the documents the fault is: a JSON path, or the node, edge or package it is about.
    #[must_use]
    pub fn field(&self) -> String {
        match self {
            Self::TooLarge { document, .. }
            | Self::NotJson { document, .. }
            | Self::Root { document } => document.root().to_owned(),
            Self::Envelope { path, .. }
            | Self::UnknownMember { path, .. }
            | Self::Missing { path, .. }
            | Self::WrongType { path, .. }
            | Self::Rule { path, .. }
            | Self::Duplicate { path, .. } => path.clone(),
            Self::PackageNotRegistered { owner, package, .. } => {
                format!("packages.{owner}::{package}")
            }
            Self::TwoVersions { package, .. } => format!("packages.{package}"),
            Self::PackageNotListed { node, .. }
            | Self::UnknownInterface { node, .. }
            | Self::NodeName { node }
            | Self::NodeNameTaken { node }
            | Self::OverrideMissing { node }
            | Self::UnknownDriver { node, .. }
            | Self::NoAsset { node, .. } => format!("nodes.{node}"),
            Self::TooMuch { what, .. } => (*what).to_owned(),
            Self::UnknownReplaced { replace }
            | Self::ReplacedTwice { replace }
            | Self::NotOverridable { replace }
            | Self::UnknownReplacement { replace, .. }
            | Self::ReplacementTwice { replace, .. }
            | Self::ParameterCount { replace, .. }
            | Self::ReplacementType { replace, .. } => format!("nodeOverrides.{replace}"),
            Self::UnknownEdgeNode { edge, .. }
            | Self::UnknownPort { edge, .. }
            | Self::EdgeType { edge, .. } => format!("edges.{edge}"),
            Self::TooManyConnections { node, port, .. } => format!("nodes.{node}.{port}"),
            Self::RoutingNode { node }
            | Self::HostPort { node, .. }
            | Self::HostPortTwice { node, .. } => format!("networkRoutingRules.{node}"),
            Self::TooManyCameras { .. } | Self::TwoCodeNodes { .. } => "nodes".to_owned(),
            Self::OtherPackage { path, .. } => (*path).to_owned(),
            Self::TooManyAssets { .. } => "nodePackage.assets".to_owned(),
            Self::AssetFile { asset, .. }
            | Self::DescriptorKind { asset, .. }
            | Self::NoCommand { asset } => format!("nodePackage.assets.{asset}"),
        }
    }
}
