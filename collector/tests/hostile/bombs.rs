//! Small bodies that become big.

use std::io::Write;
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::bodies::{field, traces_of, varint};
use crate::child::{Child, MIB};

const GIB: usize = 1 << 30;

fn gzip(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    pieces.for_each(|piece| encoder.write_all(&piece).unwrap());
    encoder.finish().unwrap()
}

/// 1 GiB of zeros.
fn zeros() -> impl Iterator<Item = Vec<u8>> {
    std::iter::repeat_n(vec![0; 1 << 20], GIB >> 20)
}

#[test]
fn eighteen_mib_of_empty_spans_in_eighteen_kib_cost_little() {
    let empty = field(2, &[]).repeat(9 << 20);
    let bomb = gzip(std::iter::once(traces_of(&empty)));
    assert!(bomb.len() < 20 << 10, "{}", bomb.len());
    let child = Child::start();
    let (cost, status) =
        child.cost(|| child.post("/v1/traces", &[("content-encoding", "gzip")], &bomb));
    assert_eq!(status, 200);
    cost.is_within("18 KiB to 18 MiB of empty spans", Duration::from_millis(100), 20);
}

#[test]
fn bombs_of_a_gib_stop_at_the_limit_and_many_of_them_at_the_budget() {
    let mut streamed = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zeros().for_each(|piece| streamed.write_all(&piece).unwrap());
    // A frame that tells its size, and is believed only as far as it goes.
    let mut told = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    told.set_pledged_src_size(Some(GIB as u64)).unwrap();
    zeros().for_each(|piece| told.write_all(&piece).unwrap());
    let bombs = [
        ("gzip", gzip(zeros())),
        ("zstd", streamed.finish().unwrap()),
        ("zstd", told.finish().unwrap()),
    ];
    let child = Child::limited(16 << 20, 40 << 20);
    for (encoding, bomb) in &bombs {
        let headers = [("content-encoding", *encoding)];
        let (cost, status) = child.cost(|| child.post("/v1/traces", &headers, bomb));
        assert_eq!(status, 413, "{encoding}");
        let what = format!("1 GiB in {} KiB of {encoding}", bomb.len() >> 10);
        cost.is_within(&what, Duration::from_millis(100), 36);
        let (cost, statuses) = child.cost(|| {
            thread::scope(|scope| {
                let post = || child.post("/v1/traces", &headers, bomb);
                let posts: Vec<_> = (0..16).map(|_| scope.spawn(post)).collect();
                posts.into_iter().map(|post| post.join().unwrap()).collect::<Vec<_>>()
            })
        });
        assert!(statuses.iter().all(|status| [413, 429, 503].contains(status)), "{statuses:?}");
        cost.is_within(&format!("sixteen at a time: {what}"), Duration::from_millis(1_600), 56);
    }
}

#[test]
fn lengths_that_lie_take_no_memory() {
    let child = Child::start();
    let mut huge = vec![0x0a];
    varint(&mut huge, 60 * MIB);
    // A gzip trailer that claims 4 GiB; the content is a few bytes.
    let mut liar = gzip(std::iter::once(crate::bodies::spans(1)));
    let end = liar.len();
    liar[end - 4..].fill(0xff);
    let (cost, ()) = child.cost(|| {
        assert_eq!(child.post("/v1/traces", &[], &huge), 400);
        assert_eq!(child.post("/v1/traces", &[("content-encoding", "gzip")], &liar), 400);
    });
    cost.is_within("lengths that lie", Duration::from_millis(20), 2);
}
