//! The MAC of a beat: `v1=HEX` of HMAC-SHA-256 over `service \n body`.
//!
//! Invariant: a MAC is compared in constant time and over the exact bytes that arrived (HTTP) or
//! over the one canonical form of a datagram (UDP).

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use watchdog_core::names::Service;

/// The text before the hex digits; it names the scheme.
const SCHEME: &str = "v1=";

/// Whether `signature` is the MAC of `body` for `service` under `key`.
#[must_use]
pub fn verifies(key: &[u8], service: &Service, body: &[u8], signature: &str) -> bool {
    let Some(Ok(claimed)) = signature.strip_prefix(SCHEME).map(hex::decode) else { return false };
    keyed(key, service, body).verify_slice(&claimed).is_ok()
}

/// The signature a sender would put on `body`.
#[must_use]
pub fn sign(key: &[u8], service: &Service, body: &[u8]) -> String {
    format!("{SCHEME}{}", hex::encode(keyed(key, service, body).finalize().into_bytes()))
}

fn keyed(key: &[u8], service: &Service, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key length");
    mac.update(service.as_str().as_bytes());
    mac.update(b"\n");
    mac.update(body);
    mac
}

/// What a datagram's MAC is over: the datagram without `mac`, keys sorted, no white space.
///
/// # Errors
/// If the datagram is not a JSON object.
pub fn canonical(datagram: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    // A beat is flat, so sorting the first level sorts everything.
    let mut fields: BTreeMap<String, Value> = serde_json::from_slice(datagram)?;
    fields.remove("mac");
    serde_json::to_vec(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        Service::new("checkout").expect("a valid name")
    }

    #[test]
    fn a_mac_covers_service_and_body_and_needs_its_scheme() {
        let signature = sign(b"key", &service(), b"{}");
        assert!(verifies(b"key", &service(), b"{}", &signature));
        assert!(!verifies(b"yek", &service(), b"{}", &signature));
        assert!(!verifies(b"key", &service(), b"{ }", &signature));
        let other = Service::new("cart").expect("a valid name");
        assert!(!verifies(b"key", &other, b"{}", &signature));
        assert!(!verifies(b"key", &service(), b"{}", &signature[3..]));
        assert!(!verifies(b"key", &service(), b"{}", "v1=zz"));
        assert!(!verifies(b"key", &service(), b"{}", "v1="));
    }

    #[test]
    fn the_known_answer_of_another_hmac_is_ours() {
        // Python: hmac.new(b'key', b'checkout\n{}', hashlib.sha256).hexdigest()
        let expected = "v1=1cfb1f278a11c349003b38236d0f0cdb45c7b3f60627f6d00ada83b01e2da636";
        assert_eq!(sign(b"key", &service(), b"{}"), expected);
    }

    #[test]
    fn the_canonical_form_has_sorted_keys_no_space_and_no_mac() {
        let datagram = br#"{ "token": 1, "mac": "v1=00", "service": "s", "boot": "1" }"#;
        let form = canonical(datagram).expect("a JSON object");
        assert_eq!(form, br#"{"boot":"1","service":"s","token":1}"#);
        assert!(canonical(b"[1]").is_err());
    }
}
