//! A gate to test: started in a directory of its own, called over HTTP as each role.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_gate::config::StoreKind;
use agent_gate::{
    BootstrapToken, Config, Policy, Role, RunError, ServiceConfig, StartError, Wiring, bind,
};
use ed25519_dalek::SigningKey;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use watchdog_core::names::Boot;

/// Longer than anything takes on a busy machine; only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const SERVICE: &str = "checkout";

/// The test watchdog's name and key.
pub const WATCHDOG: &str = "w1";
pub fn watchdog_key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

pub const PERMIT_SEED: [u8; 32] = [6; 32];

/// Times that fit a test: short, and yet far above a busy machine's hiccups where it matters.
pub fn policy() -> Policy {
    Policy {
        dwell_ms: 150,
        bake_ms: 300,
        permit_ttl_ms: 5_000,
        evidence_min: 20,
        error_share_max: 0.2,
        appear_ms: 10_000,
        gap_max_ms: 10_000,
        revert_deadline_ms: 10_000,
        revert_backoff_ms: 50,
        ..Policy::default()
    }
}

/// A service whose revert appends its environment to `reverts` in the directory and then switches
/// the world back by the file `running`.
pub fn service(directory: &Path, name: &str) -> ServiceConfig {
    let script = format!(
        "echo \"$HOLDPOINT_ROLLOUT $HOLDPOINT_SERVICE $HOLDPOINT_FROM $HOLDPOINT_TO \
         $HOLDPOINT_GENERATION $HOLDPOINT_EFFECT_ID ${{HOLDPOINT_DRY_RUN:-real}}\" >> {0}/reverts",
        directory.display()
    );
    serde_json::from_value(json!({
        "name": name,
        "revert": {"exec": ["/bin/sh", "-c", script], "timeout_ms": 10_000},
    }))
    .expect("a service table")
}

pub fn wiring(store: PathBuf) -> Wiring {
    let token = |role: Role| BootstrapToken {
        name: role.to_string(),
        role,
        secret: format!("secret of the {role}"),
    };
    Wiring {
        boot: Boot::new("1700000000000-gate").expect("a boot"),
        store,
        permit_key: PERMIT_SEED,
        watchdog_keys: BTreeMap::from([(
            WATCHDOG.to_owned(),
            watchdog_key().verifying_key().to_bytes(),
        )]),
        tokens: Role::ALL.map(token).to_vec(),
    }
}

pub fn config() -> Config {
    Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() }
}

/// Whether this is the run of the suite on PostgreSQL.
const ON_POSTGRES: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"gate_on_postgres");

/// On PostgreSQL with a database of its own, and a lease that a test can wait for.
fn config_of_the_run() -> Config {
    if !ON_POSTGRES {
        return config();
    }
    let Some(url) = crate::server::database() else {
        // Where there is none the whole run is skipped, which was said.
        std::process::exit(0);
    };
    let store = StoreKind::try_from(url).expect("a URL");
    Config { store, lease_ms: 4_000, ..config() }
}

/// A running gate.
pub struct Stand {
    pub directory: TempDir,
    pub url: String,
    config: Config,
    policy: Policy,
    services: Vec<ServiceConfig>,
    run: Option<JoinHandle<Result<(), RunError>>>,
    shutdown: CancellationToken,
    client: reqwest::Client,
}

impl Stand {
    pub async fn start() -> Self {
        Self::with(policy(), |directory| vec![service(directory, SERVICE)]).await
    }

    pub async fn with(policy: Policy, services: impl FnOnce(&Path) -> Vec<ServiceConfig>) -> Self {
        Self::configured(policy, services, |config, _| config).await
    }

    /// With what `change` makes of the configuration.
    pub async fn configured(
        policy: Policy,
        services: impl FnOnce(&Path) -> Vec<ServiceConfig>,
        change: impl FnOnce(Config, &Path) -> Config,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let services = services(directory.path());
        let config = change(config_of_the_run(), directory.path());
        let mut stand = Self {
            directory,
            url: String::new(),
            config,
            policy,
            services,
            run: None,
            shutdown: CancellationToken::new(),
            client: reqwest::Client::new(),
        };
        stand.run().await.expect("a gate starts");
        stand
    }

    pub fn store(&self) -> PathBuf {
        self.directory.path().join("gate.db")
    }

    async fn run(&mut self) -> Result<(), StartError> {
        let bound = bind(self.config.clone(), self.policy.clone(), self.services.clone()).await?;
        self.url = format!("http://{}", bound.address());
        self.shutdown = CancellationToken::new();
        let run = bound.run(wiring(self.store()), self.shutdown.clone());
        self.run = Some(tokio::spawn(run));
        eventually("the gate is ready", || async {
            let has_ended = self.run.as_ref().is_some_and(JoinHandle::is_finished);
            assert!(!has_ended, "the gate ended before it was ready");
            (self.get(None, "/readyz").await.0 == 200).then_some(())
        })
        .await;
        Ok(())
    }

    /// Ends the gate as a clean stop does, and starts another on the same store.
    pub async fn restart(&mut self) {
        self.stop().await.expect("a clean stop");
        self.run().await.expect("a gate starts");
    }

