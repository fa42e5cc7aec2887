//! Start and stop: the parts in their order.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, RwLock};

use systole_core::time::Span;
use systole_store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{App, EngineHandle};
use crate::clock::Clock;
use crate::config::Config;
use crate::deliverer::{self, Deliverer};
use crate::engine_loop::{self, EngineLoop};
use crate::ingest::{Ingest, RefusedLimit, Writer, process_name};
use crate::keys::{KeyError, Keys, random_text, random_uuid};
use crate::listen::{self, Listening};
use crate::loops::Loops;
use crate::maintenance::Maintenances;
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::outbound::guard::Lists;
use crate::principals::Principals;
use crate::replica::{self, Standing};
use crate::tls::{Tls, TlsError};
use crate::tokens::PingTokens;
use crate::{historian, housekeeping};

/// A set-up code is valid for so long.
const SETUP_VALID: Span = Span::from_seconds(3_600);

/// Why the server does not start, or had to stop. One line each.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The database.
    #[error(transparent)]
    Store(#[from] systole_store::Error),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The socket.
    #[error("cannot listen on {address}: {source}; {advice}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// A file in the data directory.
    #[error("cannot write {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A setting.
    #[error("{0}")]
    Setting(String),
    /// A loop ended.
    #[error("{0}")]
    Loop(String),
}

