//! What happens without a call and still belongs into the trail.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::identity::UserIdentity;
use super::mask;
use super::record::{EventType, Place, Record, Resource};
use crate::store::Micros;

/// Something that the server did or saw.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "fields are named after what they hold; `address` is the peer's"
)]
pub enum Event<'a> {
    /// The server serves.
    ServerStarted { version: &'a str },
    /// The server ends.
    ServerStopped,
    /// A claim became a device certificate.
    DeviceEnrolled {
        address: IpAddr,
        device: &'a str,
        arn: &'a str,
        number: u64,
    },
    /// A device got its next certificate.
    DeviceCertificateRenewed {
        address: IpAddr,
        device: &'a str,
        arn: &'a str,
        number: u64,
    },
    /// A device's certificate, or its claim, was not taken.
    CertificateRefused {
        address: IpAddr,
        device: Option<&'a str>,
        reason: &'a str,
    },
    /// A browser was signed in.
    ConsoleSignIn {
        address: Option<IpAddr>,
        identity: UserIdentity,
    },
    /// A sign-in link was not taken.
    ConsoleSignInRefused { address: IpAddr },
    /// Somebody began to watch.
    ViewingBegan {
        address: Option<IpAddr>,
        identity: UserIdentity,
        /// ARN of the application instance.
        instance: &'a str,
        /// Camera or display.
        node: &'a str,
        /// The same at begin and end.
        viewing: &'a str,
    },
    /// Policies did not allow to watch.
    ViewingRefused {
        address: Option<IpAddr>,
        identity: UserIdentity,
        instance: &'a str,
        node: &'a str,
    },
    /// Watching ended, however it did.
    ViewingEnded {
        address: Option<IpAddr>,
        identity: UserIdentity,
        instance: &'a str,
        node: &'a str,
        viewing: &'a str,
        seconds: u64,
    },
    /// Stored secrets are now sealed by another master key.
    MasterKeyRotated { key: &'a str },
    /// Somebody with the data directory and the master key made a new key for the first user.
    AdminRecovered {
        /// Its ARN.
        user: &'a str,
        /// ID of the new key.
        key: &'a str,
        /// IDs of the keys that were deleted.
        removed: &'a [String],
        /// The boundary that was taken away.
        boundary: Option<&'a str>,
        /// Who ran the command, as the operating system numbers users.
        uid: u32,
    },
    /// A new key signs checkpoints.
    CheckpointKeyMade { key: &'a str },
    /// A signed checkpoint left the server.
    CheckpointExported {
        sequence: i64,
        hash: &'a str,
        destination: &'a str,
    },
}

impl Event<'_> {
    pub(super) fn record(&self, place: &Place, now: Micros) -> Record {
        let mut record = Record::new(place, now, "parapet.amazonaws.com", self.name());
        match self {
            Self::ServerStarted { version } => {
                record.request_parameters = json!({ "version": version });
            }
            Self::ServerStopped => {}
            Self::DeviceEnrolled {
                address,
                device,
                arn,
                number,
            }
            | Self::DeviceCertificateRenewed {
                address,
                device,
                arn,
                number,
            } => {
                from(&mut record, Some(*address));
                record.user_identity = UserIdentity::device(&place.account, device, arn);
                about(&mut record, arn);
                record.request_parameters = json!({ "certificateNumber": number });
            }
            Self::CertificateRefused {
                address,
                device,
                reason,
            } => {
                from(&mut record, Some(*address));
                record.user_identity = UserIdentity::unknown(None);
                record.request_parameters =
                    device.map_or(Value::Null, |device| parameters([("deviceId", device)]));
                record.failed("CertificateRefused", reason);
            }
            Self::ConsoleSignIn { address, identity } => {
                from(&mut record, *address);
                record.event_type = EventType::AwsConsoleSignIn;
                record.user_identity = identity.clone();
            }
            Self::ConsoleSignInRefused { address } => {
                from(&mut record, Some(*address));
                record.event_type = EventType::AwsConsoleSignIn;
                record.user_identity = UserIdentity::unknown(None);
                record.failed("ConsoleLinkRefused", "the link was used or is too old");
            }
            Self::ViewingBegan {
                address,
                identity,
                instance,
                node,
                viewing,
            } => {
                from(&mut record, *address);
                record.read_only = true;
                record.user_identity = identity.clone();
                about(&mut record, instance);
                record.request_parameters = parameters([("node", node), ("viewing", viewing)]);
            }
            Self::ViewingRefused {
                address,
                identity,
                instance,
                node,
            } => {
                from(&mut record, *address);
                record.read_only = true;
                record.user_identity = identity.clone();
                about(&mut record, instance);
                record.request_parameters = parameters([("node", node)]);
                record.failed(
                    "AccessDenied",
                    "the policies do not allow parapet:ViewStream",
                );
            }
            Self::ViewingEnded {
                address,
                identity,
                instance,
                node,
                viewing,
                seconds,
            } => {
                from(&mut record, *address);
                record.read_only = true;
                record.user_identity = identity.clone();
                about(&mut record, instance);
                record.request_parameters = parameters([("node", node), ("viewing", viewing)]);
                record.response_elements = json!({ "seconds": seconds });
            }
            Self::MasterKeyRotated { key } | Self::CheckpointKeyMade { key } => {
                record.request_parameters = parameters([("keyId", key)]);
            }
            Self::AdminRecovered {
                user,
                key,
                removed,
                boundary,
                uid,
            } => {
                about(&mut record, user);
                record.request_parameters = json!({
                    "accessKeyId": key,
                    "removedAccessKeyIds": removed,
                    "removedPermissionsBoundary": boundary,
                    "uid": uid,
                });
            }
            Self::CheckpointExported {
                sequence,
                hash,
                destination,
            } => {
                record.request_parameters = json!({
                    "sequence": sequence,
                    "hash": hash,
                    "destination": destination,
                });
            }
        }
        record
    }

    fn name(&self) -> &'static str {
        match self {
            Self::ServerStarted { .. } => "ServerStarted",
            Self::ServerStopped => "ServerStopped",
            Self::DeviceEnrolled { .. } => "DeviceEnrolled",
            Self::DeviceCertificateRenewed { .. } => "DeviceCertificateRenewed",
            Self::CertificateRefused { .. } => "CertificateRefused",
            Self::ConsoleSignIn { .. } | Self::ConsoleSignInRefused { .. } => "ConsoleSignIn",
            Self::ViewingBegan { .. } | Self::ViewingRefused { .. } => "ViewingBegan",
            Self::ViewingEnded { .. } => "ViewingEnded",
            Self::MasterKeyRotated { .. } => "MasterKeyRotated",
            Self::AdminRecovered { .. } => "AdminRecovered",
            Self::CheckpointKeyMade { .. } => "CheckpointKeyMade",
            Self::CheckpointExported { .. } => "CheckpointExported",
        }
    }
}

fn from(record: &mut Record, address: Option<IpAddr>) {
    if let Some(address) = address {
        record.source_ip_address = address.to_canonical().to_string();
    }
}

fn about(record: &mut Record, arn: &str) {
    let account_id = record.recipient_account_id.clone();
    record.resources.push(Resource {
        arn: super::record::bounded(arn, 512),
        account_id,
    });
}

/// Names that come from outside, bounded and masked.
fn parameters<const N: usize>(members: [(&str, &str); N]) -> Value {
    let members: Map<String, Value> = members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect();
    mask::parameters(&Value::Object(members))
}
