//! Attestations that are forged, replayed, too big or from nobody are refused.

use agent_gate::Role;
use ed25519_dalek::SigningKey;
use serde_json::json;

use crate::stand::{SERVICE, Stand, watchdog_key};
use crate::watchdog::{attestation, post, sign};

#[tokio::test]
async fn a_signed_attestation_is_taken_once() {
    let stand = Stand::start().await;
    let body = serde_json::to_vec(&attestation("1700000000000-a", 7)).expect("JSON");
    let signature = sign(&watchdog_key(), &body);
    let (status, taken) = post(&stand, body.clone(), Some(signature.clone())).await;
    assert_eq!((status, taken["seq"].as_u64()), (202, Some(7)), "{taken}");
    let (status, replayed) = post(&stand, body, Some(signature)).await;
    assert_eq!((status, replayed["error"]["code"].as_str()), (409, Some("replayed")));

    let older = serde_json::to_vec(&attestation("1600000000000-a", 99)).expect("JSON");
    let signature = sign(&watchdog_key(), &older);
    let (status, refused) = post(&stand, older, Some(signature)).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (409, Some("old_boot")));
}

#[tokio::test]
async fn a_forged_attestation_is_refused_and_changes_nothing() {
    let stand = Stand::start().await;
    let body = serde_json::to_vec(&attestation("1700000000000-a", 1)).expect("JSON");
    let forger = SigningKey::from_bytes(&[9; 32]);
    for (signature, code) in [
        (None, "no_signature"),
        (Some("ed25519=00".to_owned()), "no_signature"),
        (Some(sign(&forger, &body)), "wrong_signature"),
    ] {
        let (status, refused) = post(&stand, body.clone(), signature).await;
        assert_eq!((status, refused["error"]["code"].as_str()), (401, Some(code)), "{refused}");
    }
    let mut other = attestation("1700000000000-a", 1);
    other.watchdog = "w2".to_owned();
    let other = serde_json::to_vec(&other).expect("JSON");
    let (status, refused) = post(&stand, other.clone(), Some(sign(&watchdog_key(), &other))).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (401, Some("unknown_watchdog")));

    let (_, services) = stand.get(Some(Role::Viewer), "/v1/services").await;
    let service = &services["items"][0];
    assert_eq!(
        (service["service"].as_str(), service["verdict"].as_str(), service["basis"].as_str()),
        (Some(SERVICE), Some("unknown"), Some("never_heard"))
    );
}

#[tokio::test]
async fn a_replay_is_refused_also_after_a_restart() {
    let mut stand = Stand::start().await;
    let body = serde_json::to_vec(&attestation("1700000000000-a", 7)).expect("JSON");
    let signature = sign(&watchdog_key(), &body);
    assert_eq!(post(&stand, body.clone(), Some(signature.clone())).await.0, 202);
    stand.restart().await;
    let (status, replayed) = post(&stand, body, Some(signature)).await;
    assert_eq!((status, replayed["error"]["code"].as_str()), (409, Some("replayed")));
}

#[tokio::test]
async fn an_attestation_may_be_a_mebibyte_and_not_a_byte_more() {
    let stand = Stand::start().await;
    let mut body = serde_json::to_vec(&attestation("1700000000000-a", 1)).expect("JSON");
    body.resize(1024 * 1024, b' ');
    let signature = sign(&watchdog_key(), &body);
    assert_eq!(post(&stand, body.clone(), Some(signature)).await.0, 202);
    body.push(b' ');
    let signature = sign(&watchdog_key(), &body);
    let (status, refused) = post(&stand, body, Some(signature)).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (413, Some("too_large")));
}

#[tokio::test]
async fn an_unknown_field_in_an_attestation_is_refused() {
    let stand = Stand::start().await;
    let mut body = serde_json::to_value(attestation("1700000000000-a", 1)).expect("JSON");
    body["trust_me"] = json!(true);
    let body = body.to_string().into_bytes();
    let signature = sign(&watchdog_key(), &body);
    assert_eq!(post(&stand, body, Some(signature)).await.0, 400);
}
