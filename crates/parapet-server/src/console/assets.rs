//! The files of `console/`, part of the executable.

use http::{Response, header};

use crate::front::{ResponseBody, full, set};

/// One file.
pub(super) struct Asset {
    kind: &'static str,
    bytes: &'static [u8],
}

/// The file under this path.
pub(super) fn find(path: &str) -> Option<Asset> {
    let (kind, bytes): (_, &[u8]) = match path.strip_prefix("/console/")? {
        "" => (
            "text/html; charset=utf-8",
            include_bytes!("../../../../console/index.html"),
        ),
        "app.js" => (
            "text/javascript; charset=utf-8",
            include_bytes!("../../../../console/app.js"),
        ),
        "style.css" => (
            "text/css; charset=utf-8",
            include_bytes!("../../../../console/style.css"),
        ),
        "icon.svg" => (
            "image/svg+xml",
            include_bytes!("../../../../console/icon.svg"),
        ),
        _ => return None,
    };
    Some(Asset { kind, bytes })
}

impl Asset {
    pub(super) fn answer(&self) -> Response<ResponseBody> {
        let mut answer = Response::new(full(self.bytes));
        set(&mut answer, header::CONTENT_TYPE, self.kind);
        set(&mut answer, header::CACHE_CONTROL, "no-cache");
        answer
    }
}
