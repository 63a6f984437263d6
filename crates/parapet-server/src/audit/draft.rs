//! The record of a call while it is being answered.
//!
//! Begun by the front before it knows who asks, filled in by whoever learns something, and
//! finished once: inside the transaction of the change ([`Audit::write`]), or after it by
//! [`Audit::record`]. A draft that is dropped unfinished (the caller went away and its task with it)
//! hands itself to the queue, so that no call goes unrecorded.
//!
//! Interior-mutable, since it travels with the call as an `Arc`; its lock is never held across an
//! `.await` and never while another is taken.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use parapet_auth::policy::Decision;
use serde_json::{Value, json};

use super::identity::UserIdentity;
use super::record::{
    EventCategory, EventType, Place, Record, Resource, TlsDetails, bounded, user_agent, uuid,
};
use super::recorder::{Queue, Work};
use super::{Outcome, mask};
use crate::store::{Micros, StoreError, Tx};

/// Resources and decisions of one call that are kept; the rest is counted.
const ENTRIES: usize = 16;
/// Longest text in a decision.
const TEXT_CHARS: usize = 512;

/// What the front knows of a request before it has verified anything.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The ID that the answer carries.
    pub request_id: &'a str,
    /// The client, as far as configured proxies are believed.
    pub source: IpAddr,
    /// What the client calls itself.
    pub user_agent: Option<&'a str>,
    /// Version and suite, e.g. `TLSv1.3` and `TLS_AES_256_GCM_SHA384`.
    pub tls: Option<(&'a str, &'a str)>,
    /// The host that the client meant.
    pub host: Option<&'a str>,
}

/// Whether an operation can change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It cannot.
    Read,
    /// It can.
    Write,
}

/// The record of one call in the making.
pub struct Draft {
    queue: Queue,
    state: Mutex<State>,
}

/// Where it stands.
enum State {
    /// In the making.
    Open(Box<Record>),
    /// Appended in a transaction whose end is not known yet.
    Appended { record: Box<Record>, sequence: i64 },
    /// In the trail, as this outcome.
    Written { record: Box<Record>, failed: bool },
    /// Handed over, counted or closed: nothing is left to do.
    Done,
}

impl Draft {
    pub(super) fn begin(queue: Queue, place: &Place, opening: &Opening<'_>, now: Micros) -> Self {
        let mut record = Record::new(place, now, "parapet.amazonaws.com", "Unknown");
        record.event_type = EventType::AwsApiCall;
        record.user_identity = UserIdentity::unknown(None);
        record.source_ip_address = opening.source.to_canonical().to_string();
        record.user_agent = opening.user_agent.map(user_agent);
        record.request_id = Some(bounded(opening.request_id, 128));
        record.tls_details = opening.tls.map(|(version, suite)| TlsDetails {
            tls_version: bounded(version, 32),
            cipher_suite: bounded(suite, 64),
            client_provided_host_header: opening.host.map(|host| bounded(host, 256)),
        });
        Self {
            queue,
            state: Mutex::new(State::Open(Box::new(record))),
        }
    }

    /// Says who asks.
    pub fn identify(&self, identity: UserIdentity) {
        self.edit(|record| record.user_identity = identity);
    }

    /// Says what is asked: the service as its signature names it (`panorama`), the operation.
    pub fn operation(&self, service: &str, name: &str, access: Access) {
        self.edit(|record| {
            record.event_source = format!("{}.amazonaws.com", bounded(service, 64));
            record.event_name = bounded(name, 128);
            record.read_only = access == Access::Read;
        });
    }

    /// Says that the call is about contents of objects, not about the account.
    pub fn is_about_data(&self) {
        self.edit(|record| {
            record.management_event = false;
            record.event_category = EventCategory::Data;
        });
    }

    /// Sets the parameters; they are masked and bounded here.
    pub fn parameters(&self, parameters: &Value) {
        let masked = mask::parameters(parameters);
        self.edit(|record| record.request_parameters = masked);
    }

