//! `graph.json`: the application manifest (`spec/manifests.md` section 2).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Document, ManifestError};
use crate::json::{self, Object};
use crate::names::{self, InterfaceRef, PackageRef};
use crate::package::{Literal, PortType};

/// Bytes of a graph or an override document: the API takes 51,200 characters.
pub(crate) const LIMIT: usize = 51_200 * 4;

/// An application's nodes and how they are connected.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// For people.
    pub description: Option<String>,
    /// Packages that the nodes come from.
    pub packages: Vec<PackageInclude>,
    /// The nodes, their names unique.
    pub nodes: Vec<Node>,
    /// The connections.
    pub edges: Vec<Edge>,
    /// Proposals; ports open only by the override manifest.
    pub routing: Vec<RoutingRule>,
}

/// A package and which version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageInclude {
    /// Owner and name.
    pub name: PackageRef,
    /// The version.
    pub version: String,
    /// A pinned patch; `None` is the latest at deployment.
    pub patch: Option<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name, unique in the graph.
    pub name: String,
    /// What it is.
    pub shape: NodeShape,
    /// May be replaced.
    pub overridable: bool,
    /// Must be replaced.
    pub override_mandatory: bool,
}

/// The two shapes of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeShape {
    /// An interface of a package.
    Packaged {
        /// Which.
        interface: InterfaceRef,
        /// When it starts.
        launch: Launch,
    },
    /// A fixed value.
    Parameter {
        /// The value, of the parameter's type.
        value: Literal,
    },
}

/// When a packaged node starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Launch {
    /// With the application.
    #[default]
    OnAppStart,
    /// On a `RESUME` signal; until then it is paused.
    OnSignal,
    /// In the schema only; taken as `onAppStart`.
    OnDemand,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Where it comes from: `node.port`, or the name of a parameter.
    pub producer: EdgeEnd,
    /// Where it leads: `node.port`.
    pub consumer: EdgeEnd,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.producer, self.consumer)
    }
}

/// An end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeEnd {
    /// The node.
    pub node: String,
    /// The port; parameters have none.
    pub port: Option<String>,
}

impl fmt::Display for EdgeEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.port {
            Some(port) => write!(f, "{}.{port}", self.node),
            None => f.write_str(&self.node),
        }
    }
}

/// A port of a code node and the port of the appliance it is reached at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingRule {
    /// A code node.
    pub node: String,
    /// The port it listens at.
    pub container_port: u16,
    /// The port of the appliance; `None` is the same number.
    pub host_port: Option<u16>,
}

impl Graph {
    /// Reads the text of a `graph.json`.
    ///
    /// # Errors
    /// The first rule it breaks, with its path.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let value = json::parse(Document::Graph, text, LIMIT)?;
        let root = Object::root(Document::Graph, "nodeGraph", &value)?;
        root.only(&[
            "envelopeVersion",
            "description",
            "packages",
            "nodes",
            "edges",
            "networkRoutingRules",
        ])?;
        root.envelope()?;
        Ok(Self {
            description: root.description()?,
            packages: read_all(&root.needed_objects("packages")?, PackageInclude::read)?,
            nodes: read_nodes(&root.needed_objects("nodes")?)?,
            edges: read_all(&root.objects("edges")?, Edge::read)?,
            routing: read_all(&root.objects("networkRoutingRules")?, RoutingRule::read)?,
        })
    }
}

