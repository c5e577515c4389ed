//! What own telemetry must never do: speak unasked, speak to itself, or hold anything up.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::process::Process;
use super::taken::Taken;
use super::wait;

/// What a stop may take longer because of telemetry.
const STOP_LONGER_MAX: Duration = Duration::from_millis(1_500);

fn towards(endpoint: &str) -> String {
    format!("[telemetry]\nendpoint = \"{endpoint}\"\ninterval_ms = 100\n")
}

/// The names of the threads of a process.
fn threads(process: &Process) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
    tasks.filter_map(|task| name(task.ok()?).ok()).map(|name| name.trim().to_owned()).collect()
}

fn speaks(process: &Process) -> bool {
    let ours = |name: &String| name == "telemetry" || name.starts_with("OpenTelemetry");
    threads(process).iter().any(ours)
}

/// A server that says 200 to everything, and the heads of what it was asked.
fn listener() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, (heads, seen)) = (listener.local_addr().unwrap(), mpsc::channel());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut bytes = Vec::new();
            while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
                let mut some = [0; 4_096];
                match stream.read(&mut some) {
                    Ok(read @ 1..) => bytes.extend(&some[..read]),
                    Ok(0) | Err(_) => break,
                }
            }
            let _ = heads.send(String::from_utf8_lossy(&bytes).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    (at, seen)
}

#[test]
fn the_variables_of_otel_do_not_turn_it_on_and_add_nothing_to_it() {
    let (elsewhere, asked) = listener();
    let url = format!("http://{elsewhere}");
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-from-environment=1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "50"),
    ];
    let mut quiet = Process::new("collector", "");
    // The exporters of what is forwarded do obey them.
    let text = fs::read_to_string(quiet.config()).unwrap();
    fs::write(quiet.config(), text.replace("otel_environment = false\n", "")).unwrap();
    quiet.start(&env);
    assert!(!speaks(&quiet), "{:?}", threads(&quiet));
    quiet.stop();
    assert!(asked.try_recv().is_err(), "nothing was said, not even at the end");

    let (backend, heard) = listener();
    let mut speaker = Process::new("collector", &towards(&format!("http://{backend}")));
    speaker.start(&env);
    assert!(speaks(&speaker), "{:?}", threads(&speaker));
    for _ in 0..3 {
        let head = heard.recv_timeout(super::PATIENCE).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("post /v1/"), "{head}");
        assert!(!head.contains("x-from-environment"), "{head}");
    }
    assert!(asked.try_recv().is_err(), "it went where [telemetry] says");
}

#[test]
fn an_endpoint_that_is_the_collector_itself_is_refused() {
    let mut own = Process::new("collector", "");
    own.start(&[]);
    let (http, grpc) =
        (own.address("collector", "http").unwrap(), own.address("collector", "grpc").unwrap());
    // Killed, it leaves word of where it was, and the next start is there again.
    own.kill();
    for endpoint in [http, grpc].map(|at| format!("http://localhost:{}", at.port())) {
        own.configure(&towards(&endpoint));
        own.spawn(&[]);
        let status = own.wait_end();
        assert_eq!(status.code(), Some(2), "{}", own.log());
        let why = format!("telemetry.endpoint `{endpoint}` is the collector of this configuration");
        assert!(own.log().contains(&why), "{}", own.log());
    }
    let path = own.dir.path().join("said.toml");
    let said = "[collector]\nhttp_listen = \"0.0.0.0:14318\"\n[telemetry]\n\
                endpoint = \"http://127.0.0.1:14318\"\n";
    fs::write(&path, said).unwrap();
    let check = Command::new(env!("CARGO_BIN_EXE_holdpoint"))
        .args(["config", "check", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(!check.status.success());
    let text = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
    assert!(text.contains("said.toml:4:1: telemetry.endpoint `http://127"), "{text}");
}

#[test]
fn a_dead_backend_costs_a_count_and_holds_up_no_stop() {
    let mut plain = Process::new("collector", "");
    plain.start(&[]);
    let plainly = plain.stop();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Its connections are taken by the system and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for backend in [gone, silent.local_addr().unwrap()] {
        // Longer than a stop may take, or the stop would need no bound.
        let timeout = "timeout_ms = 3000\n";
        let tables = towards(&format!("http://{backend}")) + timeout;
        let mut speaker = Process::new("collector", &tables);
        speaker.start(&[]);
        for signal in ["metrics", "logs", "traces"] {
            let lost = format!(
                "holdpoint_collector_telemetry_dropped_records_total{{signal=\"{signal}\",\
                 reason=\"undelivered\"}}"
            );
            wait(&format!("lost {signal} are counted"), || {
                speaker.metric(&lost).filter(|lost| *lost > 0.0)
            });
        }
        assert!(speaker.page("/healthz").contains("\"ok\""), "the role is as healthy as before");
        let warnings = speaker.log().matches("own telemetry is not taken").count();
        assert_eq!(warnings, 1, "a failure is said once:\n{}", speaker.log());
        let stop = speaker.stop();
        assert!(stop < plainly + STOP_LONGER_MAX, "{stop:?} instead of {plainly:?}");
    }
}

#[test]
fn two_collectors_that_tell_each_other_everything_do_not_feed_on_it() {
    let debug = "[[collector.exporter]]\ntype = \"debug\"\nlines_per_s = 1000\n";
    let mut one = Process::new("collector", debug);
    one.start(&[]);
    let http = |process: &Process| process.address("collector", "http").unwrap();
    let file = "[[collector.exporter]]\ntype = \"file\"\n";
    let mut other = Process::new("collector", "");
    let path = format!("path = \"{}\"\n", other.taken_file().display());
    let back = towards(&format!("http://{}", http(&one)));
    other.configure(&format!("{debug}{file}{path}{back}"));
    // At this level each request is hundreds of lines in the log of each.
    let loud = [("RUST_LOG", "trace")];
    other.start(&loud);
    // Killed, it leaves word of where it was, and the next start is there again.
    one.kill();
    one.configure(&format!("{debug}{}", towards(&format!("http://{}", http(&other)))));
    one.start(&loud);
    let taken = |process: &Process, signal: &str| {
        let series = format!("holdpoint_collector_requests_total{{signal=\"{signal}\"}}");
        process.metric(&series).unwrap()
    };
    for process in [&one, &other] {
        wait("metrics went round many times", || (taken(process, "metrics") >= 30.0).then_some(()));
    }
    for process in [&one, &other] {
        // A start says some ten lines, in a few requests; what goes round says none.
        assert!(taken(process, "logs") <= 8.0, "{} requests", taken(process, "logs"));
        assert!(taken(process, "traces") < 0.8 * taken(process, "metrics"));
    }
    let said = Taken::of(&other, "holdpoint-collector");
    assert!(!said.logs.is_empty() && said.logs.len() < 40, "{} log records", said.logs.len());
    assert!(!said.has_log("passes"), "what passes is no news of the one that it passes");
    let alien =
        |scope: &&String| ["hyper", "h2", "opentelemetry"].iter().any(|it| scope.starts_with(it));
    assert_eq!(said.scopes.iter().find(alien), None);
}
