//! Tests of the data directory.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use watchdog_core::names::{Boot, Service};

use super::run_file::start_ticks;
use super::{Listen, Place, PlaceError, RoleRun, own_start_ticks};

fn place() -> (tempfile::TempDir, Place) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::create(dir.path().join("place")).unwrap();
    (dir, place)
}

#[test]
fn secrets_are_made_once_and_are_for_their_owner_alone() {
    let (_dir, place) = place();
    let key = place.signing_key("permit").unwrap();
    assert_eq!(place.signing_key("permit").unwrap(), key);
    let tokens = place.tokens().unwrap();
    assert_eq!(place.tokens().unwrap(), tokens);
    assert_eq!(tokens.len(), 4);
    assert_eq!(place.token("agent").unwrap(), tokens["agent"]);
    assert_eq!(place.exposed(), Vec::<std::path::PathBuf>::new());

    let token = place.token_path("operator");
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(place.exposed(), [token]);
}

#[test]
fn a_broken_key_stops_the_start_and_is_not_replaced() {
    let (_dir, place) = place();
    let path = place.root().join("keys/permit.key");
    std::fs::write(&path, "not hex").unwrap();
    assert!(matches!(place.signing_key("permit"), Err(PlaceError::Malformed { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "not hex");
}

#[test]
fn a_broken_beat_key_refuses_beats_instead_of_accepting_unsigned_ones() {
    let (_dir, place) = place();
    let service = Service::new("shop/checkout").unwrap();
    assert_eq!(place.beat_key(&service), None);
    let path = place.root().join("keys/beats/shop%2Fcheckout.key");
    std::fs::write(&path, "00ff\n").unwrap();
    assert_eq!(place.beat_key(&service), Some(vec![0, 255]));
    std::fs::write(&path, "zz").unwrap();
    assert_eq!(place.beat_key(&service).unwrap().len(), 32);
}

#[test]
fn the_second_gate_in_a_directory_is_refused() {
    let (_dir, place) = place();
    let first = place.lock("gate").unwrap();
    assert!(matches!(place.lock("gate"), Err(PlaceError::Held { role: "gate", .. })));
    assert!(place.lock("watchdog").is_ok());
    drop(first);
    assert!(place.lock("gate").is_ok());
}

#[test]
fn a_run_file_names_one_process_for_ever() {
    let (_dir, place) = place();
    let listen: SocketAddr = "127.0.0.1:7".parse().unwrap();
    let boot = Boot::new("1").unwrap();
    let pid = std::process::id();
    let run = Listen { pid, start_ticks: own_start_ticks(), boot, listen };
    place.write_run("gate", &run).unwrap();
    assert_eq!(place.run::<Listen>("gate").unwrap(), run);
    assert!(run.exists());

    let other = Listen { start_ticks: run.start_ticks + 1, ..run };
    assert!(!other.exists(), "a recycled pid is not the old process");
    place.write_run("gate", &other).unwrap();
    place.remove_run::<Listen>("gate");
    assert!(place.run::<Listen>("gate").is_some(), "another process's file stays");
    assert_eq!(start_ticks(u32::MAX), None);
}

#[test]
fn a_file_in_place_of_the_directory_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "").unwrap();
    let error = Place::create(&path).unwrap_err();
    assert!(matches!(error, PlaceError::NotADirectory { .. }), "{error}");
    assert!(error.to_string().contains("--data-dir"));
}

#[test]
fn what_is_known_of_services_is_kept_and_a_damaged_file_is_put_aside() {
    let (dir, place) = place();
    assert_eq!(place.recall_services().unwrap(), Vec::new());
    let known = vec![watchdog_core::watch::Remembered {
        service: "shop/checkout".parse().unwrap(),
        environment: "test".parse().unwrap(),
        expect: [watchdog_core::tally::Signal::Traces].into(),
    }];
    place.keep_services(&known).unwrap();
    assert_eq!(place.recall_services().unwrap(), known);

    let path = place.root().join("services.json");
    std::fs::write(&path, "{").unwrap();
    assert_eq!(place.recall_services().unwrap(), Vec::new());
    assert!(!path.exists() && place.root().join("services.json.damaged").exists());
    drop(dir);
}
