//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use systole_core::time::Span;

use crate::config::ServeFlags;

const SERVER_HELP: &str = "The server's address [default: http://127.0.0.1:8080]";

/// Systole tells the right person, within seconds, that a scheduled job did not happen.
#[derive(Parser)]
#[command(
    name = "systole",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Run the server: take check-ins, decide, tell people, serve the API and the pages
    Serve(ServeFlags),
    /// Send one check-in
    Ping(PingArgs),
    /// Run a command and report how it went
    Exec(ExecArgs),
    /// Create or update monitors, channels and maintenances from YAML documents
    Apply(ApplyArgs),
    /// Show monitors, incidents, deliveries, channels or tokens
    Get(GetArgs),
    /// Show what a schedule means: the next slots, in words and in times
    Schedule(ScheduleArgs),
    /// Receive webhooks, print them and check their signatures
    DemoReceiver(ReceiverArgs),
    /// Watch a Kubernetes cluster (not built yet)
    Agent(Later),
    /// Run checks from a region (not built yet)
    Probe(Later),
    /// Run one check now (not built yet)
    Check(Later),
    /// Say whether a fault is inside or outside the cluster (not built yet)
    Triage(Later),
    /// Take over monitors from another tool (not built yet)
    Import(Later),
    /// Write monitors, channels and maintenances as documents
    Export(ExportArgs),
    /// Show what an apply would change, field by field
    Diff(DiffArgs),
    /// Look for what is set up wrongly, and send every channel a test message
    Doctor(DoctorArgs),
    /// Look after the database: status, backup, restore, check, and the copy into a PostgreSQL
    Db(DbArgs),
    /// Print reference pages, made from the tables that the program itself uses
    #[command(hide = true)]
    Reference {
        /// Which page.
        page: ReferencePage,
    },
}

/// The pages of `systole reference`.
#[derive(Clone, Copy, ValueEnum)]
pub enum ReferencePage {
    /// The settings of `systole serve`.
    Configuration,
}

/// Whatever is given to a command that does not exist yet.
#[derive(Args)]
pub struct Later {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _given: Vec<OsString>,
}

/// How to reach the server.
#[derive(Args, Clone, Default)]
pub struct Connection {
    #[arg(long, value_name = "URL", env = "SYSTOLE_SERVER", help = SERVER_HELP)]
    pub server: Option<String>,
    /// The API token; a file is safer, since arguments can be seen by others
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SYSTOLE_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,
    /// The file that holds the API token
    #[arg(long, value_name = "FILE", env = "SYSTOLE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The server's data directory, for its local token when no other is given [default: ./systole-data]
    #[arg(long, value_name = "DIR", env = "SYSTOLE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

/// `systole ping`.
#[derive(Args)]
pub struct PingArgs {
    /// The heartbeat's token, its ping key and slug (KEY/SLUG), or its whole URL
    #[arg(value_name = "TOKEN|URL", env = "SYSTOLE_PING", hide_env_values = true)]
    pub target: String,
    /// A run begins
    #[arg(long, group = "what")]
    pub start: bool,
    /// It failed
    #[arg(long, group = "what")]
    pub fail: bool,
    /// It ended with this exit status
    #[arg(long, group = "what", value_name = "N")]
    pub exit: Option<u8>,
    /// A message to keep with the check-in
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    #[arg(long, value_name = "URL", env = "SYSTOLE_SERVER", help = SERVER_HELP)]
    pub server: Option<String>,
}

/// `systole exec`.
#[derive(Args)]
pub struct ExecArgs {
    /// The heartbeat's token, its ping key and slug (KEY/SLUG), or its whole URL; others can see arguments, so the
    /// variable is safer
    #[arg(
        long = "ping",
        value_name = "TOKEN|URL",
        env = "SYSTOLE_PING",
        hide_env_values = true
    )]
    pub target: String,
    #[arg(long, value_name = "URL", env = "SYSTOLE_SERVER", help = SERVER_HELP)]
    pub server: Option<String>,
    /// End the command, and all that it started, when it runs longer: TERM first, KILL later
    #[arg(long, value_name = "D", value_parser = some_time)]
    pub timeout: Option<Span>,
    /// From TERM to KILL when the time is over
    #[arg(long, value_name = "D", default_value = "10s", value_parser = Span::parse)]
    pub kill_after: Span,
    /// How long after the command's end its result is tried to be reported
    #[arg(long, value_name = "D", default_value = "60s", value_parser = some_time)]
    pub report_timeout: Span,
    /// Report no output; the command then writes straight to where systole would
    #[arg(long)]
    pub no_output: bool,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// A duration that is longer than none.
fn some_time(text: &str) -> Result<Span, String> {
    match Span::parse(text)? {
        Span::ZERO => Err("it must be longer than 0".to_owned()),
        span => Ok(span),
    }
}

