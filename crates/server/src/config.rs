//! The settings of the server role, already read and checked.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
pub use systole_store::history::forget::Keep;

/// What `systole serve` was told.
#[derive(Clone)]
pub struct Config {
    /// Where to listen, unless a socket was handed over.
    pub listen: SocketAddr,
    /// Holds the database and, unless named elsewhere, the key.
    pub data_dir: PathBuf,
    /// Where the shared database is; `None` for the embedded one. Holds a password.
    pub database_url: Option<String>,
    /// The key file, where not `<data_dir>/key`.
    pub key_file: Option<PathBuf>,
    /// The key itself.
    pub key: Option<[u8; 32]>,
    /// How people and jobs reach this server; guessed from `listen` where unset.
    pub base_url: Option<String>,
    /// Certificate chain and key, both or none.
    pub tls: Option<TlsFiles>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Private and loopback addresses that channels may reach.
    pub outbound_allow: Vec<IpNet>,
    /// Where metrics are served without a token; `None` closes that.
    pub metrics_listen: Option<SocketAddr>,
    /// Called after full engine passes, at most once a minute.
    pub self_heartbeat_url: Option<String>,
    /// An administrator's API token from the environment.
    pub admin_token: Option<String>,
    /// How much of people's history is kept.
    pub keep: Keep,
    /// How much of a check-in's body is kept, in bytes.
    pub ping_body_limit: usize,
}

/// TLS files; read again when they change.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM, the leaf first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}
