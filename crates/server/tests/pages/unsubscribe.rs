//! Recipients who took themselves off, on the page of channels.

use super::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn who_unsubscribed_is_seen_and_put_back() {
    let mut site = Site::set_up().await;
    let made = [
        ("kind", "email"),
        ("name", "mail"),
        ("host", "mail.example.org"),
        ("from", "systole@example.org"),
        ("to", "on-call@example.org\nlead@example.org"),
    ];
    site.post("/channels", &made).await.sees("/channels");
    let token = site.server.app().keys.unsubscribe_token(1);
    let link = format!("/unsubscribe/{token}");

    let signed_in = site.cookie.take();
    site.get(&link)
        .await
        .shows(200, &["Unsubscribe", "systole@example.org", "Take it off"]);
    let wrong = site.post(&link, &[("address", "lead")]).await;
    wrong.shows(422, &["not an e-mail address", "value=\"lead\""]);
    let done = site.post(&link, &[("address", "lead@example.org")]).await;
    done.shows(200, &["lead@example.org", "it is off it now"]);
    site.get("/unsubscribe/1-x")
        .await
        .shows(404, &["There is no such page"]);

    site.cookie = signed_in;
    let page = site.get("/channels").await;
    page.shows(
        200,
        &[
            "lead@example.org</bdi> unsubscribed",
            "Put back",
            "on-call@example.org by",
        ],
    );
    let back = page
        .body
        .split("action=\"")
        .find(|part| part.contains("/put-back"));
    let back = back.unwrap().split('"').next().unwrap().to_owned();
    site.post(&back, &[("address", "x@example.org")])
        .await
        .shows(404, &[]);
    site.post(&back, &[("address", "lead@example.org")])
        .await
        .sees("/channels");
    let page = site.get("/channels").await;
    page.shows(200, &["lead@example.org is told again by mail."]);
    assert!(!page.body.contains("Put back"), "{}", page.body);
}
