//! `parapet app` and `parapet device`: what runs where, what it may use and reach, over the signed
//! API. [`decision`] changes what was decided, and never over somebody else's change.

pub(crate) mod app;
mod decision;
pub(crate) mod device;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The ID of something that is named by its ID or by a name that one of `all` has.
fn identify(all: &[Value], named: &str, what: &str, id: &str, list: &str) -> Result<String> {
    let mut found = all
        .iter()
        .filter(|item| item[id] == named || item["Name"] == named)
        .filter_map(|item| item[id].as_str());
    let first = found
        .next()
        .with_context(|| format!("there is no {what} {named:?}: `{list}` tells which there are"))?;
    if let Some(second) = found.next() {
        bail!("{named:?} may be {first} or {second}: give the ID");
    }
    Ok(first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_named_is_one_or_an_error_says_which_there_are() -> Result<()> {
        let all = [
            json!({ "Id": "a-1", "Name": "counter" }),
            json!({ "Id": "a-2", "Name": "counter" }),
            json!({ "Id": "a-3", "Name": "guard" }),
            json!({ "Id": "a-4" }),
        ];
        let identify = |named: &str| identify(&all, named, "application", "Id", "parapet app list");
        assert_eq!(identify("guard")?, "a-3");
        assert_eq!(identify("a-2")?, "a-2");
        assert_eq!(identify("a-4")?, "a-4");
        let ambiguous = identify("counter").expect_err("two").to_string();
        assert!(ambiguous.contains("a-1 or a-2"), "{ambiguous}");
        let missing = identify("nobody").expect_err("none").to_string();
        assert!(missing.contains("parapet app list"), "{missing}");
        Ok(())
    }
}
