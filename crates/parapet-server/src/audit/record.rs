//! What one line of the trail says, in the shape of CloudTrail.
//!
//! Pure but for the ID of a new record. Tools that read CloudTrail's records read these; what that
//! shape has no place for (the decision, microseconds, the node of the server) stands in
//! `additionalEventData`. Every text is bounded here, whoever wrote it; secrets are masked before
//! (`mask`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::identity::UserIdentity;
use super::mask;
use crate::random;
use crate::store::Micros;

/// CloudTrail's version of this shape.
const EVENT_VERSION: &str = "1.11";
/// Longest user agent that is kept.
const USER_AGENT_CHARS: usize = 256;
/// Longest name, ARN or address that is kept.
pub(super) const NAME_CHARS: usize = 512;
/// Longest message of an error that is kept.
const MESSAGE_CHARS: usize = 1_024;

/// One line of the trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// CloudTrail's version.
    pub event_version: String,
    /// Who.
    pub user_identity: UserIdentity,
    /// When it began: RFC 3339, whole seconds, UTC.
    pub event_time: String,
    /// Which service: `panorama.amazonaws.com`.
    pub event_source: String,
    /// Which operation or event.
    pub event_name: String,
    /// Region of the server.
    pub aws_region: String,
    /// From where; a service's name for what the server did by itself.
    #[serde(rename = "sourceIPAddress")]
    pub source_ip_address: String,
    /// What the client calls itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_agent: Option<String>,
    /// Name of the error that the caller got; absent when the call succeeded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_code: Option<String>,
    /// What the caller was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_message: Option<String>,
    /// Masked parameters of the request.
    pub request_parameters: Value,
    /// What is harmless of the answer.
    pub response_elements: Value,
    /// What CloudTrail has no member for.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub additional_event_data: Map<String, Value>,
    /// The ID in the answer.
    #[serde(rename = "requestID", skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
    /// Names this record.
    #[serde(rename = "eventID")]
    pub event_id: String,
    /// Whether it could change nothing.
    pub read_only: bool,
    /// What it was about.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub resources: Vec<Resource>,
    /// `AwsApiCall`, `AwsServiceEvent` or `AwsConsoleSignIn`.
    pub event_type: EventType,
    /// Whether it is about the account and not about contents.
    pub management_event: bool,
    /// The account.
    pub recipient_account_id: String,
    /// `Management` or `Data`.
    pub event_category: EventCategory,
    /// How it was transported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls_details: Option<TlsDetails>,
}

/// What kind of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// Somebody called an operation.
    AwsApiCall,
    /// The server did something, or saw something.
    AwsServiceEvent,
    /// A browser signed in or out.
    AwsConsoleSignIn,
}

/// What it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventCategory {
    /// The account's resources.
    Management,
    /// Contents of objects.
    Data,
}

/// Something that was read or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its ARN.
    #[serde(rename = "ARN")]
    pub arn: String,
    /// Whose it is.
    #[serde(rename = "accountId")]
    pub account_id: String,
}

/// How a request was transported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsDetails {
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: String,
    /// IANA's name of the suite.
    pub cipher_suite: String,
    /// The host that the client meant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_provided_host_header: Option<String>,
}

/// Where a record is made: account and region of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub account: String,
    pub region: String,
}

impl Record {
    /// A record of something the server did or saw at `time`; the rest is for the caller to set.
    pub(super) fn new(place: &Place, time: Micros, source: &str, name: &str) -> Self {
        let mut additional = Map::new();
        additional.insert("eventTimeMicros".to_owned(), Value::from(time.0));
        Self {
            event_version: EVENT_VERSION.to_owned(),
            user_identity: UserIdentity::server(&place.account),
            event_time: time.rfc3339(),
            event_source: bounded(source, NAME_CHARS),
            event_name: bounded(name, NAME_CHARS),
            aws_region: place.region.clone(),
            source_ip_address: "parapet".to_owned(),
            user_agent: None,
            error_code: None,
            error_message: None,
            request_parameters: Value::Null,
            response_elements: Value::Null,
            additional_event_data: additional,
            request_id: None,
            event_id: uuid(),
            read_only: false,
            resources: Vec::new(),
            event_type: EventType::AwsServiceEvent,
            management_event: true,
            recipient_account_id: place.account.clone(),
            event_category: EventCategory::Management,
            tls_details: None,
        }
    }

    /// When it began, to the microsecond.
    #[must_use]
    pub fn time(&self) -> Option<Micros> {
        let micros = self
            .additional_event_data
            .get("eventTimeMicros")?
            .as_i64()?;
        Some(Micros(micros))
    }

    /// The text that is hashed and stored.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    pub(super) fn failed(&mut self, code: &str, message: &str) {
        self.error_code = Some(bounded(code, NAME_CHARS));
        self.error_message = Some(bounded(&mask::text(message), MESSAGE_CHARS));
    }
}

/// What a client calls itself, fit for a record.
pub(super) fn user_agent(text: &str) -> String {
    bounded(&mask::text(text), USER_AGENT_CHARS)
}

/// At most so many characters, none of which is a control character.
pub(super) fn bounded(text: &str, chars: usize) -> String {
    let mut kept: String = text
        .chars()
        .take(chars)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(chars).is_some() {
        kept.push('…');
    }
    kept
}

/// In the form of a UUID.
pub(super) fn uuid() -> String {
    // Without randomness records are only harder to tell apart: their numbers are theirs alone.
    let hex = random::hex::<16>().unwrap_or_else(|_| "0".repeat(32));
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}
