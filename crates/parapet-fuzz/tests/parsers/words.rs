//! What documents consist of.

pub(crate) const MANIFEST: &[&str] = &[
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

/// Of a whole deployment.
pub(crate) const DEPLOYMENT: &[&str] = &[
    "\"logic\"",
    "\"eye\"",
    "\"east\"",
    "\"min_score\"",
    ".video_in",
    ".video_out",
    "\"replace\"",
    "\"with\"",
    "\"overrideMandatory\": true",
    "210987654321::GATE_CODE.main",
    "panorama::hdmi_data_sink.hdmi0",
    "\"float32\"",
    "8100",
    "null",
    "{}",
];

pub(crate) const DOCUMENT: &[&str] = &[
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

pub(crate) const POLICY: &[&str] = &[
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
];

pub(crate) const REQUEST: &[&str] = &[
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
];

pub(crate) const PACKET: &[&str] = &[
    "{\"op\":\"worker\"",
    "\"id\":",
    "\"addresses\":",
    "\"127.0.0.1:554\"",
    "null",
    "\\u0000",
];