    /// The same from the fields of a form; `Action` and `Version` belong to the operation's name.
    pub fn form<'a>(&self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let fields = fields
            .into_iter()
            .filter(|(name, _)| !matches!(*name, "Action" | "Version"));
        let masked = mask::form(fields);
        self.edit(|record| record.request_parameters = masked);
    }

    /// Sets what of the answer is worth keeping; masked and bounded like the parameters.
    pub fn response(&self, elements: &Value) {
        let masked = mask::parameters(elements);
        self.edit(|record| record.response_elements = masked);
    }

    /// Adds something that is read or changed.
    pub fn resource(&self, arn: &str) {
        self.edit(|record| {
            let arn = bounded(arn, TEXT_CHARS);
            if record.resources.len() < ENTRIES && record.resources.iter().all(|r| r.arn != arn) {
                let account_id = record.recipient_account_id.clone();
                record.resources.push(Resource { arn, account_id });
            }
        });
    }

    /// Adds what the policies said about an action (`panorama:DescribeDevice`) on a resource (an
    /// ARN, or `*`): the first answer to each question, with the statement that gave it.
    pub fn decided(&self, action: &str, resource: &str, decision: &Decision) {
        let (effect, by) = match decision {
            Decision::Allowed { by } if by.is_empty() => ("Allow", "the account's root".to_owned()),
            Decision::Allowed { by } => {
                let statements: Vec<String> = by.iter().map(ToString::to_string).collect();
                ("Allow", statements.join(", "))
            }
            Decision::Denied(denial) => ("Deny", denial.explanation(action, resource)),
        };
        let entry = json!({
            "action": bounded(action, 128),
            "resource": bounded(resource, TEXT_CHARS),
            "effect": effect,
            "by": bounded(&by, TEXT_CHARS),
        });
        self.edit(|record| {
            let decisions = &mut record.additional_event_data;
            let list = decisions
                .entry("decisions")
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                if list.contains(&entry) {
                    return;
                }
                if list.len() == ENTRIES {
                    // The newest is the one that stopped the call, if one did.
                    list.pop();
                }
                list.push(entry);
            }
        });
    }

    /// Adds a fact that CloudTrail has no member for.
    pub fn note(&self, name: &'static str, value: &Value) {
        let masked = mask::parameters(value);
        self.edit(|record| {
            record.additional_event_data.insert(name.to_owned(), masked);
        });
    }

    /// Appends the record inside the transaction of the change. Call it last: what fails after it
    /// undoes it. A second change of the same call adds nothing, its request is recorded.
    ///
    /// Use [`super::Audit::write`], which also tells the draft how the transaction ended.
    pub fn commit(&self, tx: &Tx<'_>, outcome: &Outcome) -> Result<(), StoreError> {
        let mut state = self.lock();
        let State::Open(record) = &mut *state else {
            return Ok(());
        };
        let mut finished = record.clone();
        outcome.apply(&mut finished);
        let sequence = super::append(tx, &finished)?;
        *state = State::Appended {
            record: finished,
            sequence,
        };
        Ok(())
    }

    /// Tells how the transaction of [`commit`](Self::commit) ended.
    pub(super) fn settle(&self, is_durable: bool) {
        let mut state = self.lock();
        *state = match std::mem::replace(&mut *state, State::Done) {
            State::Appended { mut record, .. } if !is_durable => {
                record.error_code = None;
                record.error_message = None;
                State::Open(record)
            }
            State::Appended { record, .. } => {
                let failed = record.error_code.is_some();
                State::Written { record, failed }
            }
            other => other,
        };
    }

    /// Ends the draft; what is still to be written, if anything is.
    pub(super) fn finish(&self, outcome: &Outcome) -> Option<Work> {
        match std::mem::replace(&mut *self.lock(), State::Done) {
            State::Open(mut record) => {
                outcome.apply(&mut record);
                Some(Work::record(*record))
            }
            State::Appended { record, sequence } => Some(Work::confirm(*record, sequence)),
            // The change is made and recorded; that the call failed all the same is told by a
            // second record.
            State::Written {
                mut record,
                failed: false,
            } if !matches!(outcome, Outcome::Success) => {
                let first = std::mem::replace(&mut record.event_id, uuid());
                record
                    .additional_event_data
                    .insert("supplements".to_owned(), Value::from(first));
                outcome.apply(&mut record);
                Some(Work::record(*record))
            }
            State::Written { .. } | State::Done => None,
        }
    }

    /// Ends the draft without a record of its own: it was counted elsewhere.
    pub(super) fn take(&self) -> Option<Box<Record>> {
        match std::mem::replace(&mut *self.lock(), State::Done) {
            State::Open(record) => Some(record),
            State::Appended { .. } | State::Written { .. } | State::Done => None,
        }
    }

    fn edit(&self, change: impl FnOnce(&mut Record)) {
        if let State::Open(record) | State::Written { record, .. } = &mut *self.lock() {
            change(record);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is held leaves a record that is whole: each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let gone = Outcome::Failure {
            code: "ClientDisconnected".to_owned(),
            message: "the caller went away before the answer".to_owned(),
        };
        let is_written = matches!(*self.lock(), State::Done | State::Written { .. });
        if !is_written && let Some(work) = self.finish(&gone) {
            self.queue.push(work);
        }
    }
}
