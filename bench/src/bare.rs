//! The limit to compare with: a hyper server that reads the token and answers, and does nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

/// Serves until standard input ends, which it does when the benchmark does.
pub fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime of the bare server")?;
    runtime.spawn(async {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        crate::report::say(&format!("listening on http://{}", listener.local_addr()?));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(
                TokioIo::new(stream),
                service_fn(async |request| answer(&request)),
            ));
        }
        #[expect(unreachable_code, reason = "names the error type of this block")]
        Ok::<(), std::io::Error>(())
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())
        .context("wait for the end of the benchmark")?;
    runtime.shutdown_background();
    Ok(())
}

fn answer(request: &Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let token = request
        .uri()
        .path()
        .strip_prefix("/ping/")
        .and_then(|token| uuid::Uuid::try_parse(token).ok());
    let mut response = Response::new(Empty::new());
    if token.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}
