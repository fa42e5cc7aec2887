use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::super::test_server::{OK, Server, Then};
use super::*;

fn client(allow: &str) -> Outbound {
    client_with(allow, RootCertStore::empty(), Limits::default())
}

fn client_with(allow: &str, roots: RootCertStore, limits: Limits) -> Outbound {
    Outbound::with(allow.parse().unwrap(), roots, limits).unwrap()
}

fn post(url: &str) -> HttpRequest {
    HttpRequest {
        method: Method::POST,
        url: Url::parse(url).unwrap(),
        headers: vec![("X-Test".into(), "hidden-value".into())],
        body: b"hidden-body".to_vec(),
    }
}

async fn class_of(client: &Outbound, url: &str) -> ErrorClass {
    let error = client.send(post(url), || true).await.unwrap_err();
    assert!(!error.message.contains("hidden"), "{}", error.message);
    assert!(error.message.starts_with("POST http"), "{}", error.message);
    error.class
}

#[tokio::test]
async fn a_request_arrives_as_it_was_given_and_its_answer_comes_back() {
    let server = Server::start(Then::Answer(
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 9\r\n\r\nslow\tdown",
    ))
    .await;
    let response = client("127.0.0.1")
        .send(post(&server.url("/in?key=a%20b")), || true)
        .await
        .unwrap();
    assert_eq!(
        (response.status, response.retry_after.as_deref()),
        (429, Some("7"))
    );
    assert_eq!(response.excerpt, "slow down");
    let requests = server.requests();
    assert!(
        requests[0].starts_with("POST /in?key=a%20b HTTP/1.1\r\n"),
        "{requests:?}"
    );
    assert!(requests[0].ends_with("\r\n\r\nhidden-body"), "{requests:?}");
    for header in [
        format!("host: 127.0.0.1:{}\r\n", server.port),
        "x-test: hidden-value\r\n".to_owned(),
        "content-length: 11\r\n".to_owned(),
        "user-agent: Systole/".to_owned(),
    ] {
        assert!(requests[0].contains(&header), "{header}: {requests:?}");
    }
}

#[tokio::test]
async fn a_get_has_no_body() {
    let server = Server::start(Then::Answer(OK)).await;
    let response = client("127.0.0.1").get(&server.url("/beat")).await.unwrap();
    assert_eq!((response.status, response.excerpt.as_str()), (200, "ok"));
    assert!(server.requests()[0].starts_with("GET /beat HTTP/1.1\r\n"));
    let error = client("127.0.0.1").get("hidden").await.unwrap_err();
    assert_eq!(error.class, ErrorClass::InvalidConfig);
    assert!(!error.message.contains("hidden"));
}

#[tokio::test]
async fn loopback_is_refused_however_it_is_written_unless_a_list_names_it() {
    let server = Server::start(Then::Answer(OK)).await;
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "017700000001",
        "127.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
    ] {
        for allow in ["", "10.0.0.0/8", "0.0.0.0/0,::/0"] {
            let url = format!("http://{host}:{}/hidden", server.port);
            let class = class_of(&client(allow), &url).await;
            assert_eq!(class, ErrorClass::BlockedByPolicy, "{host} by {allow:?}");
        }
    }
    assert_eq!(server.connections(), 0);
    let by_name = format!("http://localhost:{}/", server.port);
    let response = client("127.0.0.0/8")
        .send(post(&by_name), || true)
        .await
        .unwrap();
    assert_eq!((response.status, server.connections()), (200, 1));
}

#[tokio::test]
async fn metadata_services_are_refused_whatever_the_list_and_nobody_is_asked() {
    let client = client("0.0.0.0/0,::/0,127.0.0.0/8,169.254.0.0/16,fd00::/8");
    for host in [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "100.100.100.200",
    ] {
        let request = post(&format!("http://{host}/latest/hidden"));
        let error = client
            .send(request, || unreachable!("nothing is written"))
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::BlockedByPolicy, "{host}");
        assert!(error.message.contains("metadata"), "{}", error.message);
        let class = ErrorClass::BlockedByPolicy;
        assert_eq!(error.outcome(), Outcome::Reject { class });
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let server = Server::start(Then::Answer(
        "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
    ))
    .await;
    let response = client("127.0.0.1")
        .send(post(&server.url("/in")), || true)
        .await
        .unwrap();
    assert_eq!((response.status, server.requests().len()), (302, 1));
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let server = Server::start(Then::Silence).await;
    let limits = Limits {
        whole: Span::from_millis(50),
        ..Limits::default()
    };
    let client = client_with("127.0.0.1", RootCertStore::empty(), limits);
    assert_eq!(
        class_of(&client, &server.url("/hidden")).await,
        ErrorClass::Timeout
    );
}

#[tokio::test]
async fn a_port_without_a_server_is_a_connect_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hidden", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(
        class_of(&client("127.0.0.1"), &url).await,
        ErrorClass::Connect
    );
}

#[tokio::test]
async fn nothing_is_written_when_the_claim_has_grown_too_old() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hidden", listener.local_addr().unwrap());
    let (sender, received) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let _ = sender.send(bytes);
    });
    let client = client("127.0.0.1");
    let error = client.send(post(&url), || false).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::ClaimTooOld);
    drop(client);
    assert_eq!(received.await.unwrap(), b"");
}

#[tokio::test]
async fn a_connection_is_used_again_and_judged_again() {
    let server = Server::start(Then::Answer(OK)).await;
    let client = client("127.0.0.1");
    for _ in 0..3 {
        client
            .send(post(&server.url("/in")), || true)
            .await
            .unwrap();
    }
    assert_eq!(
        (
            server.requests().len(),
            server.connections(),
            client.pool.len()
        ),
        (3, 1, 1)
    );
    let target = Target::of(&Url::parse(&server.url("/")).unwrap()).unwrap();
    let now = Instant::now();
    assert!(
        client.pool.take(&target, &Lists::default(), now).is_none(),
        "no list names it now"
    );
    assert_eq!(client.pool.len(), 0);
}

