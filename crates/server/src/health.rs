//! `/healthz` and `/readyz`.

use http::StatusCode;

use crate::app::App;

/// The header of `/healthz` that says which process answers.
pub const INSTANCE: &str = "systole-instance";

/// 200 while the process lives.
pub fn live(app: &App) -> (StatusCode, [(&'static str, String); 1], &'static str) {
    (StatusCode::OK, [(INSTANCE, app.instance.clone())], "ok\n")
}

/// 200 once the states are loaded and every loop has run; else 503 with a reason a line, free of addresses and
/// credentials.
pub fn ready(app: &App) -> (StatusCode, String) {
    if app.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    let reasons = app.loops.not_ready(app.now());
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}
