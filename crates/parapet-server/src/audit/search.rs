//! Which records somebody looks for.
//!
//! A filter is read from named texts (a query, the command line) and asked about a record, which is
//! pure; [`step`] asks it about a bounded part of the stored trail.

use std::net::IpAddr;
use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rusqlite::Connection;
use thiserror::Error;

use super::record::Record;
use crate::store::audit::Row;
use crate::store::{self, Micros, StoreError};

/// Longest value of a filter.
const VALUE_BYTES: usize = 2_048;
/// Records that are read at a time.
const CHUNK: usize = 500;
/// Records that one step looks at, at most: about 0.1 s.
pub const SCANNED: usize = 20_000;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it was asked.
    Success,
    /// With an error.
    Failure,
    /// With an error because policies or a signature did not allow it.
    Denied,
}

/// What to look for: all of it must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    principal: Option<String>,
    action: Option<String>,
    resource: Option<String>,
    source: Option<IpAddr>,
    request_id: Option<String>,
    outcome: Option<Ended>,
    times: Range<Micros>,
}

/// Why a filter is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("use {name} = {value:?}: {rule}")]
pub struct FilterError {
    /// Which part.
    pub name: String,
    /// Its value, cut.
    pub value: String,
    /// What it should be.
    pub rule: &'static str,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            principal: None,
            action: None,
            resource: None,
            source: None,
            request_id: None,
            outcome: None,
            times: Micros(i64::MIN)..Micros(i64::MAX),
        }
    }
}

impl Filter {
    /// Takes one part over: `principal` (ARN, name, unique ID or access key), `action`
    /// (`panorama:CreatePackage` or `CreatePackage`), `resource` (ARN, or what it ends with),
    /// `source` (address), `request-id`, `outcome` (`success`, `failure`, `denied`), `since` and
    /// `until` (RFC 3339, a date, or `90s`, `15m`, `2h`, `7d` before `now`).
    pub fn set(&mut self, name: &str, value: &str, now: Micros) -> Result<(), FilterError> {
        let bad = |rule| FilterError {
            name: name.chars().take(40).collect(),
            value: value.chars().take(80).collect(),
            rule,
        };
        if value.is_empty() || value.len() > VALUE_BYTES {
            return Err(bad("write 1 to 2048 bytes"));
        }
        match name {
            "principal" => self.principal = Some(value.to_owned()),
            "action" => self.action = Some(value.to_owned()),
            "resource" => self.resource = Some(value.to_owned()),
            "source" => {
                let address: IpAddr = value.parse().map_err(|_| bad("write an IP address"))?;
                self.source = Some(address.to_canonical());
            }
            "request-id" => self.request_id = Some(value.to_owned()),
            "outcome" => {
                self.outcome = Some(match value {
                    "success" => Ended::Success,
                    "failure" => Ended::Failure,
                    "denied" => Ended::Denied,
                    _ => return Err(bad("write success, failure or denied")),
                });
            }
            "since" | "until" => {
                let time = time(value, now).ok_or_else(|| {
                    bad("write 2026-11-25T16:00:00Z, 2026-11-25, or how long ago: 15m, 2h, 7d")
                })?;
                if name == "since" {
                    self.times.start = time;
                } else {
                    self.times.end = time;
                }
            }
            _ => {
                return Err(bad(
                    "know principal, action, resource, source, request-id, outcome, since, until",
                ));
            }
        }
        Ok(())
    }

    /// From when (with) to when (without).
    #[must_use]
    pub fn times(&self) -> &Range<Micros> {
        &self.times
    }

    /// Whether times narrow the search.
    #[must_use]
    pub fn is_bounded_in_time(&self) -> bool {
        self.times != Self::default().times
    }

    /// Whether a record is looked for.
    #[must_use]
    pub fn fits(&self, record: &Record) -> bool {
        self.fits_principal(record)
            && self.fits_action(record)
            && self.fits_resource(record)
            && self.source.is_none_or(|source| {
                let address: Result<IpAddr, _> = record.source_ip_address.parse();
                address.is_ok_and(|address| address.to_canonical() == source)
            })
            && self
                .request_id
                .as_ref()
                .is_none_or(|id| record.request_id.as_ref() == Some(id))
            && self.outcome.is_none_or(|outcome| match outcome {
                Ended::Success => record.error_code.is_none(),
                Ended::Failure => record.error_code.is_some(),
                Ended::Denied => is_denied(record),
            })
            && record.time().is_some_and(|time| self.times.contains(&time))
    }

    fn fits_principal(&self, record: &Record) -> bool {
        let Some(wanted) = &self.principal else {
            return true;
        };
        let identity = &record.user_identity;
        let issuer = identity
            .session_context
            .as_ref()
            .and_then(|session| session.session_issuer.as_ref());
        [
            identity.arn.as_ref(),
            identity.principal_id.as_ref(),
            identity.user_name.as_ref(),
            identity.access_key_id.as_ref(),
            issuer.map(|issuer| &issuer.arn),
            issuer.map(|issuer| &issuer.user_name),
        ]
        .contains(&Some(wanted))
    }

    fn fits_action(&self, record: &Record) -> bool {
        let Some(wanted) = &self.action else {
            return true;
        };
        let (service, name) = match wanted.split_once(':') {
            Some((service, name)) => (Some(service), name),
            None => (None, wanted.as_str()),
        };
        let its = record.event_source.split('.').next().unwrap_or_default();
        name.eq_ignore_ascii_case(&record.event_name)
            && service.is_none_or(|service| service.eq_ignore_ascii_case(its))
    }

