//! The house rules that a program can see: how files begin, how long they are, which crate may
//! know which, and that no text of unfinished work is left.
//!
//! A rule that nobody checks is a wish. Each check names the file and line, so that the person who
//! reads the failure knows where to go.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const LINE_COLUMNS_MAX: usize = 100;
const README_LINES_MAX: usize = 200;

/// What each crate may depend on among our own: shells never know shells, cores know only cores.
const EDGES: [(&str, &[&str]); 9] = [
    ("watchdog/core", &[]),
    ("watchdog/beat", &["watchdog-core"]),
    ("agent-gate/core", &["watchdog-core"]),
    ("collector/door", &[]),
    ("collector", &["watchdog-core", "front-door"]),
    ("watchdog/outside", &["front-door"]),
    ("watchdog", &["watchdog-core", "front-door", "outside"]),
    ("agent-gate", &["agent-gate-core", "watchdog-core", "front-door", "outside"]),
    (
        ".",
        &[
            "agent-gate",
            "agent-gate-core",
            "collector",
            "front-door",
            "outside",
            "watchdog",
            "watchdog-core",
        ],
    ),
];

const OURS: [&str; 8] = [
    "agent-gate",
    "agent-gate-core",
    "collector",
    "front-door",
    "holdpoint-beat",
    "outside",
    "watchdog",
    "watchdog-core",
];

/// The pure crates may know these and nothing else: no runtime, no I/O, no clock.
const PURE: [&str; 4] = ["serde", "serde_json", "sha2", "loom"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the workspace, with its path relative to the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["src", "tests", "collector", "watchdog", "agent-gate"] {
        walk(&root().join(folder), &mut found);
    }
    assert!(found.len() > 30, "the walk finds the sources: {}", found.len());
    found
}

fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("read {}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if !path.ends_with("target") {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("a source is UTF-8");
            let name = path.strip_prefix(root()).expect("below the root").display().to_string();
            found.push((name, text));
        }
    }
}

fn is_test(name: &str) -> bool {
    name.starts_with("tests/")
        || name.contains("/tests/")
        || name.ends_with("/tests.rs")
        || name.contains("/benches/")
        || name.contains("/examples/")
}

/// The lines of a file before its test module, numbered from 1.
fn lines_outside_tests<'a>(name: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    if is_test(name) {
        return Vec::new();
    }
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .collect()
}

fn refuse(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

#[test]
fn every_file_says_first_what_it_is() {
    let faults: Vec<_> = sources()
        .into_iter()
        .filter(|(name, text)| !text.starts_with("//!") && !name.ends_with("build.rs"))
        .map(|(name, _)| name)
        .collect();
    refuse("every file begins with //!", &faults);
}

#[test]
fn no_file_is_too_long_to_read() {
    let faults: Vec<_> = sources()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    refuse("a file has at most 500 lines", &faults);
}

#[test]
fn no_line_is_too_wide_to_read() {
    let mut faults = Vec::new();
    for (name, text) in sources() {
        for (index, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_COLUMNS_MAX {
                faults.push(format!("{name}:{}", index + 1));
            }
        }
    }
    refuse("a line has at most 100 columns", &faults);
}

#[test]
fn modules_are_named_files() {
    let faults: Vec<_> = sources()
        .into_iter()
        .filter(|(name, _)| name.ends_with("/mod.rs"))
        .map(|(name, _)| name)
        .collect();
    refuse("foo.rs and foo/, never mod.rs", &faults);
}

#[test]
fn nothing_is_unwrapped_or_left_unfinished() {
    let unfinished =
        ["todo!(", "unimplemented!(", "TODO", "FIXME", "for now", "placeholder", "XXX"];
    let mut faults = Vec::new();
    for (name, text) in sources() {
        if name == "tests/tidy.rs" {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            // A loop `for now in …` is finished.
            let line = line.replace("for now in ", "");
            if unfinished.iter().any(|word| line.contains(word)) {
                faults.push(format!("{name}:{}: words of unfinished work", index + 1));
            }
            if line.contains("#[ignore") {
                faults.push(format!("{name}:{}: an ignored test", index + 1));
            }
        }
        for (number, line) in lines_outside_tests(&name, &text) {
            if line.contains(".unwrap()") && !line.trim_start().starts_with("//") {
                faults.push(format!("{name}:{number}: unwrap outside tests"));
            }
        }
    }
    refuse("finish it, and say why it cannot happen", &faults);
}

#[test]
fn absence_is_never_a_number_in_a_core() {
    let mut faults = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| name.contains("core/src")) {
        for (number, line) in lines_outside_tests(&name, &text) {
            if line.contains("unwrap_or(0") || line.contains("unwrap_or_default()") {
                faults.push(format!("{name}:{number}"));
            }
        }
    }
    refuse("invariant 1: no core turns `None` into 0", &faults);
}

