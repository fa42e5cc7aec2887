//! The static files: compiled in, named by their content, so that a browser may keep them for ever.

use std::sync::LazyLock;

/// What every page is sent with. Nothing inline is allowed, so templates use classes and attributes only.
///
/// `same-origin` and not `no-referrer`: under the latter browsers send `Origin: null` with our own forms, and the check of
/// the origin would refuse them.
pub const SECURITY_HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cache-control", "no-store"),
    ("content-type", "text/html; charset=utf-8"),
];

/// For `cache-control` of a static file.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// One static file.
#[derive(Debug)]
pub struct Asset {
    /// Its name, as templates give it to [`url`].
    pub name: &'static str,
    /// For the `content-type` header.
    pub content_type: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
    /// The beginning of its BLAKE3 hash; also its `etag`.
    pub hash: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        asset(
            "systole.css",
            "text/css; charset=utf-8",
            include_bytes!("../../static/systole.css"),
        ),
        asset(
            "systole.js",
            "text/javascript; charset=utf-8",
            include_bytes!("../../static/systole.js"),
        ),
        asset(
            "mark.svg",
            "image/svg+xml",
            include_bytes!("../../static/mark.svg"),
        ),
    ]
});

fn asset(name: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Asset {
    let hash = blake3::hash(bytes).to_hex().as_str()[..16].to_owned();
    Asset {
        name,
        content_type,
        bytes,
        hash,
    }
}

/// All of them.
pub fn all() -> &'static [Asset] {
    ASSETS.as_slice()
}

/// The file of `GET /static/{hash}/{name}`. Of another hash there is none: a page of another version must not get it.
pub fn find(hash: &str, name: &str) -> Option<&'static Asset> {
    all()
        .iter()
        .find(|asset| asset.name == name && asset.hash == hash)
}

/// Where a file is, for templates. A name that is not in the table gives a path that answers 404; a test looks for those.
pub fn url(name: &str) -> String {
    let hash = all()
        .iter()
        .find(|asset| asset.name == name)
        .map_or("missing", |asset| &asset.hash);
    format!("/static/{hash}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_file_is_found_under_its_own_hash_only() {
        for asset in all() {
            assert_eq!(
                url(asset.name),
                format!("/static/{}/{}", asset.hash, asset.name)
            );
            assert!(find(&asset.hash, asset.name).is_some_and(|found| found.bytes == asset.bytes));
            assert!(find("0000000000000000", asset.name).is_none());
        }
        assert!(find(&all()[0].hash, all()[1].name).is_none());
    }
}
