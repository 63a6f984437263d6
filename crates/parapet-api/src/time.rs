//! Points in time as the API writes them.

use serde::{Serialize, Serializer};

/// A point in time. In bodies a JSON number: seconds since the epoch with a fraction of
/// milliseconds (`spec/api.md` section 1), which is how AWS CLI version 1 prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    micros: i64,
}

impl Timestamp {
    /// From microseconds since the epoch, as the store keeps them.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self { micros }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.micros
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = self.micros.div_euclid(1000);
        serializer.serialize_f64(millis as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_milliseconds() {
        let written = |micros| serde_json::to_string(&Timestamp::from_micros(micros)).unwrap();
        assert_eq!(written(1_652_409_973_613_999), "1652409973.613");
        assert_eq!(written(1_655_400_000_000_000), "1655400000.0");
        assert_eq!(written(0), "0.0");
    }
}
