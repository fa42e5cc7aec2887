//! `systole serve`: settings in, server out.

use std::net::TcpListener;

use crate::config::{self, ServeConfig, ServeFlags, Sources};
use crate::failure::Failure;
use crate::telemetry;

/// Reads the settings, starts the telemetry, takes the sockets that systemd handed over, and serves until told to stop.
///
/// # Errors
/// Wrong settings (all of them, one a line), or why the server stopped.
pub fn command(flags: &ServeFlags) -> Result<(), Failure> {
    let sources = Sources::gather(flags.clone()).map_err(Failure::Usage)?;
    let (config, warnings) =
        config::resolve(&sources).map_err(|errors| Failure::Usage(errors.join("\nsystole: ")))?;
    telemetry::start(config.log_format, &config.log).map_err(Failure::Usage)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let listener = listenfd::ListenFd::from_env().take_tcp_listener(0)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(config, listener))
}

/// The seam to the server: turns the settings into what it takes, and runs it.
#[expect(
    clippy::unused_async,
    reason = "the server that is awaited here is not linked yet"
)]
async fn run(config: ServeConfig, listener: Option<TcpListener>) -> Result<(), Failure> {
    tracing::debug!(?config, handed_over = listener.is_some(), "settings");
    Err(Failure::failed("server not linked"))
}
