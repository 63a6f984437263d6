//! The targets. What each promises beyond not to panic, to hang and to fill the memory stands in
//! its function.

use std::collections::BTreeSet;

use parapet_auth::policy::{Policy, PolicyKind};
use parapet_auth::sigv4::{Claim, RequestHead, Rules};
use parapet_device::{DesiredDocument, Reported};
use parapet_fuzz::{Target, feed};
use parapet_manifest::{
    Deployment, Descriptor, Graph, Overrides, PackageManifest, RegisteredPackage, resolve,
};
use parapet_media::protocol::{IngestEvent, IngestRequest};
use parapet_sandbox::channel::Channel;
use parapet_sandbox::launch::LaunchRequest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::words;

/// Longest sentence about a manifest that reaches a client.
const MESSAGE: usize = 4096;

fn text(name: &str, words: &[&str], run: impl Fn(&str) -> bool) {
    feed(&Target {
        name,
        words,
        run: &|bytes| std::str::from_utf8(bytes).is_ok_and(&run),
    });
}

/// Whether it went well; an error says something, within bounds.
fn said<T>(outcome: &Result<T, impl std::fmt::Display>) -> bool {
    if let Err(error) = outcome {
        let said = error.to_string();
        assert!(!said.is_empty() && said.len() <= MESSAGE, "{said}");
    }
    outcome.is_ok()
}

/// What is understood is written and understood again as the same.
fn again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(document: &T) {
    let written = serde_json::to_vec(document).expect("a document is written");
    let read: T = serde_json::from_slice(&written).expect("and read again");
    assert_eq!(read, *document);
}

#[test]
fn graph_breaks_no_promise() {
    text("graph", words::MANIFEST, |text| said(&Graph::parse(text)));
}

#[test]
fn overrides_breaks_no_promise() {
    text("overrides", words::MANIFEST, |text| {
        said(&Overrides::parse(text))
    });
}

#[test]
fn package_breaks_no_promise() {
    text("package", words::MANIFEST, |text| {
        said(&PackageManifest::parse(text))
    });
}

#[test]
fn descriptor_breaks_no_promise() {
    text("descriptor", words::MANIFEST, |text| {
        said(&Descriptor::parse(text))
    });
}

/// A deployment holds together, is the same each time, and is written and read as the same.
#[test]
fn resolve_breaks_no_promise() {
    text("resolve", words::DEPLOYMENT, |text| {
        let Ok(input) = serde_json::from_str::<serde_json::Value>(text) else {
            return false;
        };
        let (Ok(graph), overrides) = (
            Graph::parse(&input["graph"].to_string()),
            Overrides::parse(&input["overrides"].to_string()).ok(),
        ) else {
            return false;
        };
        let packages: Vec<PackageManifest> = input["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|package| PackageManifest::parse(&package.to_string()).ok())
            .collect();
        let resolve = || {
            resolve(&graph, overrides.as_ref(), &|include| {
                let manifest = packages
                    .iter()
                    .find(|known| known.name.as_ref() == Some(&include.name.package))?;
                let patch = include.patch.clone().unwrap_or_else(|| "ab".repeat(32));
                Some(RegisteredPackage {
                    patch,
                    manifest: manifest.clone(),
                })
            })
        };
        let first = resolve();
        assert_eq!(first, resolve());
        if let Ok(deployment) = &first {
            holds_together(deployment);
            again(deployment);
        }
        said(&first)
    });
}

fn holds_together(deployment: &Deployment) {
    let nodes: Vec<&str> = deployment.nodes.iter().map(|node| &*node.name).collect();
    let parameters = deployment.parameters.iter().map(|node| &*node.name);
    let names: BTreeSet<&str> = nodes.iter().copied().chain(parameters).collect();
    assert_eq!(
        names.len(),
        nodes.len() + deployment.parameters.len(),
        "two nodes of one name"
    );
    for edge in &deployment.edges {
        assert!(
            names.contains(&*edge.producer),
            "{edge:?} comes from nowhere"
        );
        assert!(
            nodes.contains(&&*edge.consumer.node),
            "{edge:?} leads nowhere"
        );
    }
    let mut open = BTreeSet::new();
    for route in &deployment.routing {
        assert!(nodes.contains(&&*route.node), "{route:?} leads nowhere");
        assert!((8000..=9000).contains(&route.host_port), "{route:?}");
        assert!(open.insert(route.host_port), "{route:?} is there twice");
    }
}

/// Whatever kind it is taken for.
#[test]
fn policy_breaks_no_promise() {
    text("policy", words::POLICY, |text| {
        let kinds = [PolicyKind::Managed, PolicyKind::Trust, PolicyKind::Session];
        kinds
            .map(|kind| said(&Policy::parse(text, kind)))
            .contains(&true)
    });
}

/// What is understood, written and read again is the same.
#[test]
fn desired_breaks_no_promise() {
    document::<DesiredDocument>("desired");
}

/// What is understood, written and read again is the same.
#[test]
fn reported_breaks_no_promise() {
    document::<Reported>("reported");
}

fn document<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(name: &str) {
    feed(&Target {
        name,
        words: words::DOCUMENT,
        run: &|bytes| {
            let document = serde_json::from_slice::<T>(bytes);
            if let Ok(document) = &document {
                again(document);
            }
            document.is_ok()
        },
    });
}

/// First line: method, path and query; then headers.
#[test]
fn request_breaks_no_promise() {
    text("request", words::REQUEST, |text| {
        let mut lines = text.split('\n');
        let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
        let [method, path, query] = [(); 3].map(|()| first.next().unwrap_or_default());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name, value.as_bytes()));
        let Ok(head) = RequestHead::new(method, path, query, None, headers) else {
            return false;
        };
        let rules = Rules {
            region: "us-west-2",
            strict_region: false,
            now: 1_795_824_000,
        };
        said(&Claim::parse(&head, &rules))
    });
}

/// Any packet of a peer is a message or an error, for each kind of reader.
#[test]
fn packet_breaks_no_promise() {
    fn read<T: DeserializeOwned>(bytes: &[u8]) -> bool {
        let (ours, theirs) = Channel::pair().expect("a channel");
        // Too long for the socket is not for the reader either.
        let sent = rustix::io::write(theirs.into_fd(), bytes).is_ok();
        sent && matches!(ours.recv::<T>(), Ok(Some(_)))
    }
    feed(&Target {
        name: "packet",
        words: words::PACKET,
        run: &|bytes| {
            [
                read::<LaunchRequest>(bytes),
                read::<IngestRequest>(bytes),
                read::<IngestEvent>(bytes),
            ]
            .contains(&true)
        },
    });
}
