//! XML out: elements and their text, nothing else.

use std::fmt::Display;

use crate::front::error::escape;

/// A growing piece of XML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Xml(String);

impl Xml {
    /// What is written so far.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// All that was written.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }

    /// An element with other elements in it.
    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.open(name);
        content(self);
        self.close(name);
    }

    /// An element with text in it.
    pub fn text(&mut self, name: &str, value: impl Display) {
        self.open(name);
        self.0.push_str(&escape(&value.to_string()));
        self.close(name);
    }

    /// The same, or nothing.
    pub fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A list: an element with a `member` for each item.
    pub fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut content: impl FnMut(&mut Self, T),
    ) {
        self.open(name);
        for item in items {
            self.element("member", |xml| content(xml, item));
        }
        self.close(name);
    }

    /// A list of texts.
    pub fn texts(&mut self, name: &str, items: impl IntoIterator<Item = impl Display>) {
        self.open(name);
        for item in items {
            self.text("member", item);
        }
        self.close(name);
    }

    /// What another piece holds.
    pub fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    /// Well-formed XML as it is.
    pub(super) fn raw(&mut self, xml: &str) {
        self.0.push_str(xml);
    }

    fn open(&mut self, name: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
    }

    fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_members_and_text_stays_text() {
        let mut xml = Xml::default();
        xml.list("Users", ["a", "<b>"], |xml, name| {
            xml.text("UserName", name);
        });
        xml.texts("Names", ["&"]);
        xml.optional("None", None::<&str>);
        assert_eq!(
            xml.into_string(),
            "<Users><member><UserName>a</UserName></member><member><UserName>&lt;b&gt;</UserName>\
             </member></Users><Names><member>&amp;</member></Names>"
        );
    }
}
