//! Changes of JSON as a tree, so that what is changed gets past the reader of JSON.

use serde_json::Value;

use crate::mutate::Mutator;

/// Changes one to four places of a document, if it is one. Parts of the `other` document take the
/// place of its own.
pub(crate) fn change(
    mutator: &mut Mutator,
    input: &[u8],
    other: &[u8],
    words: &[&str],
) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(input).ok()?;
    let other: Value = serde_json::from_slice(other).unwrap_or(Value::Null);
    for _ in 0..=mutator.below(4) {
        let part = part(mutator, &other, words);
        let at = mutator.below(count(&document));
        let place = find(&mut document, &mut at.clone())?;
        match (mutator.below(6), place) {
            (0, Value::Object(members)) if !members.is_empty() => {
                let name = members.keys().nth(mutator.below(members.len()))?.clone();
                members.remove(&name);
            }
            (0, Value::Array(items)) if !items.is_empty() => {
                items.remove(mutator.below(items.len()));
            }
            (1, Value::Array(items)) if !items.is_empty() => {
                let item = items[mutator.below(items.len())].clone();
                items.insert(mutator.below(items.len() + 1), item);
            }
            (1, Value::Object(members)) => {
                let name = word(mutator, words);
                members.insert(name, part);
            }
            (2, Value::Array(items)) => {
                let at = mutator.below(items.len() + 1);
                items.insert(at, part);
            }
            (3, Value::Number(number)) => {
                let by = [1, -1, 1000][mutator.below(3)];
                let changed = number.as_i64().unwrap_or(0).wrapping_add(by);
                *number = changed.into();
            }
            (2 | 3, Value::String(text)) => {
                let word = word(mutator, words);
                let mut at = mutator.below(text.len() + 1);
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                text.insert_str(at, &word);
            }
            (_, place) => *place = part,
        }
    }
    serde_json::to_vec(&document).ok()
}

/// Something to put in: a part of another document, a word, an edge.
fn part(mutator: &mut Mutator, other: &Value, words: &[&str]) -> Value {
    match mutator.below(6) {
        0 => Value::Null,
        1 => Value::from(word(mutator, words)),
        2 => [
            Value::from(0),
            Value::from(-1),
            Value::from(u64::MAX),
            Value::from(1e300),
            Value::from(true),
            Value::Array(Vec::new()),
            Value::Object(serde_json::Map::new()),
        ][mutator.below(7)]
        .clone(),
        _ => {
            let mut other = other.clone();
            let mut at = mutator.below(count(&other));
            find(&mut other, &mut at).map_or(Value::Null, Value::take)
        }
    }
}

/// A word without what makes it JSON.
fn word(mutator: &mut Mutator, words: &[&str]) -> String {
    let word = words.get(mutator.below(words.len())).unwrap_or(&"");
    word.trim_matches('"').to_owned()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// The part of this number, in the order of reading.
fn find<'a>(value: &'a mut Value, at: &mut usize) -> Option<&'a mut Value> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| find(item, at)),
        Value::Object(members) => members.values_mut().find_map(|item| find(item, at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_is_json_still_and_every_part_is_reached() {
        let document = br#"{"a": [1, {"b": "text"}, null], "c": 2.5}"#;
        let mut mutator = Mutator::new(3);
        let mut all = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let changed = change(&mut mutator, document, document, &["\"x\""]).unwrap();
            serde_json::from_slice::<Value>(&changed).unwrap();
            all.insert(changed);
        }
        assert!(all.len() > 200, "{}", all.len());
        let mut value: Value = serde_json::from_slice(document).unwrap();
        assert_eq!(count(&value), 7);
        assert!((0..7).all(|at| find(&mut value, &mut at.clone()).is_some()));
        assert!(find(&mut value, &mut 7).is_none());
        assert_eq!(change(&mut mutator, b"no json", b"{}", &[]), None);
    }
}
