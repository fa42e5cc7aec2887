//! A server for the client's tests, well behaved or not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What a test's server does with a connection after it has read a request.
#[derive(Clone, Copy)]
pub(super) enum Then {
    /// Answers with these bytes and waits for the next request.
    Answer(&'static str),
    /// Answers with these bytes and closes.
    AnswerAndClose(&'static str),
    /// Answers each connection's first request and closes at its second.
    AnswerOnce(&'static str),
    /// Closes without a word.
    Close,
    /// Says nothing.
    Silence,
    /// Sends a head and then more and more.
    Endless,
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server on a free port of loopback, with what it saw.
pub(super) struct Server {
    pub(super) port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) async fn start(then: Then) -> Server {
        Server::start_with(then, |stream| async { Some(stream) }).await
    }

    pub(super) async fn start_with<S, F>(
        then: Then,
        accept: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
    ) -> Server
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            port: listener.local_addr().unwrap().port(),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, requests) = (
            Arc::clone(&server.connections),
            Arc::clone(&server.requests),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (accepting, requests) = (accept(stream), Arc::clone(&requests));
                tokio::spawn(async move {
                    if let Some(stream) = accepting.await {
                        talk(stream, then, &requests).await;
                    }
                });
            }
        });
        server
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    then: Then,
    requests: &Mutex<Vec<String>>,
) {
    let mut answered = 0;
    while let Some(request) = read_request(&mut stream).await {
        requests.lock().unwrap().push(request);
        match then {
            Then::Close => return,
            Then::Silence => std::future::pending().await,
            Then::AnswerOnce(_) if answered > 0 => return,
            Then::Answer(text) | Then::AnswerOnce(text) | Then::AnswerAndClose(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                if matches!(then, Then::AnswerAndClose(_)) {
                    return;
                }
            }
            Then::Endless => {
                let head = "HTTP/1.1 202 Accepted\r\ncontent-length: 999999999\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
                return;
            }
        }
        answered += 1;
    }
}

/// One request with its body, or nothing where the client closed.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        bytes.push(stream.read_u8().await.ok()?);
        if bytes.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(bytes.clone()).ok()?.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    bytes.extend(body);
    String::from_utf8(bytes).ok()
}