/// `systole apply`.
#[derive(Args)]
pub struct ApplyArgs {
    /// A file, a directory of *.yaml and *.yml files, or - for stdin; can be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR|-", required = true)]
    pub files: Vec<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Delete what the set made and the documents no longer name; the list is printed first
    #[arg(long)]
    pub prune: bool,
    /// The set that owns what the documents make
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub set: String,
    /// Make what others made, and the documents name, the set's own
    #[arg(long)]
    pub take: bool,
    /// With --prune: do not ask before deleting
    #[arg(long, requires = "prune")]
    pub yes: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// `systole diff`.
#[derive(Args)]
pub struct DiffArgs {
    /// A file, a directory of *.yaml and *.yml files, or - for stdin; can be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR|-", required = true)]
    pub files: Vec<PathBuf>,
    /// The set that owns what the documents make
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub set: String,
    /// Show what `apply --prune` would delete too
    #[arg(long)]
    pub prune: bool,
    /// Compare as `apply --take` would
    #[arg(long)]
    pub take: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// `systole export`.
#[derive(Args)]
pub struct ExportArgs {
    /// How to write it
    #[arg(short, long, default_value = "yaml")]
    pub output: ExportFormat,
    /// Only what this set owns [default: everything]
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// Write the variables with the heartbeats' tokens to this new file, readable by you alone
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    #[command(flatten)]
    pub connection: Connection,
}

/// How `systole export` writes documents.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ExportFormat {
    /// For files that people read.
    Yaml,
    /// For programs; `apply` reads it too.
    Json,
}

/// `systole doctor`.
#[derive(Args)]
pub struct DoctorArgs {
    /// Send the test messages without asking
    #[arg(long, conflicts_with = "no_send")]
    pub send: bool,
    /// Send no test messages
    #[arg(long)]
    pub no_send: bool,
    /// How to show it
    #[arg(short, long, default_value = "text")]
    pub output: TextOrJson,
    /// The key file, for a server on this machine that is down [default: key in the data directory]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<String>,
    #[arg(
        long,
        value_name = "URL",
        help = "The PostgreSQL of a server that is down [env: SYSTOLE_DATABASE_URL]"
    )]
    pub database_url: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

/// How `systole doctor` and `systole db status` show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TextOrJson {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `systole db`.
#[derive(Args)]
pub struct DbArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DbCommand,
}

/// What `systole db` does.
#[derive(Subcommand)]
pub enum DbCommand {
    /// Copy the database to a new file, while the server runs, and check the copy
    Backup(BackupArgs),
    /// Put a backup in the place of the database; the server must be stopped
    Restore(RestoreArgs),
    /// Check the database, or a backup: soundness, version, key
    Check(CheckArgs),
    /// Show which database it is, what it holds, which servers use it and who decides; it is only read
    Status(StatusArgs),
    /// Copy the embedded database into an empty PostgreSQL; the server must be stopped
    Copy(CopyArgs),
}

/// Which installation's files, as `systole serve` finds them.
#[derive(Args)]
pub struct PlaceArgs {
    #[arg(
        long,
        value_name = "DIR",
        help = "The server's data directory [env: SYSTOLE_DATA_DIR] [default: ./systole-data]"
    )]
    pub data_dir: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        help = "The key file [env: SYSTOLE_KEY_FILE] [default: key in the data directory]"
    )]
    pub key_file: Option<String>,
    #[arg(
        long,
        value_name = "URL",
        help = "The PostgreSQL that the server uses instead of its data directory [env: SYSTOLE_DATABASE_URL]"
    )]
    pub database_url: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        help = "The server's configuration file [env: SYSTOLE_CONFIG] [default: ./systole.toml where it exists]"
    )]
    pub config: Option<PathBuf>,
}

/// `systole db backup`.
#[derive(Args)]
pub struct BackupArgs {
    /// The file to write, which must not be there yet
    pub file: PathBuf,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `systole db restore`.
#[derive(Args)]
pub struct RestoreArgs {
    /// The backup
    pub file: PathBuf,
    /// Replace the database that is there; it is kept in a directory beside the new one
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `systole db check`.
#[derive(Args)]
pub struct CheckArgs {
    /// A backup [default: the database of the data directory]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `systole db status`.
#[derive(Args)]
pub struct StatusArgs {
    /// How to show it
    #[arg(short, long, default_value = "text")]
    pub output: TextOrJson,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `systole db copy`.
#[derive(Args)]
pub struct CopyArgs {
    #[arg(
        long = "to",
        value_name = "URL",
        help = "The PostgreSQL, which must hold nothing; the variable keeps a password out of sight [env: SYSTOLE_DATABASE_URL]"
    )]
    pub to: Option<String>,
    #[arg(
        long,
        value_name = "DIR",
        help = "The server's data directory [env: SYSTOLE_DATA_DIR] [default: ./systole-data]"
    )]
    pub data_dir: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        help = "The key file [env: SYSTOLE_KEY_FILE] [default: key in the data directory]"
    )]
    pub key_file: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        help = "The server's configuration file [env: SYSTOLE_CONFIG] [default: ./systole.toml where it exists]"
    )]
    pub config: Option<PathBuf>,
}

