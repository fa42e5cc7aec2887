//! `/healthz` and `/readyz`.

use http::StatusCode;
use systole_core::time::Span;
use systole_store::durability::Durability;

use crate::app::App;

/// The header of `/healthz` that says which process answers.
pub const INSTANCE: &str = "systole-instance";

/// Beyond this check-ins cannot be stamped well enough.
const CLOCK_ERROR: Span = Span::from_millis(500);

/// 200 while the process lives.
pub fn live(app: &App) -> (StatusCode, [(&'static str, String); 1], &'static str) {
    (StatusCode::OK, [(INSTANCE, app.instance.clone())], "ok\n")
}

/// 200 once the states are loaded and every loop has run; else 503 with a reason a line, free of addresses and
/// credentials. What does not keep it from serving, and should be known, follows as advice.
pub fn ready(app: &App) -> (StatusCode, String) {
    if app.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    let mut reasons = app.loops.not_ready(app.now());
    if app.clock.error().is_some_and(|error| error > CLOCK_ERROR) {
        reasons.push("clock: the database answers too slowly to know its time".to_owned());
    }
    if reasons.is_empty() {
        let advice = app
            .standing
            .durability()
            .and_then(Durability::warning)
            .map_or_else(String::new, |warning| format!("advice: {warning}\n"));
        return (StatusCode::OK, format!("ready\n{advice}"));
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}
