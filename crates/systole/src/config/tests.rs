//! Precedence, and what wrong settings are answered with.

use clap::{Args as _, FromArgMatches as _};

use super::*;

fn sources(flags: &[&str], environment: &[(&str, &str)], file: &str) -> Sources {
    let command = ServeFlags::augment_args(clap::Command::new("serve"));
    let matches = command
        .try_get_matches_from(std::iter::once(&"serve").chain(flags))
        .unwrap();
    Sources {
        flags: ServeFlags::from_arg_matches(&matches).unwrap(),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        file: Some((PathBuf::from("systole.toml"), file.parse().unwrap())),
    }
}

fn resolved(sources: &Sources) -> ServeConfig {
    resolve(sources).unwrap().0
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default() {
    let (flag, variable, file) = (
        &["--listen", "127.0.0.1:1"][..],
        &[("SYSTOLE_LISTEN", "127.0.0.1:2")][..],
        "listen = '127.0.0.1:3'",
    );
    for (sources, port) in [
        (sources(flag, variable, file), 1),
        (sources(&[], variable, file), 2),
        (sources(&[], &[("SYSTOLE_LISTEN", "")], file), 3),
        (sources(&[], &[], file), 3),
        (sources(&[], &[], ""), 8080),
    ] {
        assert_eq!(resolved(&sources).listen.port(), port);
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = resolved(&Sources::default());
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.data_dir, Path::new("./systole-data"));
    assert_eq!(
        config
            .metrics_listen
            .map(|address| address.to_string())
            .as_deref(),
        Some("127.0.0.1:9464")
    );
    assert_eq!(
        (
            config.retention_days,
            config.retention_checkins,
            config.retention_bytes
        ),
        (90, 10_000, 10 << 30)
    );
    assert_eq!(
        (config.retention_hourly_days, config.retention_daily_days),
        (365, 1_825)
    );
    assert_eq!(config.ping_body_limit, 10_000);
    assert_eq!(
        (config.log_format, config.log.as_str()),
        (LogFormat::Text, "info")
    );
    assert_eq!(
        (config.tls, config.key, config.admin_token),
        (None, None, None)
    );
}

#[test]
fn lists_are_given_by_commas_by_repetition_or_as_arrays() {
    for sources in [
        sources(&["--trusted-proxy", "10.0.0.0/8,::1"], &[], ""),
        sources(
            &["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "::1"],
            &[],
            "",
        ),
        sources(&[], &[("SYSTOLE_TRUSTED_PROXY", "10.0.0.0/8, ::1")], ""),
        sources(&[], &[], "trusted_proxy = ['10.0.0.0/8', '::1']"),
    ] {
        assert_eq!(resolved(&sources).trusted_proxy.len(), 2);
    }
}

#[test]
fn wrong_settings_are_named_with_their_place_all_at_once() {
    let rows: &[(Sources, &[&str])] = &[
        (
            sources(&["--listen", "8080"], &[], ""),
            &["--listen: \"8080\" is not an address"],
        ),
        (
            sources(
                &[],
                &[("SYSTOLE_BASE_URL", "example.com")],
                "retention_days = 0",
            ),
            &[
                "SYSTOLE_BASE_URL: is not a URL",
                "retention_days in systole.toml: \"0\" is not a whole number",
            ],
        ),
        (
            sources(&["--database-url", "mysql://u:secret@x/y"], &[], ""),
            &["--database-url: is not a URL such as postgres://user:password@host:5432/name"],
        ),
        (
            sources(&["--kubernetes"], &[], ""),
            &["--kubernetes: this is not built yet"],
        ),
        (
            sources(&["--tls-cert", "a"], &[], ""),
            &["--tls-cert and --tls-key belong together"],
        ),
        (
            sources(&[], &[("SYSTOLE_ADMIN_TOKEN", "short")], ""),
            &["SYSTOLE_ADMIN_TOKEN has 5 characters; it needs 24 or more"],
        ),
        (
            sources(&["--key-file", "k"], &[("SYSTOLE_KEY", "AAAA")], ""),
            &["SYSTOLE_KEY holds 3 bytes"],
        ),
        (
            sources(&[], &[], "lissten = 'x'"),
            &["lissten in systole.toml: there is no such setting; did you mean listen?"],
        ),
        (
            sources(&[], &[], "admin_token = 'x'"),
            &["secrets do not belong in this file; use SYSTOLE_ADMIN_TOKEN"],
        ),
        (
            sources(&[], &[], "listen = 1.5"),
            &["listen in systole.toml: must be a string"],
        ),
        (
            sources(&["--ping-body-limit", "2MiB"], &[], ""),
            &["--ping-body-limit: 2097152 bytes is out of range: at most 1MiB"],
        ),
        (
            sources(&["--log-format", "xml"], &[], ""),
            &["--log-format: \"xml\" is neither text nor json"],
        ),
        (
            sources(&["--data-dir", ""], &[], ""),
            &["--data-dir: is empty"],
        ),
    ];
    for (sources, expected) in rows {
        let found = resolve(sources).unwrap_err();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for part in *expected {
            assert!(
                found.iter().any(|message| message.contains(part)),
                "{part:?} is not in {found:?}"
            );
        }
    }
}

#[test]
fn a_switch_that_is_off_is_no_wish() {
    assert!(resolve(&sources(&[], &[("SYSTOLE_KUBERNETES", "false")], "")).is_ok());
    assert!(resolve(&sources(&[], &[], "kubernetes = false")).is_ok());
}

#[test]
fn unknown_variables_are_warned_of_and_those_of_a_service_once() {
    let environment = [
        ("SYSTOLE_LISTN", "x"),
        ("SYSTOLE_SERVER", "http://localhost"),
        ("SYSTOLE_PORT", "tcp://10.0.0.1:80"),
        ("SYSTOLE_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("SYSTOLE_SERVICE_HOST", "10.0.0.1"),
    ];
    let (_, warnings) = resolve(&sources(&[], &environment, "")).unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0]
            .contains("SYSTOLE_LISTN is not known and is ignored; did you mean SYSTOLE_LISTEN?"),
        "{warnings:?}"
    );
    assert!(
        warnings[1].contains("Kubernetes Service named systole"),
        "{warnings:?}"
    );
}

#[test]
fn nothing_secret_is_in_the_debug_form() {
    let token = "correct-horse-battery-staple";
    let sources = sources(&[], &[("SYSTOLE_ADMIN_TOKEN", token)], "");
    let config = resolved(&sources);
    assert_eq!(
        config
            .admin_token
            .as_ref()
            .map(|token| token.reveal().as_str()),
        Some(token)
    );
    assert!(!format!("{config:?}").contains(token));
}

#[test]
fn every_setting_is_on_the_reference_page() {
    let page = reference();
    for setting in SETTINGS {
        assert!(
            page.contains(&format!("`{}`", setting.variable())),
            "{}",
            setting.name
        );
    }
}
