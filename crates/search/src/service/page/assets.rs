//! What the page loads, all of it compiled in. Names hold a hash of the content, so browsers may keep it for good.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

/// A file of the page.
pub(super) struct Asset {
    path: LazyLock<String>,
    media: &'static str,
    content: &'static str,
}

pub(super) static STYLE: Asset = Asset {
    path: LazyLock::new(|| named(include_str!("style.css"), "css")),
    media: "text/css; charset=utf-8",
    content: include_str!("style.css"),
};

pub(super) static SCRIPT: Asset = Asset {
    path: LazyLock::new(|| named(include_str!("live.js"), "js")),
    media: "text/javascript; charset=utf-8",
    content: include_str!("live.js"),
};

pub(super) const BERRY: &str = include_str!("berry.svg");

fn named(content: &str, extension: &str) -> String {
    let hash = Sha256::digest(content);
    let hash: String = hash
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("/assets/{hash}.{extension}")
}

impl Asset {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn answer(&self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.media),
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        ];
        (headers, self.content).into_response()
    }
}
