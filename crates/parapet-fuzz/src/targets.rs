//! The targets. What each promises beyond not to panic stands in its function.

#![expect(
    clippy::expect_used,
    reason = "to panic is how a target says that a promise is broken"
)]

use parapet_auth::policy::{Policy, PolicyKind};
use parapet_auth::sigv4::{Claim, RequestHead, Rules};
use parapet_device::{DesiredDocument, Reported};
use parapet_manifest::{Descriptor, Graph, Overrides, PackageManifest};
use parapet_media::protocol::{IngestEvent, IngestRequest};
use parapet_sandbox::channel::Channel;
use parapet_sandbox::launch::LaunchRequest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Target;

/// Longest sentence about a manifest that reaches a client.
const MESSAGE: usize = 4096;

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "graph",
        run: graph,
        words: MANIFEST,
    },
    Target {
        name: "overrides",
        run: overrides,
        words: MANIFEST,
    },
    Target {
        name: "package",
        run: package,
        words: MANIFEST,
    },
    Target {
        name: "descriptor",
        run: descriptor,
        words: MANIFEST,
    },
    Target {
        name: "policy",
        run: policy,
        words: &[
            "\"Effect\"",
            "\"Allow\"",
            "\"Deny\"",
            "\"Action\"",
            "\"NotAction\"",
            "\"Resource\"",
            "\"Condition\"",
            "\"Principal\"",
            "\"StringLike\"",
            "\"ForAllValues:",
            "${aws:username}",
            "${*}",
            "*",
            "?",
            "2012-10-17",
            "2008-10-17",
        ],
    },
    Target {
        name: "desired",
        run: again::<DesiredDocument>,
        words: DOCUMENT,
    },
    Target {
        name: "reported",
        run: again::<Reported>,
        words: DOCUMENT,
    },
    Target {
        name: "request",
        run: request,
        words: &[
            "authorization: AWS4-HMAC-SHA256 Credential=",
            "SignedHeaders=",
            "Signature=",
            "x-amz-date: 20261128T000000Z",
            "X-Amz-Expires=",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "host: ",
            "%2F",
            "%",
            ";",
            "//",
            "../",
            "=",
            ", ",
        ],
    },
    Target {
        name: "packet",
        run: packet,
        words: &[
            "{\"op\":\"worker\"",
            "\"id\":",
            "\"addresses\":",
            "\"127.0.0.1:554\"",
            "null",
            "\\u0000",
        ],
    },
];

const MANIFEST: &[&str] = &[
    "\"nodeGraph\"",
    "\"envelopeVersion\"",
    "2021-01-01",
    "\"packages\"",
    "\"nodes\"",
    "\"edges\"",
    "\"interface\"",
    "\"networkRoutingRules\"",
    "\"hostPort\"",
    "null",
    "true",
    "[]",
    "{}",
    "123456789012::",
    ".",
    "\\ud800",
    "1e999",
];

const DOCUMENT: &[&str] = &[
    "\"version\"",
    "\"instances\"",
    "\"cameras\"",
    "\"confinement\"",
    "\"egress\"",
    "\"hosts\"",
    "null",
    "[]",
    "{}",
    "true",
    "1e308",
    "\\u0000",
];

fn text(bytes: &[u8], run: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        run(text);
    }
}

/// An error says something, within bounds.
fn said(error: Option<impl std::fmt::Display>) {
    if let Some(error) = error {
        let said = error.to_string();
        assert!(!said.is_empty() && said.len() <= MESSAGE, "{said}");
    }
}

fn graph(bytes: &[u8]) {
    text(bytes, |text| said(Graph::parse(text).err()));
}

fn overrides(bytes: &[u8]) {
    text(bytes, |text| said(Overrides::parse(text).err()));
}

fn package(bytes: &[u8]) {
    text(bytes, |text| said(PackageManifest::parse(text).err()));
}

fn descriptor(bytes: &[u8]) {
    text(bytes, |text| said(Descriptor::parse(text).err()));
}

/// Whatever kind it is taken for.
fn policy(bytes: &[u8]) {
    text(bytes, |text| {
        for kind in [PolicyKind::Managed, PolicyKind::Trust, PolicyKind::Session] {
            said(Policy::parse(text, kind).err());
        }
    });
}

/// What is understood is written and understood again as the same.
fn again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(document) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_vec(&document).expect("a document is written");
        let read: T = serde_json::from_slice(&written).expect("and read again");
        assert_eq!(read, document);
    }
}

/// First line: method, path and query; then headers.
fn request(bytes: &[u8]) {
    text(bytes, |text| {
        let mut lines = text.split('\n');
        let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
        let [method, path, query] = [(); 3].map(|()| first.next().unwrap_or_default());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name, value.as_bytes()));
        let Ok(head) = RequestHead::new(method, path, query, None, headers) else {
            return;
        };
        let rules = Rules {
            region: "us-west-2",
            strict_region: false,
            now: 1_795_824_000,
        };
        said(Claim::parse(&head, &rules).err());
    });
}

/// Any packet of a peer is a message or an error, for each kind of reader.
fn packet(bytes: &[u8]) {
    fn read<T: DeserializeOwned>(bytes: &[u8]) {
        let (ours, theirs) = Channel::pair().expect("a channel");
        // Too long for the socket is not for the reader either.
        if rustix::io::write(&theirs, bytes).is_ok() {
            drop(theirs);
            let _ = ours.recv::<T>();
        }
    }
    read::<LaunchRequest>(bytes);
    read::<IngestRequest>(bytes);
    read::<IngestEvent>(bytes);
}
