//! The disk under the store: what a sync takes, and what is there after the gate was killed.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use sqlx::Connection;

use crate::load::Times;

const SYNCS: u64 = 400;
const BLOCK: usize = 64 * 1024;
const BLOCKS: u64 = 64;

/// Times of `fdatasync` after 64 KiB were written over older ones, as a commit does it.
pub fn sync_times(directory: &Path) -> Times {
    let path = directory.join("sync");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).unwrap();
    let block = vec![0x5a_u8; BLOCK];
    let place = |number: u64| number % BLOCKS * BLOCK as u64;
    for number in 0..BLOCKS {
        file.write_all_at(&block, place(number)).unwrap();
    }
    file.sync_all().unwrap();
    let times = (0..SYNCS).map(|number| {
        file.write_all_at(&block, place(number)).unwrap();
        let began = Instant::now();
        file.sync_data().unwrap();
        began.elapsed()
    });
    let times = Times::of(times.collect());
    std::fs::remove_file(path).unwrap();
    times
}

/// The number of the newest decision in the store.
pub async fn decisions_kept(directory: &Path) -> u64 {
    let url = format!("sqlite://{}", directory.join("gate.db").display());
    let mut store = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let newest: String = sqlx::query_scalar("SELECT id FROM decisions ORDER BY rowid DESC LIMIT 1")
        .fetch_one(&mut store)
        .await
        .unwrap();
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM decisions").fetch_one(&mut store).await.unwrap();
    let newest = number(&newest);
    assert_eq!(newest, count.cast_unsigned(), "no decision between is missing");
    newest
}

/// The number in an id such as `d-000017`.
pub fn number(id: &str) -> u64 {
    id.split_once('-').unwrap().1.parse().unwrap()
}