/// `systole get`.
#[derive(Args)]
pub struct GetArgs {
    /// What to show
    pub what: Listed,
    /// Only the one of this name, number or id
    pub name: Option<String>,
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: Format,
    /// Only those in this state, for example down, open or dead
    #[arg(long)]
    pub state: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

/// What `systole get` lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Listed {
    /// Everything watched.
    #[value(alias = "monitor")]
    Monitors,
    /// What was or is wrong.
    #[value(alias = "incident")]
    Incidents,
    /// Messages and what became of them.
    #[value(alias = "delivery")]
    Deliveries,
    /// Where messages go.
    #[value(alias = "channel")]
    Channels,
    /// Windows in which something is worked on.
    #[value(alias = "maintenance")]
    Maintenances,
    /// Who may use the API.
    #[value(alias = "token")]
    Tokens,
}

/// How `systole get` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For files.
    Yaml,
}

/// `systole schedule`.
#[derive(Args)]
pub struct ScheduleArgs {
    /// A period such as 6h or 'every 90s', or the five fields of cron
    #[arg(value_name = "EXPR")]
    pub expression: String,
    /// Whose cron reads the expression
    #[arg(long, value_name = "classic|kubernetes", default_value = "classic")]
    pub dialect: String,
    /// An IANA time zone, for example Europe/Oslo
    #[arg(long, default_value = "UTC")]
    pub timezone: String,
    /// Slots after this time, in RFC 3339 [default: now]
    #[arg(long, value_name = "T")]
    pub after: Option<String>,
    /// How many slots
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
}

/// `systole demo-receiver`.
#[derive(Args)]
pub struct ReceiverArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub listen: std::net::SocketAddr,
    /// The channel's secret (whsec_…), to check signatures with
    #[arg(
        long,
        value_name = "SECRET",
        env = "SYSTOLE_WEBHOOK_SECRET",
        hide_env_values = true
    )]
    pub secret: Option<String>,
    /// The file that holds the secret
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    pub secret_file: Option<PathBuf>,
    /// Stop after the first webhook
    #[arg(long, conflicts_with = "count")]
    pub once: bool,
    /// Stop after this many webhooks
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn command_lines_are_accepted_or_refused() {
        for (line, accepted) in [
            (
                "serve --listen 127.0.0.1:0 --data-dir /tmp/x --kubernetes",
                true,
            ),
            ("serve --listn 127.0.0.1:0", false),
            ("ping abc", true),
            ("ping abc --exit 3 --message done", true),
            ("ping abc --exit 256", false),
            ("ping abc --start --fail", false),
            ("apply -f a.yaml -f b --dry-run", true),
            ("apply --prune", false),
            ("apply -f a --prune --yes --set team-a --take", true),
            ("apply -f a --yes", false),
            ("diff -f a --prune", true),
            ("db backup x.db --data-dir d", true),
            ("db restore x.db --force", true),
            ("db check", true),
            ("db status -o json --database-url postgres://h/d", true),
            ("db status -o yaml", false),
            (
                "db copy --to postgres://h/d --data-dir d --key-file k",
                true,
            ),
            ("db copy postgres://h/d", false),
            ("db", false),
            ("doctor --no-send -o json", true),
            ("doctor --send --no-send", false),
            ("diff", false),
            ("export -o json --set a", true),
            ("export -o table", false),
            ("get monitors invoice-generator -o json", true),
            ("get monitor", true),
            ("get nonsense", false),
            ("get incidents --state open", true),
            ("schedule 6h --count 0", false),
            ("demo-receiver --once --count 2", false),
            ("exec --ping x --timeout 5m -- sh -c true", true),
            ("exec --ping x sh -c true --timeout 5m", true),
            ("exec --ping x --timeout 0 -- true", false),
            ("exec --ping x --timout 5m -- true", false),
            ("exec --ping x --report-timeout soon -- true", false),
            ("exec --ping x --kill-after 0s -- true", true),
            ("exec --ping x", false),
            ("exec -- true", false),
            ("import healthchecks --key x", true),
            ("", false),
        ] {
            let words = std::iter::once("systole").chain(line.split_whitespace());
            assert_eq!(Cli::try_parse_from(words).is_ok(), accepted, "{line}");
        }
    }
}
