//! Ten thousand connections that say nothing.

use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::child::Child;

const CROWD: usize = 10_000;

#[test]
fn ten_thousand_idle_connections_do_not_keep_a_client_out() {
    let wanted = CROWD as u64 + 1_000;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        eprintln!("skipped: no process here may have {wanted} files open");
        return;
    }
    let raised = Rlimit { current: Some(wanted), ..limit };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
    let child = Child::start();
    let (cost, crowd) = child.cost(|| {
        let mut crowd: Vec<TcpStream> = Vec::with_capacity(CROWD);
        for n in 0..CROWD {
            crowd.push(child.connect(if n % 2 == 0 { child.http } else { child.grpc }));
            if n % 500 == 0 {
                let waited = child.serves();
                assert!(waited < Duration::from_secs(2), "another waited {waited:?}");
            }
        }
        crowd
    });
    cost.is_within("10 000 idle connections", Duration::from_secs(2), 32);
    drop(crowd);
}
