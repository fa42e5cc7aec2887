//! The page of maintenances: forms, buttons, and what other pages say of it.

use super::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_planned_seen_over_its_monitors_and_ended() {
    let mut site = Site::set_up().await;
    let (monitor, _) = site.make("nightly").await;
    site.get("/maintenance").await.shows(
        200,
        &[
            "Nothing is in maintenance now.",
            "value=\"1h\"",
            "aria-current=\"page\">Maintenance",
        ],
    );
    let once = [
        ("name", "move"),
        ("all", "on"),
        ("duration", "2h"),
        ("repeats", "once"),
    ];
    site.post("/maintenance", &once).await.sees("/maintenance");
    let page = site.get("/maintenance").await;
    page.shows(
        200,
        &[
            "move is planned. It covers 1 monitor.",
            "every monitor",
            "End now",
            " left</time>",
        ],
    );
    site.get(&monitor).await.shows(
        200,
        &[
            "In maintenance,",
            "<bdi>move</bdi>",
            "nothing is sent before",
        ],
    );
    site.get("/").await.shows(200, &[">Maintenance</span>"]);

    let again = [
        ("name", "weekly <i>"),
        ("selector", "team=a"),
        ("start", "2098-01-05T02:00"),
        ("timezone", "Asia/Tokyo"),
        ("duration", "90m"),
        ("repeats", "rule"),
        ("rule", "FREQ=WEEKLY;BYDAY=SU"),
    ];
    site.post("/maintenance", &again).await.sees("/maintenance");
    let page = site.get("/maintenance").await;
    page.shows(
        200,
        &[
            "It covers no monitor yet.",
            "weekly &#60;i&#62;",
            "Sun 5 Jan 02:00 to 03:30, Asia/Tokyo",
            "Sat 4 Jan 17:00 UTC",
            "Sun 2 Feb 02:00 to",
        ],
    );

    site.post("/maintenance/mnt_1/end", &[])
        .await
        .sees("/maintenance");
    site.get("/maintenance").await.shows(
        200,
        &[
            "move is ended.",
            "Nothing is in maintenance now.",
            "id=\"over-title\"",
        ],
    );
    let page = site.get(&monitor).await;
    assert!(!page.body.contains("In maintenance"), "{}", page.body);
    site.post("/maintenance/mnt_2/delete", &[])
        .await
        .sees("/maintenance");
    let page = site.get("/maintenance").await;
    page.shows(200, &["is deleted."]);
    assert!(!page.body.contains("Asia/Tokyo"), "{}", page.body);
    for (path, status) in [
        ("/maintenance/mnt_1/end", 409),
        ("/maintenance/mnt_9/end", 404),
        ("/maintenance/mnt_1/start", 404),
    ] {
        assert_eq!(site.post(path, &[]).await.status, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_are_named_beside_them_and_what_was_typed_stays() {
    let mut site = Site::set_up().await;
    let base = [
        ("name", "a"),
        ("selector", "team=a"),
        ("duration", "1h"),
        ("repeats", "weekly"),
        ("start", "2026-11-29T02:00"),
        ("timezone", ""),
    ];
    for (field, value, texts) in [
        (
            "selector",
            "team in a",
            ["selector-error", "value=\"team in a\""],
        ),
        ("selector", "", ["selector-error", "Selects nothing"]),
        ("duration", "soon", ["duration-error", "value=\"soon\""]),
        ("start", "", ["start-error", "required beside rrule"]),
        (
            "timezone",
            "Mars/Base",
            ["timezone-error", "value=\"Mars/Base\""],
        ),
        ("repeats", "rule", ["rule-error", "value=\"rule\" selected"]),
        ("name", "", ["name-error", "value=\"weekly\" selected"]),
    ] {
        let mut fields = base;
        for (name, place) in &mut fields {
            if *name == field {
                *place = value;
            }
        }
        site.post("/maintenance", &fields).await.shows(422, &texts);
    }
}