#[test]
fn the_cores_read_no_clock_and_touch_no_world() {
    let worldly = [
        "std::time::",
        "std::net::",
        "std::fs::",
        "std::process::",
        "std::env::",
        "Instant::now",
        "SystemTime",
        "HashMap",
        "tokio::",
        "tracing::",
        "println!",
    ];
    let mut faults = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| name.contains("core/src")) {
        for (number, line) in lines_outside_tests(&name, &text) {
            let code = line.split("//").next().expect("split yields at least one part");
            if worldly.iter().any(|word| code.contains(word)) {
                faults.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    refuse("invariant 8: a core is pure, and iterates in order", &faults);
}

#[test]
fn the_glossary_is_the_language() {
    let vague = ["manager", "handler", "helper", "util", "common"];
    let faults: Vec<_> = sources()
        .into_iter()
        .filter(|(name, _)| {
            let stem = Path::new(name).file_stem().expect("a file").to_string_lossy();
            vague.iter().any(|word| stem == *word || stem == format!("{word}s"))
        })
        .map(|(name, _)| name)
        .collect();
    refuse("a file is named after its one noun", &faults);
}

fn dependencies(folder: &str) -> Vec<String> {
    let path = root().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).expect("a crate has a Cargo.toml");
    let table: toml::Table = text.parse().expect("Cargo.toml is TOML");
    let mut names: Vec<String> = Vec::new();
    if let Some(dependencies) = table.get("dependencies").and_then(|value| value.as_table()) {
        names.extend(dependencies.keys().cloned());
    }
    names
}

#[test]
fn shells_do_not_know_shells_and_cores_are_alone() {
    let mut faults = Vec::new();
    for (folder, allowed) in EDGES {
        for dependency in dependencies(folder) {
            let is_ours = OURS.contains(&dependency.as_str());
            if is_ours && !allowed.contains(&dependency.as_str()) {
                faults.push(format!("{folder} depends on {dependency}"));
            }
            let is_core = folder.ends_with("/core");
            if is_core && !is_ours && !PURE.contains(&dependency.as_str()) {
                faults.push(format!("{folder} is pure and depends on {dependency}"));
            }
        }
    }
    refuse("the crate border keeps the judge pure", &faults);
}

#[test]
fn the_median_file_is_short() {
    let mut lengths: Vec<_> = sources().into_iter().map(|(_, text)| text.lines().count()).collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= 260, "the median file has {median} lines; split by nouns");
}

#[test]
fn the_readme_fits_a_reader() {
    let text = fs::read_to_string(root().join("README.md")).expect("a README");
    assert!(text.lines().count() <= README_LINES_MAX, "README has at most 200 lines");
    for command in ["cargo run --release -- up", "cargo test --workspace"] {
        assert!(text.contains(command), "README opens with `{command}`");
    }
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut faults = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root().join(document)).expect("the document exists");
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().expect("split yields at least one part");
            let file = target.split('#').next().expect("split yields at least one part");
            if !file.is_empty() && !file.contains("://") && !root().join(file).exists() {
                faults.push(format!("{document}: {target}"));
            }
        }
    }
    refuse("a link leads to a file", &faults);
}

#[test]
fn every_test_that_the_threats_name_exists() {
    let text = fs::read_to_string(root().join("docs/threats.md")).expect("the document exists");
    let sources = sources();
    let named = text.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() >= 3);
    let missing = |name: &&str| {
        let function = format!("fn {name}(");
        !sources.iter().any(|(_, text)| text.contains(&function))
    };
    let faults: Vec<_> = named.filter(missing).map(str::to_owned).collect();
    refuse("a defence is shown by a test that is there", &faults);
}

#[test]
fn no_dependency_stands_in_two_major_versions_without_a_reason() {
    // Each of these is pulled in by a dependency we cannot change; a new one needs a look first.
    let known: BTreeMap<&str, &str> = BTreeMap::from([
        ("bit-vec", "rcgen against proptest (tests only)"),
        ("block-buffer", "sqlx hashes with sha2 0.10"),
        ("cpufeatures", "sqlx hashes with sha2 0.10"),
        ("crypto-common", "sqlx hashes with sha2 0.10"),
        ("digest", "sqlx hashes with sha2 0.10"),
        ("sha2", "sqlx hashes with sha2 0.10"),
        ("base64", "sqlx"),
        ("hashbrown", "sqlx and indexmap move apart"),
        ("getrandom", "proptest and its rand 0.9 (tests only)"),
        ("rand", "proptest (tests only) against the exporters' retry jitter"),
        ("rand_core", "proptest (tests only)"),
        ("r-efi", "getrandom on a target that is not ours"),
        ("synstructure", "derive macros move to syn 3 one by one"),
        ("syn", "derive macros move to syn 3 one by one"),
    ]);
    let text = fs::read_to_string(root().join("Cargo.lock")).expect("a lock file");
    let lock: toml::Table = text.parse().expect("Cargo.lock is TOML");
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock["package"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name").to_owned();
        let version = package["version"].as_str().expect("a version").to_owned();
        versions.entry(name).or_default().push(version);
    }
    let faults: Vec<_> = versions
        .into_iter()
        .filter(|(name, all)| all.len() > 1 && !known.contains_key(name.as_str()))
        .filter(|(name, _)| !name.starts_with("windows") && !name.starts_with("wasi"))
        .map(|(name, all)| format!("{name}: {}", all.join(", ")))
        .collect();
    refuse("one version of each dependency", &faults);
}