    /// Drops the gate where it stands, as a crash does, and starts another on the same store.
    pub async fn crash(&mut self) {
        let run = self.run.take().expect("a running gate");
        run.abort();
        assert!(run.await.expect_err("it was aborted").is_cancelled());
        self.run().await.expect("a gate starts");
    }

    pub async fn stop(&mut self) -> Result<(), RunError> {
        self.shutdown.cancel();
        self.run.take().expect("a running gate").await.expect("the gate does not panic")
    }

    /// Takes a table away under the gate.
    pub async fn break_store(&self) {
        use sqlx::{Connection, PgConnection, SqliteConnection};
        match &self.config.store {
            StoreKind::Sqlite => {
                let url = format!("sqlite://{}", self.store().display());
                let mut other = SqliteConnection::connect(&url).await.expect("the store");
                sqlx::query("DROP TABLE rollouts").execute(&mut other).await.expect("dropped");
                other.close().await.expect("closed");
            }
            StoreKind::Postgres(url) => {
                let mut other = PgConnection::connect(&url.0).await.expect("the store");
                let drop = sqlx::query("DROP TABLE holdpoint.rollouts");
                drop.execute(&mut other).await.expect("dropped");
                other.close().await.expect("closed");
            }
        }
    }

    /// How the gate ended by itself.
    pub async fn ended(&mut self) -> Result<(), RunError> {
        let run = self.run.take().expect("a running gate");
        tokio::time::timeout(PATIENCE, run)
            .await
            .expect("the gate ends")
            .expect("the gate does not panic")
    }

    pub async fn get(&self, role: Option<Role>, path: &str) -> (u16, Value) {
        self.call(role, Method::GET, path, None).await
    }

    pub async fn post(&self, role: Role, path: &str, body: Value) -> (u16, Value) {
        self.call(Some(role), Method::POST, path, Some(body.to_string().into_bytes())).await
    }

    /// Status and JSON body of one call; `null` if there is no JSON in it or nobody answers (then
    /// with status 0).
    pub async fn call(
        &self,
        role: Option<Role>,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(role) = role {
            request = request.bearer_auth(format!("secret of the {role}"));
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        match request.send().await {
            Ok(response) => (response.status().as_u16(), response.json().await.unwrap_or_default()),
            Err(_) => (0, Value::Null),
        }
    }

    /// A request for a rollout of [`SERVICE`] from `r1` to `r2`.
    pub async fn request(&self, change: &str) -> (u16, Value) {
        self.post(Role::Agent, "/v1/rollouts", request_body(change)).await
    }

    /// Asks until the decision is `allow`.
    pub async fn allowed(&self, change: &str) -> Value {
        eventually("the rollout is allowed", || async {
            let (status, answer) = self.request(change).await;
            assert_eq!(status, 200, "{answer}");
            (answer["decision"] == "allow").then_some(answer)
        })
        .await
    }

    /// From a request to `baking`; the answer to `applied`.
    pub async fn applied(&self, change: &str) -> Value {
        let allowed = self.allowed(change).await;
        let id = id(&allowed);
        let epoch = &allowed["permit"]["epoch"];
        let path = format!("/v1/rollouts/{id}/renew");
        let (status, renewed) = self.post(Role::Agent, &path, json!({"epoch": epoch})).await;
        assert_eq!((status, &renewed["decision"]), (200, &json!("allow")), "{renewed}");
        let epoch = &renewed["permit"]["epoch"];
        let path = format!("/v1/rollouts/{id}/applied");
        let (status, applied) = self.post(Role::Agent, &path, json!({"epoch": epoch})).await;
        assert_eq!((status, &applied["rollout"]["state"]), (200, &json!("baking")), "{applied}");
        applied
    }

    /// Waits until the rollout is in `state`.
    pub async fn reaches(&self, id: &str, state: &str) -> Value {
        let path = format!("/v1/rollouts/{id}");
        eventually(&format!("{id} is {state}"), || async {
            let (_, rollout) = self.get(Some(Role::Viewer), &path).await;
            (rollout["state"] == state).then_some(rollout)
        })
        .await
    }

    pub async fn freezes(&self) -> Vec<Value> {
        let (status, list) = self.get(Some(Role::Viewer), "/v1/freezes").await;
        assert_eq!(status, 200, "{list}");
        list["items"].as_array().expect("a list").clone()
    }

    /// The lines the revert command wrote, dry runs left out.
    pub fn reverts(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("reverts"));
        let text = text.unwrap_or_default();
        text.lines().filter(|line| line.ends_with(" real")).map(str::to_owned).collect()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            run.abort();
        }
    }
}

pub fn request_body(change: &str) -> Value {
    json!({
        "change_id": change, "service": SERVICE, "from": "r1", "to": "r2",
        "digest": format!("sha256:{change}"), "agent": "improver", "summary": "cache more",
    })
}

pub fn id(answer: &Value) -> String {
    answer["rollout"]["id"].as_str().expect("an answer names its rollout").to_owned()
}

/// The code of the first reason.
pub fn code(answer: &Value) -> &str {
    answer["reasons"][0]["code"].as_str().expect("an answer has a reason")
}

/// Asks until `what` is so.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let asked = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(found) => found,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}
