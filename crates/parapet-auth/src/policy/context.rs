//! What a request is like: condition keys and their values.
//!
//! Only the server fills it, from what it has proven or measured itself; nothing is copied from
//! request headers (`RustFS` GHSA-6r96-hmgc-726c).

/// Condition keys with their values. Names of keys are compared without regard to case, those of
/// tags inside them (`aws:ResourceTag/Team`) included, as in the original.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// By name in lower case, in the order of [`place`]. A decision looks keys up dozens of times.
    entries: Vec<(String, Vec<String>)>,
}

impl Context {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a key its one value, in place of what it had.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        *self.values(key.to_ascii_lowercase()) = vec![value.into()];
    }

    /// Gives a key its values, in place of what it had. A key with no values counts as missing.
    pub fn set_all<V: Into<String>>(&mut self, key: &str, values: impl IntoIterator<Item = V>) {
        *self.values(key.to_ascii_lowercase()) = values.into_iter().map(Into::into).collect();
    }

    /// The same as [`set`](Self::set), for building.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set(key, value);
        self
    }

    /// Adds a key for each tag: `prefix` (`aws:ResourceTag/`) and the tag's name.
    ///
    /// Two tags whose names differ in case only make one key with two values, which no operator for
    /// single values accepts: such a request is denied rather than judged by either.
    pub fn add_tags<K: AsRef<str>, V: AsRef<str>>(
        &mut self,
        prefix: &str,
        tags: impl IntoIterator<Item = (K, V)>,
    ) {
        for (key, value) in tags {
            self.values(format!("{prefix}{}", key.as_ref()).to_ascii_lowercase())
                .push(value.as_ref().to_owned());
        }
    }

    /// The values of a key; `None` when the key is missing or has none.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[String]> {
        self.get_lower(&key.to_ascii_lowercase())
    }

    /// The same for a key that is known to be in lower case.
    pub(super) fn get_lower(&self, key: &str) -> Option<&[String]> {
        let at = self.find(key).ok()?;
        let (_, values) = self.entries.get(at)?;
        Some(values.as_slice()).filter(|values| !values.is_empty())
    }

    /// The value of a key that has exactly one.
    #[must_use]
    pub fn one(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some([value]) => Some(value),
            _ => None,
        }
    }

    /// All keys, in lower case, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.entries
            .iter()
            .map(|(key, values)| (key.as_str(), values.as_slice()))
    }

    /// Where a key is, or where it would be.
    fn find(&self, key: &str) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|(there, _)| place(there).cmp(&place(key)))
    }

    /// The values of a key, which is there afterwards.
    fn values(&mut self, key: String) -> &mut Vec<String> {
        let at = match self.find(&key) {
            Ok(at) => at,
            Err(at) => {
                self.entries.insert(at, (key, Vec::new()));
                at
            }
        };
        &mut self.entries[at].1
    }
}

/// The order of keys: by length first, since most begin alike.
fn place(key: &str) -> (usize, &str) {
    (key.len(), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_ignore_case_and_values_do_not() {
        let mut context = Context::new().with("aws:SourceIp", "192.0.2.1");
        assert_eq!(context.one("AWS:SOURCEIP"), Some("192.0.2.1"));
        context.set("AWS:SourceIP", "192.0.2.2");
        assert_eq!(context.one("aws:sourceip"), Some("192.0.2.2"));
        assert_eq!(context.iter().count(), 1);
    }

    #[test]
    fn tags_that_differ_in_case_only_are_no_single_value() {
        let mut context = Context::new();
        context.add_tags("aws:ResourceTag/", [("Team", "a"), ("team", "b")]);
        assert_eq!(context.one("aws:ResourceTag/Team"), None);
        assert_eq!(context.get("aws:ResourceTag/Team").map(<[_]>::len), Some(2));
    }

    #[test]
    fn a_key_without_values_is_missing() {
        let mut context = Context::new();
        context.set_all("aws:TagKeys", Vec::<String>::new());
        assert_eq!(context.get("aws:TagKeys"), None);
    }
}
