//! The table of what can be set. Flags, environment variables, keys of `systole.toml`, help and the reference page all
//! come from here.

/// One setting of `systole serve`.
pub struct Setting {
    /// Its name, which is its flag without the dashes.
    pub name: &'static str,
    /// What stands for its value in help; `None` for a switch.
    pub value: Option<&'static str>,
    /// What it is where nothing is said.
    pub default: Option<&'static str>,
    /// One sentence.
    pub help: &'static str,
}

impl Setting {
    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("SYSTOLE_{}", self.key().to_ascii_uppercase())
    }

    /// Its key in `systole.toml`.
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    const fn new(
        name: &'static str,
        value: &'static str,
        default: Option<&'static str>,
        help: &'static str,
    ) -> Setting {
        Setting {
            name,
            value: Some(value),
            default,
            help,
        }
    }

    const fn switch(name: &'static str, help: &'static str) -> Setting {
        Setting {
            name,
            value: None,
            default: None,
            help,
        }
    }
}

/// Every setting of `systole serve`, in the order of the help.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        "listen",
        "ADDR",
        Some("127.0.0.1:8080"),
        "Address for check-ins, the API and the pages",
    ),
    Setting::new(
        "data-dir",
        "DIR",
        Some("./systole-data"),
        "Directory of the embedded database and the key",
    ),
    Setting::new(
        "database-url",
        "URL",
        None,
        "PostgreSQL that replicas share, instead of the embedded database; holds a password: better SYSTOLE_DATABASE_URL",
    ),
    Setting::new(
        "key-file",
        "FILE",
        None,
        "File with the key that encrypts secrets [default: key in the data directory]",
    ),
    Setting::new(
        "base-url",
        "URL",
        None,
        "URL under which people and jobs reach this server [default: from --listen]",
    ),
    Setting::new(
        "tls-cert",
        "FILE",
        None,
        "Certificate chain in PEM; read again when it changes",
    ),
    Setting::new(
        "tls-key",
        "FILE",
        None,
        "Private key of the certificate in PEM",
    ),
    Setting::new(
        "trusted-proxy",
        "CIDR,...",
        None,
        "Proxies whose X-Forwarded-For is believed",
    ),
    Setting::new(
        "outbound-allow",
        "CIDR,...",
        None,
        "Private ranges that channels may send to",
    ),
    Setting::new(
        "metrics-listen",
        "ADDR|off",
        Some("127.0.0.1:9464"),
        "Address for metrics without a token; off for none",
    ),
    Setting::new(
        "self-heartbeat-url",
        "URL",
        None,
        "URL told every minute that this server lives",
    ),
    Setting::switch(
        "kubernetes",
        "Watch the cluster this runs in (not built yet)",
    ),
    Setting::new(
        "retention-days",
        "DAYS",
        Some("90"),
        "How long check-ins are kept",
    ),
    Setting::new(
        "retention-checkins",
        "COUNT",
        Some("10000"),
        "How many check-ins of each monitor are kept",
    ),
    Setting::new(
        "retention-hourly-days",
        "DAYS",
        Some("365"),
        "How long hourly figures are kept",
    ),
    Setting::new(
        "retention-daily-days",
        "DAYS",
        Some("1825"),
        "How long daily figures are kept",
    ),
    Setting::new(
        "retention-bytes",
        "SIZE",
        Some("10GiB"),
        "How large the check-ins that are kept may become",
    ),
    Setting::new(
        "ping-body-limit",
        "SIZE",
        Some("10000"),
        "How much of a check-in's body is kept, at most 1MiB",
    ),
    Setting::new(
        "log-format",
        "text|json",
        Some("text"),
        "How the log is written, on stderr",
    ),
    Setting::new(
        "log",
        "LEVEL",
        Some("info"),
        "What is logged: error, warn, info, debug or trace",
    ),
];

/// A variable that is no setting: secrets, which have no flag since arguments can be seen by others, and the client
/// commands' variables.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// Variables that are no settings.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: "SYSTOLE_ADMIN_TOKEN",
        help: "An administrator's API token, 24 characters or more",
    },
    Variable {
        name: "SYSTOLE_KEY",
        help: "The key that encrypts secrets: 32 bytes in base64, instead of --key-file",
    },
    Variable {
        name: "SYSTOLE_CONFIG",
        help: "The configuration file, as --config",
    },
    Variable {
        name: "SYSTOLE_SERVER",
        help: "The server that client commands talk to",
    },
    Variable {
        name: "SYSTOLE_TOKEN",
        help: "The API token of client commands",
    },
    Variable {
        name: "SYSTOLE_TOKEN_FILE",
        help: "The file with the API token of client commands",
    },
    Variable {
        name: "SYSTOLE_PING",
        help: "The token or URL that systole ping and systole exec report to",
    },
    Variable {
        name: "SYSTOLE_WEBHOOK_SECRET",
        help: "The secret that systole demo-receiver checks with",
    },
];

/// The settings as a page of Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings of `systole serve`\n\n\
         A flag wins over its environment variable, that over `systole.toml` (in the working directory, or `--config \
         FILE`), that over the default. Lists are separated by commas; in `systole.toml` they can be arrays.\n\n\
         | flag | environment | systole.toml | default | meaning |\n|---|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let value = setting
            .value
            .map(|value| format!(" {}", value.replace('|', "\\|")))
            .unwrap_or_default();
        page.push_str(&format!(
            "| `--{}{value}` | `{}` | `{}` | {} | {} |\n",
            setting.name,
            setting.variable(),
            setting.key(),
            setting
                .default
                .map(|default| format!("`{default}`"))
                .unwrap_or_default(),
            setting.help,
        ));
    }
    page.push_str("\nOther variables:\n\n| variable | meaning |\n|---|---|\n");
    for variable in VARIABLES {
        page.push_str(&format!("| `{}` | {} |\n", variable.name, variable.help));
    }
    page
}
