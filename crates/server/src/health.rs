//! `/healthz` and `/readyz`.

use http::StatusCode;

use crate::app::App;

/// 200 while the process lives.
pub const fn live() -> (StatusCode, &'static str) {
    (StatusCode::OK, "ok\n")
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
