//! three times as many callbacks as can be taken, in half a processor and 512 MiB where control groups can be
//! made. What is answered 200 is stored, the rest is refused, nothing falls over, and afterwards all is well.
//!
//! `R14_SECONDS` says how long (default 5, in full 60).

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::database::{Database, on_both};
use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::ledger;
use crate::rest::Rest;
use crate::small_machine::{Cage, peak_rss_kib};
use crate::wire::{Wire, post_bytes};

/// The platform gives up after 5 s; how many answers come later is shown. What share of a processor there is for one
/// of these connections depends on what else the machine does.
const LATE: Duration = Duration::from_millis(4_500);

const PATIENCE: Duration = Duration::from_mins(1);

/// Connections that wait for their answers.
const CLIENTS: usize = 768;

fn seconds() -> u64 {
    std::env::var("R14_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(5)
}

/// Requests `ids`, sealed before they are due.
fn sealed(ids: std::ops::Range<u64>) -> Arc<Vec<(u64, Vec<u8>)>> {
    let platform = Platform::app();
    let one = |id| {
        let (query, body) = platform.seal(&text_message("zhangsan", id, "all at once"));
        (id, post_bytes(&format!("/api/v1/webhooks/wechat/api?{query}"), body.as_bytes()))
    };
    Arc::new(ids.map(one).collect())
}

/// What became of the requests of a run.
struct Outcome {
    acked: HashSet<u64>,
    refused: usize,
    late: usize,
    slowest: Duration,
    took: Duration,
}

/// Sends `requests` through `clients` connections: each when it is due at `rate` a second, or as fast as they are answered.
async fn run(
    address: SocketAddr,
    requests: &Arc<Vec<(u64, Vec<u8>)>>,
    clients: usize,
    rate: Option<u64>,
) -> Outcome {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|first| {
            let requests = Arc::clone(requests);
            tokio::spawn(async move {
                let mut wire = Wire::connect(address).await.expect("connects");
                let mut answers = Vec::new();
                for at in (first..requests.len()).step_by(clients) {
                    if let Some(rate) = rate {
                        let due =
                            begun + Duration::from_micros(u64::try_from(at).expect("few") * 1_000_000 / rate);
                        tokio::time::sleep_until(due.into()).await;
                    }
                    let (id, request) = &requests[at];
                    let sent = Instant::now();
                    wire.send(request).await.expect("sent");
                    let answer = tokio::time::timeout(PATIENCE, wire.answer()).await;
                    let answer = answer.expect("every callback is answered").expect("an answer");
                    answers.push((*id, answer.status, sent.elapsed()));
                    if answer.head.to_ascii_lowercase().contains("connection: close") {
                        wire = Wire::connect(address).await.expect("connects");
                    }
                }
                answers
            })
        })
        .collect();
    let mut outcome =
        Outcome { acked: HashSet::new(), refused: 0, late: 0, slowest: Duration::ZERO, took: Duration::ZERO };
    for task in tasks {
        for (id, status, took) in task.await.expect("every callback is answered") {
            match status {
                200 => drop(outcome.acked.insert(id)),
                503 => outcome.refused += 1,
                other => panic!("answered {other}"),
            }
            outcome.late += usize::from(took > LATE);
            outcome.slowest = outcome.slowest.max(took);
        }
    }
    outcome.took = begun.elapsed();
    outcome
}

fn per_second(count: usize, took: Duration) -> u64 {
    let count = u128::try_from(count).expect("small");
    u64::try_from(count * 1_000 / took.as_millis().max(1)).expect("small")
}

on_both! {
    async fn three_times_too_much_is_borne_and_what_is_taken_is_kept(database: &Database) {
        let gateway = Gateway::start("overload", Setup { database_url: database.url.clone(), ..Setup::default() });
        let cage = Cage::around(gateway.pid());
        let (address, warm) = (gateway.address(), sealed(0..3_000));
        let alone = run(address, &warm, 32, None).await;
        assert_eq!(alone.acked.len(), warm.len());
        let capacity = per_second(warm.len(), alone.took);
        let much = sealed(1_000_000..1_000_000 + 3 * capacity * seconds());
        let over = run(address, &much, CLIENTS, Some(3 * capacity)).await;
        // At once, as far as a client can tell.
        let after = run(address, &sealed(2_000_000..2_000_100), 4, None).await;
        assert_eq!(after.acked.len(), 100, "back to normal");
        crate::site::patiently(async || Rest::new(address, None).get("/health").await.status == 200).await;

        let all: HashSet<u64> = alone.acked.iter().chain(&over.acked).chain(&after.acked).copied().collect();
        crate::site::patiently(async || all.is_subset(&ledger::message_ids(database).await.0)).await;
        assert_eq!(ledger::message_ids(database).await.1, 0);
        let goodput = per_second(over.acked.len(), over.took);
        let rss_kib = peak_rss_kib(&gateway);
        eprintln!(
            "{}{}: capacity {capacity}/s, at three times that {goodput}/s taken, {} refused, {} late, the slowest answer {:?}, peak RSS {rss_kib} KiB",
            database.engine.as_str(),
            if cage.is_some() { " in half a processor" } else { "" },
            over.refused,
            over.late,
            over.slowest
        );
        // A fall to nothing is what overload must not be; the machine may have other work.
        assert!(goodput * 3 >= capacity, "{goodput} of {capacity}");
        assert!(rss_kib < 512 * 1024, "{rss_kib} KiB");
        drop(gateway);
    }
}