pub(crate) fn read_all<T>(
    objects: &[Object<'_>],
    read: impl Fn(&Object<'_>) -> Result<T, ManifestError>,
) -> Result<Vec<T>, ManifestError> {
    objects.iter().map(read).collect()
}

/// Nodes with names of their own.
pub(crate) fn read_nodes(objects: &[Object<'_>]) -> Result<Vec<Node>, ManifestError> {
    let mut seen = BTreeSet::new();
    let mut nodes = Vec::with_capacity(objects.len());
    for object in objects {
        let node = Node::read(object)?;
        if !seen.insert(node.name.clone()) {
            return Err(object.duplicate("name", &node.name));
        }
        nodes.push(node);
    }
    Ok(nodes)
}

impl PackageInclude {
    pub(crate) fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&[
            "name",
            "version",
            "patchVersion",
            "generatedPatchVersion",
            "uri",
        ])?;
        let name = from.needed_text("name")?;
        let version = from.needed_text("version")?;
        if !names::is_version(version) {
            return Err(from.broken("version", version, "two numbers, such as 1.0"));
        }
        from.bounded("generatedPatchVersion", 0, 255)?;
        from.bounded("uri", 0, 1024)?;
        let patch = from.bounded("patchVersion", 1, 255)?;
        Ok(Self {
            name: name
                .parse()
                .map_err(|rule| from.broken("name", name, rule))?,
            version: version.to_owned(),
            // The schema's default is this word: it stands for "not pinned".
            patch: patch.filter(|patch| patch != "package"),
        })
    }
}

impl Node {
    pub(crate) fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        let name = from.needed_name("name", names::NODE_NAME)?;
        let interface = from.needed_text("interface")?;
        let shape = if let Some(kind) = PortType::literal(interface) {
            Self::read_parameter(from, kind)?
        } else {
            Self::read_packaged(from, interface)?
        };
        check_decorator(from)?;
        Ok(Self {
            name,
            shape,
            overridable: from.boolean("overridable")?.unwrap_or(false),
            override_mandatory: from.boolean("overrideMandatory")?.unwrap_or(false),
        })
    }

    fn read_parameter(from: &Object<'_>, kind: PortType) -> Result<NodeShape, ManifestError> {
        from.only(&[
            "name",
            "interface",
            "value",
            "overridable",
            "overrideMandatory",
            "decorator",
        ])?;
        let value = match from.get("value") {
            Some(value) => Literal::read(kind, value)
                .ok_or_else(|| from.broken("value", &value.to_string(), kind.words()))?,
            None => Literal::zero(kind),
        };
        Ok(NodeShape::Parameter { value })
    }

    fn read_packaged(from: &Object<'_>, interface: &str) -> Result<NodeShape, ManifestError> {
        let reference = interface
            .parse()
            .map_err(|rule| from.broken("interface", interface, rule))?;
        from.only(&[
            "name",
            "interface",
            "overridable",
            "overrideMandatory",
            "launch",
            "decorator",
        ])?;
        Ok(NodeShape::Packaged {
            interface: reference,
            launch: Launch::read(from)?,
        })
    }
}

impl Launch {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        match from.text("launch")? {
            None | Some("onAppStart") => Ok(Self::OnAppStart),
            Some("onSignal") => Ok(Self::OnSignal),
            Some("onDemand") => Ok(Self::OnDemand),
            Some(other) => Err(from.broken("launch", other, "onAppStart, onSignal or onDemand")),
        }
    }
}

/// UI texts; nothing here uses them, but they have a shape.
fn check_decorator(from: &Object<'_>) -> Result<(), ManifestError> {
    const MEMBERS: [&str; 4] = ["title", "description", "constraintText", "constraintRegex"];
    let Some(decorator) = from.object("decorator")? else {
        return Ok(());
    };
    decorator.only(&MEMBERS)?;
    for name in MEMBERS {
        decorator.bounded(name, 1, 255)?;
    }
    Ok(())
}

impl Edge {
    pub(crate) fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&["producer", "consumer"])?;
        Ok(Self {
            producer: EdgeEnd::read(from, "producer")?,
            consumer: EdgeEnd::read(from, "consumer")?,
        })
    }
}

impl EdgeEnd {
    fn read(from: &Object<'_>, name: &str) -> Result<Self, ManifestError> {
        let text = from.needed_text(name)?;
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let (node, port) = match text.split_once('.') {
            Some((node, port)) => (node, Some(port)),
            None => (text, None),
        };
        let parts_ok = [Some(node), port]
            .iter()
            .flatten()
            .all(|part| !part.is_empty() && part.bytes().all(word));
        if !parts_ok || text.len() < 2 || text.len() > 256 {
            let rule = "<node>.<port>, or the name of a parameter with two characters or more";
            return Err(from.broken(name, text, rule));
        }
        Ok(Self {
            node: node.to_owned(),
            port: port.map(str::to_owned),
        })
    }
}

impl RoutingRule {
    pub(crate) fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&["node", "containerPort", "hostPort", "decorator"])?;
        check_decorator(from)?;
        let port = |name| {
            let number = from.integer(name, 1, 65535)?;
            Ok(number.and_then(|number| u16::try_from(number).ok()))
        };
        Ok(Self {
            node: from.needed_name("node", names::NODE_NAME)?,
            container_port: port("containerPort")?.ok_or_else(|| from.missing("containerPort"))?,
            host_port: port("hostPort")?,
        })
    }
}
