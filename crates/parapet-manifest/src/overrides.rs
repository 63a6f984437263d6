//! The override manifest: what a deployment puts in place of a graph's nodes
//! (`spec/manifests.md` section 3).

use std::collections::BTreeSet;

use crate::error::{Document, ManifestError};
use crate::graph::{Edge, LIMIT, Node, PackageInclude, RoutingRule, read_all, read_nodes};
use crate::json::{self, Object};
use crate::names;

/// Replacements and what they need.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// For people.
    pub description: Option<String>,
    /// Further packages.
    pub packages: Vec<PackageInclude>,
    /// Replacement nodes, their names unique.
    pub nodes: Vec<Node>,
    /// Further edges.
    pub edges: Vec<Edge>,
    /// Ports to open.
    pub routing: Vec<RoutingRule>,
    /// The replacement table.
    pub replacements: Vec<NodeOverride>,
}

/// What takes a node's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOverride {
    /// A node of the graph.
    pub replace: String,
    /// Nodes of the override manifest, in order.
    pub with: Vec<String>,
}

impl Overrides {
    /// Reads the text of an override manifest.
    ///
    /// # Errors
    /// The first rule it breaks, with its path.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let value = json::parse(Document::Overrides, text, LIMIT)?;
        let root = Object::root(Document::Overrides, "nodeGraphOverrides", &value)?;
        root.only(&[
            "envelopeVersion",
            "description",
            "packages",
            "nodes",
            "edges",
            "networkRoutingRules",
            "nodeOverrides",
        ])?;
        root.envelope()?;
        Ok(Self {
            description: root.description()?,
            packages: read_all(&root.objects("packages")?, PackageInclude::read)?,
            nodes: read_nodes(&root.objects("nodes")?)?,
            edges: read_all(&root.objects("edges")?, Edge::read)?,
            routing: read_all(&root.objects("networkRoutingRules")?, RoutingRule::read)?,
            replacements: read_all(&root.objects("nodeOverrides")?, NodeOverride::read)?,
        })
    }

    /// Reads what the API takes as overrides: nothing and an empty text are none.
    ///
    /// # Errors
    /// As [`Overrides::parse`].
    pub fn parse_payload(text: Option<&str>) -> Result<Option<Self>, ManifestError> {
        match text {
            Some(text) if !text.trim().is_empty() => Self::parse(text).map(Some),
            _ => Ok(None),
        }
    }
}

impl NodeOverride {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&["replace", "with", "envelopeVersion"])?;
        if from.get("envelopeVersion").is_some() {
            from.envelope()?;
        }
        if from.get("with").is_none() {
            return Err(from.missing("with"));
        }
        let mut with = Vec::new();
        let mut seen = BTreeSet::new();
        let replace = from.needed_name("replace", names::NODE_NAME)?;
        for item in from.objects("with")? {
            item.only(&["name"])?;
            let name = item.needed_name("name", names::NODE_NAME)?;
            if !seen.insert(name.clone()) {
                return Err(ManifestError::ReplacementTwice {
                    replace,
                    with: name,
                });
            }
            with.push(name);
        }
        Ok(Self { replace, with })
    }
}