/// A server that is running.
pub struct Server {
    app: Arc<App>,
    loops: JoinSet<(&'static str, Result<(), &'static str>)>,
    listeners: JoinSet<Result<(), &'static str>>,
    stop_listening: CancellationToken,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where metrics are served without a token.
    pub metrics_address: Option<SocketAddr>,
    /// Where the administrator is made, as long as there is none: a URL with a code that is valid for an hour.
    pub setup_url: Option<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Starts a server: database, key, states, loops, sockets. It accepts when this returns.
///
/// # Errors
/// [`ServeError`], each in one clear line.
pub async fn start(
    config: Config,
    handed_over: Option<std::net::TcpListener>,
) -> Result<Server, ServeError> {
    check(&config)?;
    let clock = Clock::start();
    let store = match &config.database_url {
        Some(url) => {
            private_directory(&config.data_dir)?;
            Store::connect(url).await?
        }
        None => Store::open(&config.data_dir).await?,
    };
    if store.is_shared() {
        let asked = clock.ask();
        let database = store.database_now().await?;
        clock.answered(asked, database);
    }
    let keys = load_keys(&config, &store, &clock).await?;
    let tls = config.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
    let listener = bind(config.listen, handed_over).await?;
    let address = listener
        .local_addr()
        .map_err(|source| listen_error(config.listen, source))?;
    let base_url = base_url(&config, address);
    let outbound = Outbound::new(Lists {
        allow: config.outbound_allow.clone(),
    })
    .map_err(|error| ServeError::Setting(format!("cannot set TLS up: {error}")))?;
    let local_token = local_token(&config.data_dir)?;
    let mut fixed = vec![("local token", local_token.as_str())];
    if let Some(token) = &config.admin_token {
        fixed.push(("administrator's token", token));
    }
    let principals = Principals::load(&store, &keys, &fixed).await?;
    let setup_url = setup(&config, &store, &keys, &clock, &base_url).await?;

    let stream = store.open_stream(&process_name(), clock.now()).await?;
    let standing = Standing::default();
    if !store.is_shared() {
        standing.decides(store.take_lease(stream).await?);
        store.release_claims(clock.now()).await?;
        store.end_sessions_of_tokens().await?;
    }
    let maintenance = Maintenances::load(&store).await?;
    // Side by side: each waits for a thread of the database's own.
    let (booted, (known, old)) = tokio::try_join!(
        engine_loop::boot(&store),
        store.tokens_of_monitors(clock.now())
    )?;
    let ping_key = replica::ping_key(&store).await?;
    let (engine, kept) = booted.parts();
    let writer = Writer::new(stream, &engine);
    let (engine, rows) = EngineHandle::new(engine);
    let (deliverer, incoming) = Deliverer::new(outbound);
    let app = Arc::new(App {
        base_url,
        instance: random_uuid()?.to_string(),
        address,
        standing,
        ping_tokens: PingTokens::new(&known, old),
        principals,
        ping_key: RwLock::new(ping_key),
        refused_limit: RefusedLimit::default(),
        accepted_headers: crate::ping::accepted_headers(config.ping_body_limit),
        ingest: Ingest::default(),
        engine,
        maintenance,
        deliverer,
        metrics: Metrics::new(),
        loops: Loops::default(),
        stop: CancellationToken::new(),
        drained: CancellationToken::new(),
        decided: CancellationToken::new(),
        config,
        clock,
        store,
        keys,
    });

    let mut loops = JoinSet::new();
    let engine_loop = EngineLoop::new(rows, kept, stream);
    spawn(&mut loops, "writer", &app, move |app| async move {
        writer.run(&app).await
    });
    spawn(&mut loops, "engine", &app, move |app| async move {
        engine_loop.run(&app).await
    });
    spawn(&mut loops, "deliverer", &app, move |app| async move {
        deliverer::run(&app, incoming).await
    });
    spawn(&mut loops, "housekeeper", &app, |app| async move {
        housekeeping::housekeeper(&app).await
    });
    spawn(&mut loops, "history", &app, move |app| async move {
        historian::history(&app).await
    });
    spawn(&mut loops, "retention", &app, move |app| async move {
        historian::retention(&app).await
    });
    spawn(&mut loops, "self heartbeat", &app, |app| async move {
        housekeeping::self_heartbeat(&app).await
    });

    let stop_listening = CancellationToken::new();
    let mut listeners = JoinSet::new();
    let router = router(&app);
    if let Some(tls) = &tls {
        let (tls, app) = (Arc::clone(tls), Arc::clone(&app));
        tokio::spawn(async move { tls.watch(&app).await });
    }
    let warnings = warnings(&app, tls.is_some(), address);
    let listening = Listening {
        router,
        checkins: true,
        tls,
        stop: stop_listening.clone(),
    };
    listeners.spawn(listen::run(Arc::clone(&app), listener, listening));
    let metrics_address = metrics_listener(&app, &mut listeners, &stop_listening).await?;
    Ok(Server {
        app,
        loops,
        listeners,
        stop_listening,
        address,
        metrics_address,
        setup_url,
        warnings,
    })
}

fn spawn<F, R>(
    loops: &mut JoinSet<(&'static str, Result<(), &'static str>)>,
    name: &'static str,
    app: &Arc<App>,
    run: F,
) where
    F: FnOnce(Arc<App>) -> R + Send + 'static,
    R: Future<Output = Result<(), &'static str>> + Send,
{
    let app = Arc::clone(app);
    loops.spawn(async move { (name, run(app).await) });
}

impl Server {
    /// What its parts share: for tests, and for what runs beside it.
    pub const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Serves until `stop`, then drains: requests under way, the queue, the states; what is being sent.
    ///
    /// # Errors
    /// When a loop ended by itself: the process must go down, loudly.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let ended = tokio::select! {
            () = stop => None,
            ended = self.loops.join_next() => ended,
        };
        let failure = ended.map(|ended| {
            ServeError::Loop(match ended {
                Ok((name, Ok(()))) => format!("the {name} loop has ended by itself"),
                Ok((name, Err(why))) => format!("the {name} loop cannot go on: {why}"),
                Err(error) => format!("a loop has panicked: {error}"),
            })
        });
        self.stop_listening.cancel();
        while self.listeners.join_next().await.is_some() {}
        self.app.stop.cancel();
        while let Some(ended) = self.loops.join_next().await {
            if let Ok((name, Err(why))) = ended {
                tracing::error!(name, why, "a loop ended with an error");
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

fn check(config: &Config) -> Result<(), ServeError> {
    if config
        .admin_token
        .as_ref()
        .is_some_and(|token| token.chars().count() < 24)
    {
        let rule = "SYSTOLE_ADMIN_TOKEN has fewer than 24 characters; make one with: openssl rand -base64 24";
        return Err(ServeError::Setting(rule.to_owned()));
    }
    Ok(())
}

/// The key, checked against the database; a new database is marked with it.
async fn load_keys(config: &Config, store: &Store, clock: &Clock) -> Result<Keys, ServeError> {
    let known = store.key_check().await?;
    let default = config.key.is_none() && config.key_file.is_none();
    if default && config.database_url.is_some() {
        let rule = "--database-url needs a key that every replica is given: --key-file, or SYSTOLE_KEY; make one with: \
                    openssl rand -base64 32";
        return Err(ServeError::Setting(rule.to_owned()));
    }
    if known.is_some() && default && !config.data_dir.join("key").exists() {
        let missing = std::io::Error::new(
            std::io::ErrorKind::NotFound,
            "it is missing, and this database needs it",
        );
        return Err(KeyError::File {
            path: config.data_dir.join("key").display().to_string(),
            source: missing,
        }
        .into());
    }
    let keys = Keys::load(
        config.key.as_ref(),
        config.key_file.as_deref(),
        &config.data_dir,
    )?;
    match known {
        Some((id, check)) => keys.verify(&id, &check)?,
        None => {
            store.install(clock.now(), keys.id(), keys.check()).await?;
            if let Some((id, check)) = store.key_check().await? {
                keys.verify(&id, &check)?;
            }
        }
    }
    Ok(keys)
}

async fn bind(
    address: SocketAddr,
    handed_over: Option<std::net::TcpListener>,
) -> Result<TcpListener, ServeError> {
    let failed = |source| listen_error(address, source);
    match handed_over {
        Some(listener) => {
            listener.set_nonblocking(true).map_err(failed)?;
            TcpListener::from_std(listener).map_err(failed)
        }
        None => TcpListener::bind(address).await.map_err(failed),
    }
}

fn listen_error(address: SocketAddr, source: std::io::Error) -> ServeError {
    let advice = match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another process has it: stop that one, or name another with --listen"
        }
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege: name another with --listen"
        }
        _ => "name another address with --listen",
    };
    ServeError::Listen {
        address,
        source,
        advice,
    }
}

