//! Monitors and channels: forms, buttons, lists.

use super::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_are_named_beside_them_and_what_was_typed_stays() {
    let mut site = Site::set_up().await;
    site.make("taken").await;
    for (fields, texts) in [
        (
            [
                ("name", "taken"),
                ("schedule", "1h"),
                ("timezone", ""),
                ("grace", ""),
            ],
            ["The name is taken", "value=\"1h\""],
        ),
        (
            [
                ("name", "x"),
                ("schedule", "soon"),
                ("timezone", ""),
                ("grace", ""),
            ],
            ["not a duration", "value=\"soon\""],
        ),
        (
            [
                ("name", "x"),
                ("schedule", "0 25 * * *"),
                ("timezone", ""),
                ("grace", ""),
            ],
            ["25", "schedule-error"],
        ),
        (
            [
                ("name", "x"),
                ("schedule", "0 2 * * *"),
                ("timezone", "Mars/Base"),
                ("grace", ""),
            ],
            ["Mars/Base", "timezone-error"],
        ),
        (
            [
                ("name", "x"),
                ("schedule", "1h"),
                ("timezone", ""),
                ("grace", "-5m"),
            ],
            ["negative", "grace-error"],
        ),
    ] {
        site.post("/monitors", &fields).await.shows(422, &texts);
    }
    let wrong = site
        .post(
            "/channels",
            &[("kind", "webhook"), ("name", "hook"), ("url", "nowhere")],
        )
        .await;
    wrong.shows(422, &["url-error", "value=\"nowhere\"", "value=\"hook\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_do_not_overwrite_each_other() {
    let mut site = Site::set_up().await;
    let (path, _) = site.make("nightly").await;
    let edit = format!("{path}/edit");
    site.get(&edit)
        .await
        .shows(200, &["name=\"rev\" value=\"1\"", "value=\"1h\""]);
    let first = [
        ("name", "nightly"),
        ("schedule", "30 2 * * *"),
        ("timezone", "Europe/Oslo"),
        ("rev", "1"),
    ];
    site.post(&edit, &first).await.sees(&path);
    site.get(&path).await.shows(
        200,
        &["nightly is saved.", "at 02:30 every day, Europe/Oslo"],
    );
    let second = [("name", "weekly"), ("schedule", "7d"), ("rev", "1")];
    site.post(&edit, &second).await.shows(
        409,
        &[
            "Somebody else has changed it",
            "value=\"weekly\"",
            "name=\"rev\" value=\"2\"",
        ],
    );
    site.post(
        &edit,
        &[("name", "weekly"), ("schedule", "7d"), ("rev", "2")],
    )
    .await
    .sees(&path);
    site.get(&path).await.shows(200, &["every 7 days"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn buttons_do_what_they_say() {
    let mut site = Site::set_up().await;
    let (path, ping) = site.make("worker").await;
    site.post(&format!("{path}/pause"), &[]).await.sees(&path);
    site.get(&path)
        .await
        .shows(200, &["worker is paused.", ">Paused<", "Resume"]);
    site.post(&format!("{path}/resume"), &[]).await.sees(&path);
    site.get(&path).await.shows(200, &[">New<"]);
    site.post(&format!("{path}/rotate-token"), &[])
        .await
        .sees(&path);
    assert_eq!(site.get(&ping).await.status, 404);
    site.post(&format!("{path}/explode"), &[])
        .await
        .shows(404, &["no such page"]);

    let made = [
        ("kind", "webhook"),
        ("name", "hook"),
        ("url", "http://192.0.2.1:9/secret-path"),
        ("default", "on"),
    ];
    site.post("/channels", &made).await.sees("/channels");
    let page = site.get("/channels").await;
    page.shows(
        200,
        &[
            "hook is made.",
            "with the secret whsec_",
            "http://192.0.2.1:9",
            "Nobody is told when a message cannot be delivered",
        ],
    );
    assert!(!page.body.contains("secret-path"));
    assert!(
        !site
            .get("/channels")
            .await
            .body
            .contains("with the secret whsec_"),
        "shown once"
    );
    site.post("/channels/chn_1/delete", &[])
        .await
        .sees("/channels");
    site.get("/channels")
        .await
        .shows(200, &["hook is deleted.", "No channel yet"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_channel_has_a_form_that_keeps_its_secrets() {
    let mut site = Site::set_up().await;
    let page = site.get("/channels").await;
    for kind in systole_server::channels::KINDS {
        page.shows(200, &[&format!("name=\"kind\" value=\"{}\"", kind.name)]);
    }
    let mut made = vec![
        ("kind", "slack"),
        ("name", "chat"),
        ("url", "http://hooks.slack.com/services/T/B/s3cr3t"),
    ];
    let wrong = site.post("/channels", &made).await;
    wrong.shows(
        422,
        &[
            "slack-url-error",
            "https://",
            "value=\"chat\"",
            "<details name=\"new-channel\" open>",
        ],
    );
    assert!(!wrong.body.contains("s3cr3t"), "a secret is not sent back");
    made[2].1 = "https://hooks.slack.com/services/T/B/s3cr3t";
    site.post("/channels", &made).await.sees("/channels");
    let page = site.get("/channels").await;
    page.shows(
        200,
        &[
            "chat is made. Now send a test.",
            "https://hooks.slack.com:443",
        ],
    );
    assert!(!page.body.contains("s3cr3t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_found_by_name_label_and_state_and_has_pages() {
    let mut site = Site::set_up().await;
    for n in 0..42 {
        let fields = [
            ("name", format!("job-{n:02}")),
            ("schedule", "1h".to_owned()),
        ];
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(site.post("/monitors", &fields).await.status, 303);
    }
    let first = site.get("/").await;
    first.shows(200, &["42 monitors", "job-41", "job-02", "Next page"]);
    assert!(!first.body.contains("job-01"));
    let next = first
        .body
        .split("rel=\"next\" href=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let second = site.get(&next).await;
    second.shows(200, &["job-01", "job-00", "First page"]);
    assert!(!second.body.contains("job-02") && !second.body.contains("Next page"));
    site.get("/?q=JOB-1")
        .await
        .shows(200, &["10 monitors of 42", "job-10"]);
    site.get("/?q=team%3Dnone")
        .await
        .shows(200, &["No monitor matches."]);
    site.get("/?state=down")
        .await
        .shows(200, &["No monitor matches."]);
    site.get("/?state=new&q=job-4")
        .await
        .shows(200, &["2 monitors of 42"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_channel_keeps_its_secrets_and_says_what_is_wrong() {
    let mut site = Site::set_up().await;
    let url = "http://192.0.2.7/old";
    let made = [
        ("kind", "webhook"),
        ("name", "ops"),
        ("url", url),
        ("default", "on"),
    ];
    site.post("/channels", &made).await.sees("/channels");
    site.get("/channels")
        .await
        .shows(200, &["/channels/chn_1/edit"]);
    site.get("/channels/chn_1/edit").await.shows(
        200,
        &[
            "value=\"http://192.0.2.7/old\"",
            "value=\"4h\"",
            "what there is stays unless you type another",
            "name=\"rev\" value=\"1\"",
        ],
    );
    let edited = |rev: &'static str, remind_every: &'static str| {
        [
            ("rev", rev),
            ("name", "on-call <i>"),
            ("url", "http://192.0.2.7/new"),
            ("remind_every", remind_every),
            ("system", "on"),
            ("digest", "on"),
        ]
    };
    site.post("/channels/chn_1/edit", &edited("1", "often"))
        .await
        .shows(
            422,
            &["id=\"webhook-remind_every-error\"", "value=\"often\""],
        );
    site.post("/channels/chn_1/edit", &edited("1", "30m"))
        .await
        .sees("/channels");
    site.get("/channels").await.shows(
        200,
        &[
            "on-call &#60;i&#62; is saved.",
            "<span class=\"chip\">system",
        ],
    );
    site.get("/channels/chn_1/edit").await.shows(
        200,
        &[
            "value=\"30m\"",
            "value=\"http://192.0.2.7/new\"",
            "name=\"system\" checked",
        ],
    );
    site.post("/channels/chn_1/edit", &edited("1", "1h"))
        .await
        .shows(409, &["Somebody else has changed it", "value=\"1h\""]);
    site.get("/channels/chn_9/edit").await.shows(404, &[]);
}
