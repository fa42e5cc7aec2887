//! Headers of requests: forwarded addresses, tokens, cookies, origins, preconditions; a line for each.

use std::net::IpAddr;

use ipnet::IpNet;
use systole_server::api::Expected;
use systole_server::{auth, listen};

use super::headers_of;

pub fn run(input: &[u8]) {
    let headers = headers_of(input);
    let trusted: Vec<IpNet> = ["10.0.0.0/8", "2001:db8::/32"]
        .iter()
        .map(|net| net.parse().unwrap())
        .collect();
    let proxy = IpAddr::from([10, 0, 0, 1]);
    let stranger = IpAddr::from([203, 0, 113, 9]);
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();

    assert_eq!(
        listen::source(&[], proxy, &headers),
        proxy,
        "nobody is trusted"
    );
    assert_eq!(
        listen::source(&trusted, stranger, &headers),
        stranger,
        "a stranger is not believed"
    );
    let source = listen::source(&trusted, proxy, &headers);
    assert_eq!(
        source,
        listen::source(&trusted, mapped, &headers),
        "one address in two forms"
    );
    assert_eq!(source, source.to_canonical());
    // Nothing before the first stranger, seen from here, changes anything: that part is whatever the sender wrote.
    let mut spoofed = http::HeaderMap::new();
    spoofed.append("x-forwarded-for", "192.0.2.77, nonsense".parse().unwrap());
    for value in headers.get_all("x-forwarded-for") {
        spoofed.append("x-forwarded-for", value.clone());
    }
    let is_trusted = trusted.iter().any(|net| net.contains(&source));
    if !is_trusted {
        assert_eq!(
            listen::source(&trusted, proxy, &spoofed),
            source,
            "a sender chose its own address"
        );
    }

    if let Some(token) = auth::bearer(&headers) {
        assert!(!token.is_empty() && token == token.trim());
    }
    if let Some(session) = auth::session(&headers) {
        assert!(!session.is_empty() && !session.contains(';'));
    }
    let base = "https://systole.example.com/watch";
    let site = headers.get("sec-fetch-site");
    if auth::is_same_origin(&headers, base) {
        let origin = headers
            .get("origin")
            .and_then(|origin| origin.to_str().ok());
        let host = headers.get("host").and_then(|host| host.to_str().ok());
        let is_ours = origin.is_some_and(|origin| {
            origin == "https://systole.example.com"
                || host.is_some_and(|host| {
                    [format!("http://{host}"), format!("https://{host}")]
                        .contains(&origin.to_owned())
                })
        });
        assert!(
            site.map_or(is_ours, |site| site == "same-origin"),
            "{headers:?} came from elsewhere"
        );
    }
    if let Ok(Expected(Some(rev))) = Expected::of(&headers) {
        assert!(Expected(Some(rev)).check(rev).is_ok());
        assert!(Expected(Some(rev)).check(rev.wrapping_add(1)).is_err());
    }
}
