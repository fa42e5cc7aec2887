//! Writes every page, filled with samples, and the static files into a directory: `cargo run --example pages -- DIR`.
//! `tests/pages/check.mjs DIR` serves them to a browser, and looks.

use std::path::Path;
use std::{env, fs, io};

use systole_server::web::{assets, render, snippets, text, views};

mod samples;

fn main() -> io::Result<()> {
    let directory = env::args()
        .nth(1)
        .unwrap_or_else(|| "target/pages".to_owned());
    let directory = Path::new(&directory);
    for asset in assets::all() {
        let path = directory.join(assets::url(asset.name).trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        fs::write(path, asset.bytes)?;
    }
    for (name, html) in pages() {
        fs::write(directory.join(format!("{name}.html")), html)?;
    }
    let headers: String = assets::SECURITY_HEADERS
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    fs::write(directory.join("headers.txt"), headers)
}

fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("overview", render::overview(&samples::overview())),
        ("overview-well", render::overview(&samples::overview_well())),
        (
            "overview-empty",
            render::overview(&samples::overview_empty()),
        ),
        (
            "overview-found-nothing",
            render::overview(&samples::overview_found_nothing()),
        ),
        ("monitor", render::monitor(&samples::monitor())),
        ("monitor-new", render::monitor(&samples::monitor_new())),
        (
            "monitor-edit",
            render::monitor_form(&samples::monitor_form()),
        ),
        (
            "monitor-make",
            render::monitor_form(&samples::monitor_form_new()),
        ),
        ("incident", render::incident(&samples::incident())),
        (
            "incident-resolved",
            render::incident(&samples::incident_resolved()),
        ),
        ("incidents", render::incidents(&samples::incidents())),
        ("channels", render::channels(&samples::channels())),
        (
            "channel-edit",
            render::channel_edit(&samples::channel_edit()),
        ),
        ("maintenance", render::maintenance(&samples::maintenance())),
        (
            "maintenance-empty",
            render::maintenance(&samples::maintenance_empty()),
        ),
        ("sign-in", render::sign_in(&samples::sign_in())),
        ("setup", render::setup(&samples::setup())),
        ("unsubscribe", render::unsubscribe(&samples::unsubscribe())),
        (
            "unsubscribed",
            render::unsubscribe(&samples::unsubscribed()),
        ),
        ("error", render::error(&samples::error())),
    ]
}
