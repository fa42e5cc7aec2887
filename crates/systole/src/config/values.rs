//! Reading the values of settings. Each reader returns a sentence that says what would be right.

use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine as _;
use ipnet::IpNet;

/// Something that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps it.
    pub fn new(secret: T) -> Secret<T> {
        Secret(secret)
    }

    /// The secret itself.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, `:8080` (all addresses).
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("{text:?} is not an address with a port, such as 127.0.0.1:8080");
    if let Some((host @ ("" | "localhost"), port)) = text.rsplit_once(':') {
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let ip = if host.is_empty() {
            Ipv4Addr::UNSPECIFIED
        } else {
            Ipv4Addr::LOCALHOST
        };
        return Ok(SocketAddr::from((ip, port)));
    }
    text.parse().map_err(|_| wrong())
}

/// As [`address`], or `off`.
pub fn address_or_off(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        Ok(None)
    } else {
        address(text).map(Some)
    }
}

/// `http://` or `https://` with a host and no query; a slash at the end is dropped.
pub fn base_url(text: &str) -> Result<String, String> {
    let url = web_url(text)?;
    if url.contains(['?', '#']) {
        return Err("has a query or a fragment; a base URL has neither".to_owned());
    }
    if url.split('/').nth(2).is_some_and(|host| host.contains('@')) {
        return Err("has a user name; a base URL has none, since everybody is shown it".to_owned());
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Any `http://` or `https://` URL with a host. The error does not repeat it: it may be a credential.
pub fn web_url(text: &str) -> Result<String, String> {
    let wrong = || "is not a URL such as https://systole.example.com".to_owned();
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => {
            Ok(text.to_owned())
        }
        _ => Err(wrong()),
    }
}

/// A `postgres://` URL. The error does not repeat it: it may hold a password.
pub fn database_url(text: &str) -> Result<String, String> {
    let is_one = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| text.starts_with(scheme) && text.len() > scheme.len());
    if is_one {
        Ok(text.to_owned())
    } else {
        Err("is not a URL such as postgres://user:password@host:5432/name".to_owned())
    }
}

/// Ranges separated by commas; an address alone is a range of one.
pub fn ranges(text: &str) -> Result<Vec<IpNet>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(range)
        .collect()
}

fn range(text: &str) -> Result<IpNet, String> {
    if let Ok(net) = text.parse::<IpNet>() {
        if net.trunc() != net {
            return Err(format!(
                "{text:?} has bits set outside its mask; did you mean {}?",
                net.trunc()
            ));
        }
        return Ok(net);
    }
    let alone = text.parse::<std::net::IpAddr>();
    alone
        .map(IpNet::from)
        .map_err(|_| format!("{text:?} is not a range such as 10.0.0.0/8"))
}

/// Bytes: `10000`, `10GiB`, `500MB`.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size such as 10000, 500MB or 10GiB");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1_000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "tb" | "t" => 1_000_000_000_000,
        "kib" | "ki" => 1 << 10,
        "mib" | "mi" => 1 << 20,
        "gib" | "gi" => 1 << 30,
        "tib" | "ti" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// A switch, as a variable or a key gives it.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// 32 bytes in base64. The text is never repeated.
pub fn key(text: &str) -> Result<Secret<[u8; 32]>, String> {
    let engine = base64::engine::general_purpose::STANDARD;
    let bytes = engine
        .decode(text.trim())
        .map_err(|_| "is not base64; make one by: openssl rand -base64 32".to_owned())?;
    let length = bytes.len();
    let key = bytes
        .try_into()
        .map_err(|_| format!("holds {length} bytes; a key has 32: openssl rand -base64 32"))?;
    Ok(Secret::new(key))
}

/// An administrator's token. The text is never repeated.
pub fn admin_token(text: &str) -> Result<Secret<String>, String> {
    let length = text.chars().count();
    if length < 24 {
        return Err(format!(
            "has {length} characters; it needs 24 or more: openssl rand -hex 24"
        ));
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err("has spaces or characters that a header cannot carry".to_owned());
    }
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, expected) in [
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("localhost:80", Some("127.0.0.1:80")),
            (":8080", Some("0.0.0.0:8080")),
            ("[::]:8080", Some("[::]:8080")),
            ("8080", None),
            ("example.com:80", None),
            ("127.0.0.1:99999", None),
        ] {
            assert_eq!(
                address(text)
                    .ok()
                    .map(|address| address.to_string())
                    .as_deref(),
                expected,
                "{text}"
            );
        }
        assert_eq!(address_or_off("off"), Ok(None));
    }

    #[test]
    fn ranges_and_sizes_are_read_or_refused_with_the_reason() {
        let read = ranges("10.0.0.0/8, ::1 ,192.168.1.1").unwrap();
        assert_eq!(
            read.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "::1/128", "192.168.1.1/32"]
        );
        assert!(
            ranges("10.0.0.1/8")
                .unwrap_err()
                .contains("did you mean 10.0.0.0/8?")
        );
        assert!(ranges("10.0.0.0/33").is_err());
        for (text, bytes) in [
            ("10000", Some(10_000)),
            ("10GiB", Some(10 << 30)),
            ("500 MB", Some(500_000_000)),
            ("1x", None),
            ("", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn urls_must_name_a_host() {
        for (text, expected) in [
            ("https://example.com/", Some("https://example.com")),
            (
                "http://localhost:8080/systole/",
                Some("http://localhost:8080/systole"),
            ),
            ("example.com", None),
            ("ftp://example.com", None),
            ("https://example.com/?a=b", None),
            ("https://", None),
        ] {
            assert_eq!(base_url(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_wrong_secret_is_not_repeated() {
        for error in [
            key("c2VjcmV0").unwrap_err(),
            key("not base64 secret").unwrap_err(),
            admin_token("secret").unwrap_err(),
        ] {
            assert!(
                !error.contains("secret") && !error.contains("c2Vj"),
                "{error}"
            );
        }
        assert!(key(&base64::engine::general_purpose::STANDARD.encode([7; 32])).is_ok());
        assert_eq!(
            format!("{:?}", admin_token(&"x".repeat(24)).unwrap()),
            "(secret)"
        );
    }
}
