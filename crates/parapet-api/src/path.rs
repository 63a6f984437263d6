//! The router: a method and a raw path to an operation and its labels.
//!
//! The path is matched as it was received and its labels are decoded afterwards, because a label
//! may hold `/` as `%2F` (`packageName%2F<name>`, ARNs). Proxies that decode `%2F` on the way are
//! met half-way: an alias and an ARN are also found in pieces.

use crate::enums::ValidationExceptionReason;
use crate::error::ValidationException;
use crate::operation::Operation;

/// Longest path that is looked at: an ARN of 2,048 characters, all percent-encoded.
const MAX_PATH_BYTES: usize = 8192;

/// An operation and the labels of its path, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The operation.
    pub operation: Operation,
    /// Name and value of each label.
    pub labels: Vec<(&'static str, String)>,
}

/// Finds the operation of a raw path (without the query).
///
/// # Errors
/// `UNKNOWN_OPERATION` when no operation has that method and path, `CANNOT_PARSE` when a label is
/// not percent-encoded UTF-8.
pub fn route(method: &str, raw_path: &str) -> Result<Route, ValidationException> {
    let unknown = || {
        let path: String = raw_path.chars().take(200).collect();
        let message = format!("no operation answers {method} {path}");
        ValidationException::new(ValidationExceptionReason::UnknownOperation, message)
    };
    if raw_path.len() > MAX_PATH_BYTES {
        return Err(unknown());
    }
    let path = raw_path.strip_prefix('/').ok_or_else(unknown)?;
    let segments = joined(path.strip_suffix('/').unwrap_or(path).split('/').collect());
    for operation in Operation::ALL {
        if operation.method() != method {
            continue;
        }
        if let Some(labels) = matched(operation.template(), &segments) {
            let labels = labels
                .into_iter()
                .map(|(name, raw)| Ok((name, decode(raw).ok_or_else(|| undecodable(name))?)))
                .collect::<Result<_, ValidationException>>()?;
            return Ok(Route {
                operation: *operation,
                labels,
            });
        }
    }
    Err(unknown())
}

fn undecodable(name: &str) -> ValidationException {
    let message = format!("the path's {name} is not percent-encoded UTF-8");
    ValidationException::new(ValidationExceptionReason::CannotParse, message)
}

/// Puts an alias or an ARN together again that a proxy has decoded.
fn joined(segments: Vec<&str>) -> Vec<String> {
    let (head, rest) = match segments.as_slice() {
        ["tags", rest @ ..] if rest.len() > 1 => return vec!["tags".to_owned(), rest.join("/")],
        ["packages", "metadata", "packageName", rest @ ..] if !rest.is_empty() => {
            (&["packages", "metadata"][..], rest)
        }
        ["packages", "packageName", rest @ ..] if !rest.is_empty() => (&["packages"][..], rest),
        _ => return segments.into_iter().map(str::to_owned).collect(),
    };
    let alias = rest.first().map(|name| format!("packageName/{name}"));
    let tail = rest.iter().skip(1).map(|segment| (*segment).to_owned());
    head.iter()
        .map(|segment| (*segment).to_owned())
        .chain(alias)
        .chain(tail)
        .collect()
}

fn matched<'a>(
    template: &'static str,
    segments: &'a [String],
) -> Option<Vec<(&'static str, &'a str)>> {
    let pattern = template.strip_prefix('/')?;
    if pattern.split('/').count() != segments.len() {
        return None;
    }
    let mut labels = Vec::new();
    for (part, segment) in pattern.split('/').zip(segments) {
        match part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'))
        {
            Some(name) if !segment.is_empty() => labels.push((name, segment.as_str())),
            None if part == segment => {}
            _ => return None,
        }
    }
    Some(labels)
}

/// Percent-decodes; `None` for a broken escape or bytes that are no UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(method: &str, path: &str) -> (Operation, Vec<String>) {
        let route = route(method, path).unwrap_or_else(|e| panic!("{method} {path}: {e:?}"));
        (
            route.operation,
            route.labels.into_iter().map(|(_, value)| value).collect(),
        )
    }

    #[test]
    fn every_operation_is_found_at_its_own_path() {
        for operation in Operation::ALL {
            let path = operation.template().replace(['{', '}'], "");
            assert_eq!(found(operation.method(), &path).0, *operation, "{path}");
        }
    }

    #[test]
    fn fixed_words_win_over_labels() {
        assert_eq!(
            found("POST", "/packages/template-job").0,
            Operation::CreateNodeFromTemplateJob
        );
        assert_eq!(
            found("DELETE", "/packages/template-job").0,
            Operation::DeletePackage
        );
    }

    #[test]
    fn an_alias_is_found_encoded_and_decoded() {
        let alias = "packageName/PEOPLE_CODE";
        for path in [
            "/packages/metadata/packageName%2FPEOPLE_CODE",
            "/packages/metadata/packageName%2fPEOPLE_CODE",
            "/packages/metadata/packageName/PEOPLE_CODE",
        ] {
            let expected = (Operation::DescribePackage, vec![alias.to_owned()]);
            assert_eq!(found("GET", path), expected, "{path}");
            let expected = (
                Operation::DescribePackageVersion,
                vec![alias.to_owned(), "1.0".to_owned()],
            );
            assert_eq!(
                found("GET", &format!("{path}/versions/1.0")),
                expected,
                "{path}"
            );
        }
        for path in ["/packages/packageName%2FX", "/packages/packageName/X"] {
            let expected = (Operation::DeletePackage, vec!["packageName/X".to_owned()]);
            assert_eq!(found("DELETE", path), expected, "{path}");
            let (operation, labels) = found("PUT", &format!("{path}/versions/1.0/patch/ab"));
            assert_eq!(operation, Operation::RegisterPackageVersion);
            assert_eq!(labels, ["packageName/X", "1.0", "ab"]);
        }
    }

    #[test]
    fn an_arn_is_found_encoded_and_decoded() {
        let arn = "arn:aws:panorama:us-west-2:123456789012:device/device-x";
        let encoded = arn.replace(':', "%3A").replace('/', "%2F");
        for path in [format!("/tags/{encoded}"), format!("/tags/{arn}")] {
            assert_eq!(
                found("GET", &path),
                (Operation::ListTagsForResource, vec![arn.to_owned()])
            );
        }
    }

    #[test]
    fn what_no_operation_answers_is_said() {
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/device"),
            ("PATCH", "/devices"),
            ("GET", "devices"),
            ("GET", "/devices//"),
            ("GET", "/devices/a/b"),
        ] {
            let error = route(method, path).expect_err(path);
            assert_eq!(
                error.reason,
                ValidationExceptionReason::UnknownOperation,
                "{path}"
            );
        }
        let error = route("GET", "/devices/%zz").expect_err("a broken escape");
        assert_eq!(error.reason, ValidationExceptionReason::CannotParse);
        let error = route("GET", "/devices/%ff").expect_err("no UTF-8");
        assert_eq!(error.reason, ValidationExceptionReason::CannotParse);
    }

    proptest! {
        #[test]
        fn no_path_crashes_the_router(path: String) {
            for method in ["GET", "PUT", "POST", "DELETE"] {
                let _ = route(method, &path);
                let _ = route(method, &format!("/packages/metadata/{path}"));
                let _ = route(method, &format!("/tags/{path}"));
            }
        }
    }
}
