//! The recipes for the way back: each table is a good configuration, and each script calls its
//! rollout system as it should.
//!
//! Git is run for real. The other systems are not here; programs of their names on the `PATH` write
//! down how they were called.
//!
//! Invariant: a dry run calls nothing that changes something.

#![allow(clippy::unwrap_used, reason = "in a test a panic with its place is the message")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const EXE: &str = env!("CARGO_BIN_EXE_holdpoint");
const INSTALLED: &str = "/etc/holdpoint/recipes";
const FAKES: [&str; 6] = ["docker", "systemctl", "kubectl", "kamal", "coolify", "dokku"];

/// For each recipe: what a dry run calls, and what the way back to `r1` calls.
const CALLS: [(&str, &[&str], &[&str]); 7] = [
    (
        "docker-compose",
        &["docker compose config --quiet"],
        &["REVISION=r1 docker compose up --detach --no-deps --wait checkout"],
    ),
    (
        "systemd",
        &["systemctl cat checkout.service"],
        &["systemctl restart checkout.service", "systemctl is-active --quiet checkout.service"],
    ),
    (
        "kubernetes",
        &["kubectl --namespace shop auth can-i patch deployment/checkout --quiet"],
        &[
            "kubectl --namespace shop set image deployment/checkout \
             app=registry.example/checkout:r1",
            "kubectl --namespace shop rollout status deployment/checkout --timeout=60s",
        ],
    ),
    (
        "argo-rollouts",
        &["kubectl --namespace shop auth can-i patch rollouts.argoproj.io/checkout --quiet"],
        &[
            "kubectl argo rollouts --namespace shop abort checkout",
            "kubectl argo rollouts --namespace shop set image checkout \
             app=registry.example/checkout:r1",
            "kubectl argo rollouts --namespace shop promote checkout --full",
            "kubectl argo rollouts --namespace shop status checkout --timeout 60s",
        ],
    ),
    (
        "kamal",
        &["kamal app version --destination=production"],
        &["kamal rollback r1 --destination=production"],
    ),
    ("coolify", &["coolify app get k8c4wo0g"], &["coolify deploy uuid k8c4wo0g --docker-tag r1"]),
    (
        "dokku",
        &["dokku apps:exists checkout"],
        &["dokku git:from-image checkout registry.example/checkout:r1"],
    ),
];

fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/recipes")
}

/// The command of a recipe, with its script where it stands here and `/srv` in `home`.
fn argv(name: &str, home: &Path) -> Vec<String> {
    let text = fs::read_to_string(recipes().join(format!("{name}.toml"))).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let exec = table["service"][0]["revert"]["exec"].as_array().unwrap();
    let here = recipes().display().to_string();
    let srv = home.join("srv").display().to_string();
    let argument = |value: &toml::Value| {
        value.as_str().unwrap().replace(INSTALLED, &here).replace("/srv", &srv)
    };
    exec.iter().map(argument).collect()
}

fn run(argv: &[String], home: &Path, variables: &[(&str, &str)]) -> Output {
    let path = format!("{}:/usr/bin:/bin", home.join("bin").display());
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).env_clear().env("PATH", path).env("HOME", home);
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    command.envs([
        ("HOLDPOINT_ROLLOUT", "r-000007"),
        ("HOLDPOINT_SERVICE", "checkout"),
        ("HOLDPOINT_GENERATION", "1"),
        ("HOLDPOINT_EFFECT_ID", "e-000009"),
    ]);
    command.envs(variables.iter().copied()).output().unwrap()
}

