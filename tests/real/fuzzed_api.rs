//! The gate's API under a stranger's eyes: Schemathesis reads `/openapi.json` and sends what it
//! allows, what it nearly allows and what it does not, with the token of every role.
//!
//! No answer may be an error of the server, and each must be one that the document tells: status,
//! content type, headers and body. `HOLDPOINT_SCHEMATHESIS=N` sends N cases per call and role.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::stack::Stack;

const WHAT: &str = "send the gate whatever its own document allows";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method";
/// Cases per call and role.
const CASES: &str = "12";

const POLICY: &str = r#"dwell_ms = 500

[[service]]
name = "checkout"
revert = { exec = ["/bin/true"] }
"#;

/// `schemathesis`, beside the Python of `HOLDPOINT_PYTHON` or on the path.
fn schemathesis() -> Option<PathBuf> {
    let python = std::env::var_os("HOLDPOINT_PYTHON").map(PathBuf::from);
    let beside = python.and_then(|python| Some(python.parent()?.join("schemathesis")));
    let program = beside.unwrap_or_else(|| PathBuf::from("schemathesis"));
    let found = Command::new(&program).arg("--version").stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success()).then_some(program)
}

fn run(program: &Path, stack: &Stack, role: &str, cases: &str) {
    let gate = stack.address("gate", "listen").expect("the gate runs");
    let path = stack.data().join(format!("tokens/{role}.token"));
    let token = std::fs::read_to_string(path).expect("the first start made it");
    let ended = Command::new(program)
        .current_dir(stack.data())
        .args(["run", &format!("http://{gate}/openapi.json"), "--checks", CHECKS])
        .args(["--header", &format!("Authorization: Bearer {}", token.trim())])
        .args(["--phases", "coverage,fuzzing", "--max-examples", cases, "--seed", "7"])
        .args(["--continue-on-failure", "--suppress-health-check", "all", "--no-color"])
        // Revoking is tried by the walk of the roles; here it would end the run.
        .args(["--exclude-method", "DELETE"])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&ended.stdout);
    let tried = told.lines().find(|line| line.contains(" generated, ")).unwrap_or_default().trim();
    println!("{role}: {tried}");
    assert!(ended.status.success(), "{role}\n{told}\n{}", String::from_utf8_lossy(&ended.stderr));
    assert!(!tried.is_empty(), "it tried nothing\n{told}");
    assert!(!told.contains("Unresolvable"), "the document refers to what is not in it\n{told}");
}

#[test]
fn no_request_that_the_document_allows_or_forbids_gets_an_answer_it_does_not_tell() {
    let Some(program) = schemathesis() else {
        return crate::skip("schemathesis", WHAT);
    };
    let cases = std::env::var("HOLDPOINT_SCHEMATHESIS").unwrap_or_else(|_| CASES.to_owned());
    let stack = Stack::start(POLICY);
    for role in ["viewer", "agent", "operator", "watchdog"] {
        run(&program, &stack, role, &cases);
    }
}
