//! Pages of IAM's lists: `MaxItems` and `Marker` in, `IsTruncated` and `Marker` out.
//!
//! A marker is the name of the last item, sealed and bound to its list, so that nobody forges one.

use crate::panorama::token::{List, TokenError};
use crate::query::{Failure, Xml};
use crate::store::Names;

use super::Call;

/// Most items of a page, and how many there are if the caller does not say.
const MOST: u32 = 1_000;
const USUAL: u32 = 100;

/// Which part of a list is wanted.
#[derive(Debug, Clone)]
pub(super) struct Page {
    list: List,
    after: String,
    limit: usize,
}

impl Page {
    /// Of the list that the request asks for; `filter` is what else it says.
    pub(super) fn of(call: &Call, filter: &[&str]) -> Result<Self, Failure> {
        let limit = call.form.number("MaxItems", 1, MOST)?.unwrap_or(USUAL);
        let list = List::new(&call.ctx().scope, call.operation.action, &filter)
            .map_err(Failure::internal)?;
        let after = match call.form.raw("Marker") {
            None => String::new(),
            Some(marker) => {
                list.open(&call.ctx().page_key, marker)
                    .map_err(|error| match error {
                        TokenError::Foreign => Failure::validation(
                            "The Marker was not given for this list; repeat the call without it.",
                        ),
                        TokenError::Made => Failure::internal(error),
                    })?
            }
        };
        Ok(Self {
            list,
            after,
            limit: limit as usize,
        })
    }

    /// The same, for the store.
    pub(super) fn names(&self, path_prefix: String) -> Names {
        Names {
            path_prefix,
            after: self.after.clone(),
            limit: self.limit,
        }
    }

    /// The page of a whole list. Puts it in the order of its keys.
    pub(super) fn cut<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> String) -> (Vec<T>, bool) {
        items.retain(|item| key(item) > self.after);
        items.sort_by_key(&key);
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        (items, more)
    }

    /// Writes how the page ends: with `last`, or with the list.
    pub(super) fn end(
        &self,
        call: &Call,
        xml: &mut Xml,
        last: Option<String>,
        more: bool,
    ) -> Result<(), Failure> {
        xml.text("IsTruncated", more);
        if let Some(last) = last.filter(|_| more) {
            let marker = self
                .list
                .seal(&call.ctx().page_key, &last)
                .map_err(Failure::internal)?;
            xml.text("Marker", marker);
        }
        Ok(())
    }
}