fn base_url(config: &Config, address: SocketAddr) -> String {
    if let Some(url) = &config.base_url {
        return url.trim_end_matches('/').to_owned();
    }
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let host = if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    };
    format!("{scheme}://{host}")
}

/// Where the local token lies; the embedded database makes it by itself.
fn private_directory(path: &Path) -> Result<(), ServeError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| ServeError::File {
            path: path.display().to_string(),
            source,
        })
}

/// The token that client commands on this machine use: made once, readable by this user alone.
fn local_token(data_dir: &Path) -> Result<String, ServeError> {
    let path = data_dir.join("local-token");
    let failed = |source| ServeError::File {
        path: path.display().to_string(),
        source,
    };
    match std::fs::read_to_string(&path) {
        Ok(token) if token.trim().len() >= 24 => return Ok(token.trim().to_owned()),
        Ok(_) => {
            return Err(ServeError::Setting(format!(
                "{} holds no token; delete it, a new one is made",
                path.display()
            )));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let token = random_text("sys_")?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    file.write_all(format!("{token}\n").as_bytes())
        .map_err(failed)?;
    Ok(token)
}

/// A new set-up code at every start, as long as nobody can sign in otherwise.
async fn setup(
    config: &Config,
    store: &Store,
    keys: &Keys,
    clock: &Clock,
    base_url: &str,
) -> Result<Option<String>, ServeError> {
    if config.admin_token.is_some() || store.has_people().await? {
        return Ok(None);
    }
    let code = random_text("")?;
    store
        .set_setup_code(&keys.hash(&code), clock.now() + SETUP_VALID)
        .await?;
    Ok(Some(format!("{base_url}/setup#{code}")))
}

/// What the operator should know at start; said again on the pages where it concerns them.
fn warnings(app: &App, has_tls: bool, address: SocketAddr) -> Vec<String> {
    let mut warnings = Vec::new();
    if !has_tls && !address.ip().is_loopback() {
        warnings.push(format!(
            "plain HTTP on {address}: tokens and check-ins travel readable; give --tls-cert and --tls-key, or listen on \
             loopback behind a proxy"
        ));
    }
    if app.config.base_url.is_none()
        && (address.ip().is_loopback() || address.ip().is_unspecified())
    {
        warnings.push(format!(
            "ping URLs begin with {}, which only this machine can reach; set --base-url to what your jobs can reach",
            app.base_url
        ));
    }
    let lists = Lists {
        allow: app.config.outbound_allow.clone(),
    };
    for net in lists.loopback_entries() {
        warnings.push(format!(
            "channels may reach {net} on this machine, as --outbound-allow says"
        ));
    }
    warnings
}

fn router(app: &Arc<App>) -> axum::Router {
    let health = {
        let (live, ready, metrics) = (Arc::clone(app), Arc::clone(app), Arc::clone(app));
        axum::Router::new()
            .route(
                "/healthz",
                axum::routing::get(move || async move { crate::health::live(&live) }),
            )
            .route(
                "/readyz",
                axum::routing::get(move || async move { crate::health::ready(&ready) }),
            )
            .route(
                "/metrics",
                axum::routing::get(move |headers: http::HeaderMap| async move {
                    crate::auth::metrics(&metrics, &headers).await
                }),
            )
    };
    crate::pages::router(Arc::clone(app))
        .merge(health)
        .nest("/api/v1", crate::api::router(Arc::clone(app)))
}

/// The metrics listener asks for no token, so it serves nothing else.
async fn metrics_listener(
    app: &Arc<App>,
    listeners: &mut JoinSet<Result<(), &'static str>>,
    stop: &CancellationToken,
) -> Result<Option<SocketAddr>, ServeError> {
    let Some(address) = app.config.metrics_listen else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen {
            address,
            source,
            advice: "name another with --metrics-listen, or `off`",
        })?;
    let bound = listener.local_addr().ok();
    let shared = Arc::clone(app);
    let metrics = move || async move { shared.metrics.text(&shared).await };
    let router = axum::Router::new().route("/metrics", axum::routing::get(metrics));
    let listening = Listening {
        router,
        checkins: false,
        tls: None,
        stop: stop.clone(),
    };
    listeners.spawn(listen::run(Arc::clone(app), listener, listening));
    Ok(bound)
}