#[tokio::test]
async fn a_kept_connection_grows_too_old() {
    let server = Server::start(Then::Answer(OK)).await;
    let client = client("127.0.0.1");
    client
        .send(post(&server.url("/in")), || true)
        .await
        .unwrap();
    let target = Target::of(&Url::parse(&server.url("/")).unwrap()).unwrap();
    let later = Instant::now() + std::time::Duration::from_secs(61);
    assert!(client.pool.take(&target, &client.lists, later).is_none());
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_by_a_fresh_one() {
    for then in [Then::AnswerAndClose(OK), Then::AnswerOnce(OK)] {
        let server = Server::start(then).await;
        let client = client("127.0.0.1");
        for _ in 0..3 {
            let asked = AtomicUsize::new(0);
            let before_write = || asked.fetch_add(1, Ordering::SeqCst) < 2;
            let response = client
                .send(post(&server.url("/in")), before_write)
                .await
                .unwrap();
            assert_eq!(response.status, 200);
        }
        assert_eq!(server.connections(), 3);
    }
}

#[tokio::test]
async fn the_replacement_asks_once_more_before_it_writes() {
    let server = Server::start(Then::AnswerOnce(OK)).await;
    let client = client("127.0.0.1");
    client
        .send(post(&server.url("/in")), || true)
        .await
        .unwrap();
    let mut asked = 0;
    let before_write = || {
        asked += 1;
        asked == 1
    };
    let error = client
        .send(post(&server.url("/in")), before_write)
        .await
        .unwrap_err();
    assert_eq!((error.class, asked), (ErrorClass::ClaimTooOld, 2));
}

#[tokio::test]
async fn a_fresh_connection_that_closes_is_not_tried_again() {
    let server = Server::start(Then::Close).await;
    assert_eq!(
        class_of(&client("127.0.0.1"), &server.url("/hidden")).await,
        ErrorClass::Connect
    );
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_endless_body_is_cut_and_its_connection_dropped() {
    let server = Server::start(Then::Endless).await;
    let client = client("127.0.0.1");
    let response = client
        .send(post(&server.url("/in")), || true)
        .await
        .unwrap();
    assert_eq!(
        (response.status, response.excerpt.len()),
        (202, EXCERPT_MOST)
    );
    assert_eq!(client.pool.len(), 0);
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    let long: &str = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(100_000)).leak();
    for text in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 abc hidden\r\n\r\n",
        long,
    ] {
        let server = Server::start(Then::AnswerAndClose(text)).await;
        let class = class_of(&client("127.0.0.1"), &server.url("/hidden")).await;
        assert_eq!(class, ErrorClass::InvalidResponse, "{}", &text[..20]);
    }
}

/// A server that speaks TLS for `localhost`, and the trust that fits it.
async fn tls_server() -> (Server, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let accept = move |stream| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(stream).await.ok() }
    };
    (Server::start_with(Then::Answer(OK), accept).await, roots)
}

#[tokio::test]
async fn https_needs_a_trusted_certificate_for_the_host() {
    let (server, roots) = tls_server().await;
    let trusting = client_with("127.0.0.0/8", roots, Limits::default());
    let by_name = format!("https://localhost:{}/hidden", server.port);
    for _ in 0..2 {
        assert_eq!(
            trusting.send(post(&by_name), || true).await.unwrap().status,
            200
        );
    }
    assert_eq!(server.connections(), 1);

    let by_address = format!("https://127.0.0.1:{}/hidden", server.port);
    assert_eq!(
        class_of(&trusting, &by_address).await,
        ErrorClass::Tls,
        "another host"
    );
    let error = client("127.0.0.0/8")
        .send(post(&by_name), || true)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls, "an unknown authority");
    assert!(error.message.contains("SSL_CERT_FILE"), "{}", error.message);
    let plain = Server::start(Then::AnswerAndClose(OK)).await;
    let no_tls = format!("https://127.0.0.1:{}/hidden", plain.port);
    let limits = Limits {
        connect: Span::from_millis(200),
        ..Limits::default()
    };
    let class = class_of(
        &client_with("127.0.0.1", RootCertStore::empty(), limits),
        &no_tls,
    )
    .await;
    assert!(
        matches!(class, ErrorClass::Tls | ErrorClass::Timeout),
        "no TLS spoken: {class}"
    );
    assert_eq!(
        server.requests().len(),
        2,
        "only the trusted requests were written"
    );
}

#[test]
fn an_excerpt_is_short_clean_text() {
    for (bytes, expected) in [
        (&b"ok"[..], "ok"),
        (b"a\0b\x1b[1m\r\nc", "a b [1m \nc"),
        (b"\xff\xfe", "\u{fffd}\u{fffd}"),
    ] {
        assert_eq!(excerpt(bytes), expected);
    }
    let cut = excerpt("ü".repeat(1_000).as_bytes());
    assert_eq!(cut.len(), EXCERPT_MOST);
    assert!(excerpt(&[0xff; EXCERPT_MOST]).len() <= EXCERPT_MOST);
}

#[test]
fn an_error_leads_to_the_right_outcome() {
    for class in ErrorClass::ALL {
        let rejected = matches!(
            class,
            ErrorClass::BlockedByPolicy | ErrorClass::InvalidConfig
        );
        let expected = if rejected {
            Outcome::Reject { class }
        } else {
            Outcome::Retry {
                class,
                retry_after: None,
            }
        };
        assert_eq!(
            SendError {
                class,
                message: String::new()
            }
            .outcome(),
            expected
        );
    }
}
