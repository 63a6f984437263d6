//! ARNs of the three things that can be tagged (`spec/api.md` section 2).

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::operation::ResourceType;

/// Why a text is no ARN of this service.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "read {value:?}: needs arn:<partition>:panorama:<region>:<account>:<device, package or \
     applicationInstance>/<id>"
)]
pub struct BadArn {
    value: String,
}

/// `arn:<partition>:panorama:<region>:<account>:<type>/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Arn {
    /// `aws`, or `aws-cn` and the like as given.
    pub partition: String,
    /// Region of the resource.
    pub region: String,
    /// Account of the resource.
    pub account: String,
    /// The kind of resource.
    pub resource_type: ResourceType,
    /// Its ID; `*` in policies.
    pub id: String,
}

impl Arn {
    /// The ARN of a resource of this service.
    #[must_use]
    pub fn new(region: &str, account: &str, resource_type: ResourceType, id: &str) -> Self {
        Self {
            partition: "aws".to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            resource_type,
            id: id.to_owned(),
        }
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partition,
            region,
            account,
            resource_type,
            id,
        } = self;
        write!(
            f,
            "arn:{partition}:panorama:{region}:{account}:{}/{id}",
            resource_type.in_arn()
        )
    }
}

impl FromStr for Arn {
    type Err = BadArn;

    fn from_str(text: &str) -> Result<Self, BadArn> {
        let bad = || BadArn {
            value: text.chars().take(120).collect(),
        };
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or_else(bad);
        let (scheme, partition, service) = (next()?, next()?, next()?);
        let (region, account, resource) = (next()?, next()?, next()?);
        let (kind, id) = resource.split_once('/').ok_or_else(bad)?;
        let resource_type = [
            ResourceType::Device,
            ResourceType::Package,
            ResourceType::ApplicationInstance,
        ]
        .into_iter()
        .find(|known| known.in_arn() == kind)
        .ok_or_else(bad)?;
        let named = scheme == "arn" && service == "panorama";
        let partition_ok = partition.starts_with("aws");
        let account_ok = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let id_ok = !id.is_empty() && id.len() <= 255 && !id.contains(['/', ':']);
        if !(named && partition_ok && account_ok && id_ok && !region.is_empty()) {
            return Err(bad());
        }
        Ok(Self {
            partition: partition.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            resource_type,
            id: id.to_owned(),
        })
    }
}

impl Serialize for Arn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_arn_is_read_as_it_is_written() {
        for text in [
            "arn:aws:panorama:us-west-2:123456789012:device/device-k3q7w2n5c6mxtzv4rjdafu2yhe",
            "arn:aws:panorama:us-west-2:123456789012:package/package-w7dk3n2xqzv6mtr5gyjc4habfe",
            "arn:aws:panorama:us-west-2:123456789012:applicationInstance/applicationInstance-q5tz7mvg2ncw4ykd6xraj3hbeu",
        ] {
            assert_eq!(text.parse::<Arn>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn another_service_or_kind_is_refused() {
        for text in [
            "",
            "arn:aws:s3:us-west-2:123456789012:device/x",
            "arn:aws:panorama:us-west-2:123456789012:job/x",
            "arn:aws:panorama:us-west-2:12345678901:device/x",
            "arn:aws:panorama:us-west-2:123456789012:device/",
            "arn:aws:panorama:us-west-2:123456789012:device/x/y",
            "arn:aws:panorama::123456789012:device/x",
        ] {
            assert!(text.parse::<Arn>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_parser(text: String) {
            let _ = text.parse::<Arn>();
            let _ = format!("arn:aws:panorama:{text}").parse::<Arn>();
        }
    }
}
