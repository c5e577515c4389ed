//! Under TLS: what the gate calls.

use axum::Router;
use axum::routing::post;
use front_door::{Certificates, Limits, Listener, Tls, TlsFiles, serve};
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::authority::Authority;
use crate::stand::{SERVICE, Stand, eventually, policy};
use crate::watchdog::Watchdog;

/// A deploy system under TLS that takes every order.
async fn deploys(files: &TlsFiles) -> (String, DropGuard) {
    let router = Router::new().route("/revert", post(|| async { "taken" }));
    let listener = front_door::bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let url = format!("https://{}/revert", listener.local_addr().expect("bound"));
    let tls = Tls::new(Some(Certificates::read(files).expect("good files")));
    let stop = CancellationToken::new();
    let listener = Listener::from(listener).with_tls(tls);
    tokio::spawn(serve(listener, router.into_service(), Limits::default(), stop.clone()));
    (url, stop.drop_guard())
}

async fn reverting_by(url: &str, ours: &Authority) -> Stand {
    let table = json!({"name": SERVICE, "revert": {"webhook": url, "secret": "between us"}});
    let table = serde_json::from_value(table).expect("a service table");
    let ca_file = Some(ours.ca_file());
    Stand::configured(
        policy(),
        |_| vec![table],
        |mut config, _| {
            config.ca_file = ca_file;
            config
        },
    )
    .await
}

#[tokio::test]
async fn a_webhook_over_tls_gets_orders_only_if_the_authority_vouches_for_it() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (url, _stop) = deploys(&ours.issue("127.0.0.1")).await;
    let stand = reverting_by(&url, &ours).await;
    let _watchdog = Watchdog::start(&stand);
    stand.allowed("c-1").await;

    let (url, _stop) = deploys(&theirs.issue("127.0.0.1")).await;
    let stand = reverting_by(&url, &ours).await;
    let _watchdog = Watchdog::start(&stand);
    let text = eventually("the dry run failed", || async {
        let (_, answer) = stand.request("c-1").await;
        let text = answer["reasons"].to_string();
        text.contains("revert_dry_run_failed").then_some(text)
    })
    .await;
    assert!(text.contains("invalid peer certificate"), "{text}");
}
