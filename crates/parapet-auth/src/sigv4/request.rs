//! A request's head as it came from the wire: nothing decoded, nothing reordered.

use super::error::AuthError;

/// Most headers a request may have.
const HEADERS: usize = 100;
/// Most bytes of target and headers together, as they are hashed before the sender is known.
const HEAD_BYTES: usize = 64 * 1024;

/// Method, raw target and headers.
#[derive(Debug, Clone)]
pub struct RequestHead<'a> {
    /// As sent, upper case.
    pub method: &'a str,
    /// Path, not decoded.
    pub path: &'a str,
    /// Query without the `?`, not decoded; empty when there is none.
    pub query: &'a str,
    /// Sorted by name; those of one name in wire order.
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> RequestHead<'a> {
    /// From the parts of a request. `headers` have lower-case names and stand in wire order;
    /// `authority` is HTTP/2's `:authority`, which stands for `host`.
    pub fn new(
        method: &'a str,
        path: &'a str,
        query: &'a str,
        authority: Option<&'a str>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, AuthError> {
        let mut kept = Vec::new();
        let mut bytes = path.len() + query.len();
        for (name, value) in headers {
            let value = std::str::from_utf8(value)
                .ok()
                .filter(|value| value.is_ascii())
                .ok_or_else(|| AuthError::header(name, "holds bytes outside ASCII"))?;
            bytes += name.len() + value.len();
            kept.push((name, value));
            if kept.len() > HEADERS || bytes > HEAD_BYTES {
                return Err(AuthError::HeadTooLarge);
            }
        }
        let hosts = kept.iter().filter(|(name, _)| *name == "host").count();
        match (authority, hosts) {
            (Some(authority), 0) => kept.push(("host", authority)),
            (Some(authority), 1) => {
                let same = kept
                    .iter()
                    .any(|(name, value)| *name == "host" && *value == authority);
                if !same {
                    return Err(AuthError::header("host", "differs from :authority"));
                }
            }
            (_, 0 | 1) => {}
            _ => return Err(AuthError::header("host", "is there more than once")),
        }
        // Stable: the values of one name are joined in the order in which they were sent.
        kept.sort_by_key(|(name, _)| *name);
        Ok(Self {
            method,
            path,
            query,
            headers: kept,
        })
    }

    /// Headers by name; those of one name in wire order.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.headers.iter().copied()
    }

    /// The one header of this name; more than one is refused, as it would be anybody's guess which
    /// of them a handler obeys.
    pub fn header(&self, name: &str) -> Result<Option<&'a str>, AuthError> {
        let from = self.headers.partition_point(|(known, _)| *known < name);
        let mut values = self.headers[from..]
            .iter()
            .take_while(|(known, _)| *known == name)
            .map(|(_, value)| *value);
        let first = values.next();
        if values.next().is_some() {
            return Err(AuthError::header(name, "is there more than once"));
        }
        Ok(first)
    }
}