    fn fits_resource(&self, record: &Record) -> bool {
        let Some(wanted) = &self.resource else {
            return true;
        };
        record.resources.iter().any(|resource| {
            resource
                .arn
                .strip_suffix(wanted.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with(['/', ':']))
        })
    }
}

/// Whether the caller was refused for who it is.
fn is_denied(record: &Record) -> bool {
    record.error_code.as_deref().is_some_and(|code| {
        [
            "AccessDenied",
            "InvalidSignature",
            "SignatureDoesNotMatch",
            "UnrecognizedClient",
            "InvalidClientTokenId",
            "InvalidAccessKeyId",
            "ExpiredToken",
            "MissingAuthenticationToken",
            "IncompleteSignature",
            "RequestTimeTooSkewed",
            "CertificateRefused",
            "ConsoleLinkRefused",
        ]
        .iter()
        .any(|refusal| code.starts_with(refusal))
    })
}

fn time(text: &str, now: Micros) -> Option<Micros> {
    if let Some((unit, count)) = text
        .char_indices()
        .next_back()
        .and_then(|(at, unit)| Some((unit, text[..at].parse::<i64>().ok()?)))
    {
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        let ago = count.checked_mul(seconds)?.checked_mul(1_000_000)?;
        return (count >= 0).then_some(Micros(now.0.checked_sub(ago)?));
    }
    let midnight = |date: Date| TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok();
    let timestamp = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| midnight(text.parse().ok()?))?;
    Some(Micros(timestamp.as_microsecond()))
}

/// A part of a search.
#[derive(Debug)]
pub struct Step {
    /// What was found, the newest first.
    pub found: Vec<(Row, Record)>,
    /// Go on before this record; `None` at the trail's beginning.
    pub next: Option<i64>,
}

/// Looks through the records before `before`, the newest first, until `limit` are found or
/// [`SCANNED`] were looked at: a search of any size is made of steps that nobody waits for long.
pub fn step(
    connection: &Connection,
    filter: &Filter,
    before: i64,
    limit: usize,
) -> Result<Step, StoreError> {
    let none = Step {
        found: Vec::new(),
        next: None,
    };
    let (first, mut before) = if filter.is_bounded_in_time() {
        match store::audit::span(connection, filter.times())? {
            Some((first, last)) => (first, before.min(last.saturating_add(1))),
            None => return Ok(none),
        }
    } else {
        (1, before)
    };
    let mut step = none;
    let mut scanned = 0;
    loop {
        let rows = store::audit::before(connection, before, CHUNK)?;
        for row in rows {
            if row.sequence < first {
                return Ok(step);
            }
            before = row.sequence;
            scanned += 1;
            // A row that is no record is for `verify` to find.
            let record: Option<Record> = serde_json::from_str(&row.record).ok();
            if let Some(record) = record.filter(|record| filter.fits(record)) {
                step.found.push((row, record));
            }
            if step.found.len() >= limit || scanned >= SCANNED {
                step.next = (before > first).then_some(before);
                return Ok(step);
            }
        }
        if before <= first || scanned % CHUNK != 0 || scanned == 0 {
            return Ok(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::{Place, Resource};

    const NOW: Micros = Micros(1_790_000_000_000_000);

    fn record() -> Record {
        let place = Place {
            account: "123456789012".to_owned(),
            region: "us-west-2".to_owned(),
        };
        let mut record = Record::new(&place, NOW, "panorama.amazonaws.com", "DeleteDevice");
        record.user_identity.arn = Some("arn:aws:iam::123456789012:user/ann".to_owned());
        record.user_identity.user_name = Some("ann".to_owned());
        record.source_ip_address = "10.0.0.7".to_owned();
        record.request_id = Some("r-1".to_owned());
        record.resources.push(Resource {
            arn: "arn:aws:panorama:us-west-2:123456789012:device/device-a".to_owned(),
            account_id: "123456789012".to_owned(),
        });
        record
    }

    fn fits(name: &str, value: &str, record: &Record) -> bool {
        let mut filter = Filter::default();
        filter.set(name, value, NOW).expect("a filter");
        filter.fits(record)
    }

    #[test]
    fn each_part_finds_its_records_and_no_others() {
        let record = record();
        assert!(Filter::default().fits(&record));
        for (name, fitting, other) in [
            ("principal", "ann", "an"),
            ("principal", "arn:aws:iam::123456789012:user/ann", "bob"),
            ("action", "panorama:deletedevice", "iam:DeleteDevice"),
            ("action", "DeleteDevice", "DeleteDevic"),
            ("resource", "device-a", "evice-a"),
            ("resource", "device/device-a", "device-b"),
            ("source", "::ffff:10.0.0.7", "10.0.0.8"),
            ("request-id", "r-1", "r-2"),
            ("outcome", "success", "denied"),
            ("since", "1s", "2030-01-01"),
            ("until", "2026-09-21T14:13:21Z", "0s"),
        ] {
            assert!(fits(name, fitting, &record), "{name} {fitting}");
            assert!(!fits(name, other, &record), "{name} {other}");
        }
        let mut denied = record;
        denied.error_code = Some("AccessDeniedException".to_owned());
        assert!(fits("outcome", "denied", &denied) && fits("outcome", "failure", &denied));
        assert!(!fits("outcome", "success", &denied));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for (name, value) in [
            ("source", "localhost"),
            ("outcome", "good"),
            ("since", "yesterday"),
            ("since", "-1h"),
            ("since", "9223372036854775807d"),
            ("user", "ann"),
            ("principal", ""),
        ] {
            let refused = Filter::default().set(name, value, NOW);
            assert!(refused.is_err(), "{name} {value}");
        }
    }
}