/// A directory with programs that write down how they were called.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join("bin")).unwrap();
    for place in ["srv/shop", "srv/checkout/releases/r1", "srv/checkout/releases/r2"] {
        fs::create_dir_all(home.path().join(place)).unwrap();
    }
    for name in FAKES {
        let program = home.path().join("bin").join(name);
        let log = home.path().join("calls");
        let script = format!(
            "#!/bin/sh\necho \"${{REVISION:+REVISION=$REVISION }}{name} $*\" >> {}\n",
            log.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    home
}

fn calls(home: &Path) -> Vec<String> {
    let text = fs::read_to_string(home.join("calls")).unwrap_or_default();
    drop(fs::remove_file(home.join("calls")));
    text.lines().map(str::to_owned).collect()
}

fn assert_done(name: &str, ended: &Output) {
    assert!(ended.status.success(), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn every_recipe_is_a_good_configuration() {
    let mut checked = 0;
    for entry in fs::read_dir(recipes()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            let check = ["config", "check", "--config", path.to_str().unwrap()];
            let ended = Command::new(EXE).args(check).env_clear().output().unwrap();
            assert_done(path.to_str().unwrap(), &ended);
            checked += 1;
        }
    }
    assert_eq!(checked, CALLS.len() + 1);
}

#[test]
fn every_script_calls_its_system_and_changes_nothing_in_a_dry_run() {
    for (name, tries, goes) in CALLS {
        let home = home();
        let home = home.path();
        let argv = argv(name, home);
        let variables = [("HOLDPOINT_DRY_RUN", "1"), ("HOLDPOINT_TO", "")];
        assert_done(name, &run(&argv, home, &variables));
        assert_eq!(calls(home), tries, "{name}, dry run");
        for time in ["first", "second"] {
            let variables = [("HOLDPOINT_FROM", "r2"), ("HOLDPOINT_TO", "r1")];
            assert_done(name, &run(&argv, home, &variables));
            assert_eq!(calls(home), goes, "{name}, {time} time");
        }
    }
}

#[test]
fn the_link_of_a_systemd_release_points_at_the_revision_to_go_back_to() {
    let home = home();
    let argv = argv("systemd", home.path());
    let link = home.path().join("srv/checkout/current");
    std::os::unix::fs::symlink("releases/r2", &link).unwrap();
    let variables = [("HOLDPOINT_FROM", "r2"), ("HOLDPOINT_TO", "r1")];
    assert_done("systemd", &run(&argv, home.path(), &variables));
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("releases/r1"));
    let missing = [("HOLDPOINT_DRY_RUN", "1"), ("HOLDPOINT_TO", "r9")];
    assert!(!run(&argv, home.path(), &missing).status.success(), "a release that is not there");
}

#[test]
fn git_takes_the_commits_back_on_a_branch_of_its_own_as_often_as_it_is_told() {
    let home = home();
    let at = |arguments: &str, place: &str| {
        let argv: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        fs::create_dir_all(home.path().join(place)).unwrap();
        let ended = Command::new("git")
            .args(&argv)
            .current_dir(home.path().join(place))
            .env("HOME", home.path())
            .output()
            .unwrap();
        assert_done(arguments, &ended);
        String::from_utf8(ended.stdout).unwrap().trim().to_owned()
    };
    fs::write(
        home.path().join(".gitconfig"),
        "[user]\nname = gate\nemail = gate@example.org\n[init]\ndefaultBranch = main\n",
    )
    .unwrap();
    at("init -q --bare", "origin");
    let origin = home.path().join("origin").display().to_string();
    at(&format!("clone -q {origin} checkout.git"), "srv");
    for (revision, text) in [("r1", "good"), ("r2", "bad")] {
        fs::write(home.path().join("srv/checkout.git/app"), text).unwrap();
        at("add app", "srv/checkout.git");
        at(&format!("commit -q -m {revision}"), "srv/checkout.git");
        at(&format!("tag {revision}"), "srv/checkout.git");
    }
    at("push -q --tags origin HEAD:main", "srv/checkout.git");

    let argv = argv("git", home.path());
    let dry = [("HOLDPOINT_DRY_RUN", "1"), ("HOLDPOINT_TO", "")];
    assert_done("git", &run(&argv, home.path(), &dry));
    assert_eq!(at("for-each-ref --format=%(refname:short) refs/heads", "origin"), "main");
    for _ in 0..2 {
        let variables = [("HOLDPOINT_FROM", "r2"), ("HOLDPOINT_TO", "r1")];
        assert_done("git", &run(&argv, home.path(), &variables));
    }
    let branch = "holdpoint/revert-r-000007-1";
    assert_eq!(at(&format!("show {branch}:app"), "origin"), "good");
    assert_eq!(at(&format!("rev-list --count main..{branch}"), "origin"), "1");
    assert_eq!(at("show main:app", "origin"), "bad", "nobody's branch was touched");
}
