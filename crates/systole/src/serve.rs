//! `systole serve`: settings in, server out.

use std::io::Write as _;
use std::net::TcpListener;

use systole_core::time::Span;
use systole_server::config::{Keep, TlsFiles};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{self, ServeConfig, ServeFlags, Sources};
use crate::failure::Failure;
use crate::out::quoted;
use crate::telemetry;

/// Room for a few thousand connections.
const OPEN_FILES_WANTED: u64 = 4_096;

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
    raise_open_files();
    let listener = listenfd::ListenFd::from_env().take_tcp_listener(0)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(config, listener))
}

/// As many open files as we may have: each connection is one, and the usual limit of 1 024 is a limit of connections.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most).map(|()| most));
    match raised {
        Ok(most) if most < OPEN_FILES_WANTED => tracing::warn!(
            most,
            "at most {OPEN_FILES_WANTED} open files are useful; raise the limit (LimitNOFILE= of systemd, ulimit -n)"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}

/// Starts the server, says how to reach it, and runs it until a signal: the first drains, the second ends at once.
async fn run(config: ServeConfig, listener: Option<TcpListener>) -> Result<(), Failure> {
    let server = systole_server::serve::start(server_config(&config), listener)
        .await
        .map_err(Failure::failed)?;
    greet(&config, &server)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let first = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!(
            "stopping: requests under way and the queue are finished; a second signal ends at once"
        );
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("a second signal: ending at once");
            std::process::exit(1);
        });
    };
    server.run(first).await.map_err(Failure::failed)?;
    tracing::info!("stopped");
    Ok(())
}

fn server_config(config: &ServeConfig) -> systole_server::Config {
    systole_server::Config {
        listen: config.listen,
        data_dir: config.data_dir.clone(),
        database_url: config.database_url.as_ref().map(|url| url.reveal().clone()),
        key_file: config.key_file.clone(),
        key: config.key.as_ref().map(|key| *key.reveal()),
        base_url: config.base_url.clone(),
        tls: config
            .tls
            .clone()
            .map(|(certificate, key)| TlsFiles { certificate, key }),
        trusted_proxies: config.trusted_proxy.clone(),
        outbound_allow: config.outbound_allow.clone(),
        metrics_listen: config.metrics_listen,
        self_heartbeat_url: config
            .self_heartbeat_url
            .as_ref()
            .map(|url| url.reveal().clone()),
        admin_token: config
            .admin_token
            .as_ref()
            .map(|token| token.reveal().clone()),
        keep: Keep {
            age: days(config.retention_days),
            checkins: i64::from(config.retention_checkins),
            bytes: config.retention_bytes,
            hours: days(config.retention_hourly_days),
            days: days(config.retention_daily_days),
        },
        ping_body_limit: usize::try_from(config.ping_body_limit).unwrap_or(usize::MAX),
    }
}

fn days(days: u32) -> Span {
    Span::from_seconds(i64::from(days) * 86_400)
}

/// What a person at the terminal needs first. On stderr alone: it holds the set-up code.
fn greet(config: &ServeConfig, server: &systole_server::serve::Server) -> Result<(), Failure> {
    let base_url = &server.app().base_url;
    let mut text = format!("listening on {}://{}\n", scheme(config), server.address);
    if let Some(metrics) = server.metrics_address {
        text += &format!("metrics on http://{metrics}/metrics\n");
    }
    for warning in &server.warnings {
        text += &format!("warning: {warning}\n");
    }
    match &server.setup_url {
        Some(url) => {
            text += &format!("\nto sign in, make the administrator (valid for one hour): {url}\n");
            text += &demonstration(config, base_url)?;
        }
        None if config.admin_token.is_some() => {
            text += &format!("to sign in: {base_url}/sign-in with SYSTOLE_ADMIN_TOKEN\n");
        }
        None => text += &format!("to sign in: {base_url}/sign-in\n"),
    }
    std::io::stderr().lock().write_all(text.as_bytes())?;
    Ok(())
}

const fn scheme(config: &ServeConfig) -> &'static str {
    if config.tls.is_some() {
        "https"
    } else {
        "http"
    }
}

/// Lines that show the whole way, from a heartbeat to its recovery, without an edit, an account or a browser.
fn demonstration(config: &ServeConfig, base_url: &str) -> Result<String, Failure> {
    let program = std::env::current_exe()?;
    let token_file = std::path::absolute(config.data_dir.join("local-token"))?;
    let token = systole_server::keys::random_uuid().map_err(Failure::failed)?;
    let loopback = std::net::IpAddr::from([127, 0, 0, 1]);
    let mut text = String::new();
    if !config
        .outbound_allow
        .iter()
        .any(|net| net.contains(&loopback))
    {
        text += "\nchannels may not reach this machine, which the lines below need: start with --outbound-allow 127.0.0.1/32\n";
    }
    text += &format!(
        r#"
in a second terminal, paste:

systole() {{ {program} "$@"; }}
export SYSTOLE_SERVER={base_url} SYSTOLE_TOKEN_FILE={token_file}
export SYSTOLE_WEBHOOK_SECRET="whsec_$(head -c 32 /dev/urandom | base64)"
systole demo-receiver --listen 127.0.0.1:9000 --count 2 &
systole apply -f - <<END
kind: webhook
name: demo
config: {{url: "http://127.0.0.1:9000/", secret: {{env: SYSTOLE_WEBHOOK_SECRET}}}}
---
kind: heartbeat
name: demo
schedule: {{every: 10s}}
grace: 5s
token: {token}
END
systole ping {token}   # the job reports
sleep 18   # and then it does not: 10 s and 5 s of grace pass, the receiver prints the webhook
systole ping {token}   # it reports again
wait   # for the recovery

"#,
        program = quoted(&program.display().to_string()),
        token_file = quoted(&token_file.display().to_string()),
    );
    Ok(text)
}
