//! R-16, S1-56: half a processor and 512 MiB for each process, as the shipped compose file gives. Three replicas on one
//! MariaDB, and one process on SQLite, take 200 callbacks a second without an error and keep below 256 MiB.
//!
//! Needs the right to make control groups; elsewhere it says so and ends. `R16_SECONDS` says how long (default 8).

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wecom_gateway::entropy::Entropy;
use wecom_gateway::store::Engine;

use crate::database::Database;
use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::ledger;
use crate::wire::Wire;

/// Callbacks a second.
const RATE: u64 = 200;

/// Keep-alive connections that share them.
const CLIENTS: u64 = 16;

const MEMORY_MAX_KIB: u64 = 512 * 1024;
const RSS_WANTED_KIB: u64 = 256 * 1024;

/// The platform gives up after 5 s.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// Half a processor and 512 MiB for one process; gone with its value.
pub(crate) struct Cage(Vec<PathBuf>);

impl Cage {
    /// Puts the process `pid` into a control group of its own, of the first or the second kind.
    pub(crate) fn around(pid: u32) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("wecom-gateway-{:016x}", u64::from_le_bytes(Entropy::system().bytes()));
        let memory = (MEMORY_MAX_KIB * 1024).to_string();
        let limits: &[(PathBuf, &[(&str, &str)])] = if root.join("cgroup.controllers").exists() {
            &[(root.join(&name), &[("cpu.max", "50000 100000"), ("memory.max", &memory)])]
        } else {
            &[
                (
                    root.join("cpu").join(&name),
                    &[("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")],
                ),
                (root.join("memory").join(&name), &[("memory.limit_in_bytes", &memory)]),
            ]
        };
        let mut cage = Self(Vec::new());
        for (folder, settings) in limits {
            let made = std::fs::create_dir(folder);
            if made.is_ok() {
                cage.0.push(folder.clone());
            }
            let written =
                settings.iter().all(|(file, value)| std::fs::write(folder.join(file), value).is_ok());
            if made.is_err()
                || !written
                || std::fs::write(folder.join("cgroup.procs"), pid.to_string()).is_err()
            {
                eprintln!("nothing is shown here: this user may not make control groups");
                return None;
            }
        }
        Some(cage)
    }

    /// How often it was made to wait.
    fn throttled(&self) -> u64 {
        let stat = std::fs::read_to_string(self.0[0].join("cpu.stat")).expect("the group's figures");
        let line = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        line.and_then(|number| number.parse().ok()).expect("a number")
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        for folder in &self.0 {
            // A group goes a moment after its last process.
            for _ in 0..100 {
                if std::fs::remove_dir(folder).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn seconds() -> u64 {
    std::env::var("R16_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(8)
}

/// The most memory that the process had.
pub(crate) fn peak_rss_kib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).expect("its memory")
}

/// One client: a callback is due at a fixed time, and its answer's time counts from then.
async fn client(address: SocketAddr, first_id: u64, begun: Instant, last: u64) -> Vec<(u64, Duration)> {
    let platform = Platform::app();
    let mut wire = Wire::connect(address).await.expect("connects");
    let mut took = Vec::new();
    for id in (first_id..last).step_by(usize::try_from(CLIENTS).expect("few")) {
        let due = begun + Duration::from_micros(id * 1_000_000 / RATE);
        tokio::time::sleep_until(due.into()).await;
        let (query, body) = platform.seal(&text_message(&format!("user{}", id % 50), id, "small machine"));
        let target = format!("/api/v1/webhooks/wechat/api?{query}");
        let sent = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, wire.post_again(&target, body.as_bytes())).await;
        let answer = answer.expect("answered before the platform gives up").expect("an answer");
        assert_eq!(answer.status, 200, "callback {id}, {:?} after it was sent", sent.elapsed());
        took.push((id, due.elapsed()));
    }
    took
}

/// Load on all of `gateways` together; what was answered, and the 99th of a hundred answers' time.
async fn press(gateways: &[Gateway]) -> (HashSet<u64>, Duration) {
    let (begun, last) = (Instant::now() + Duration::from_millis(200), seconds() * RATE);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|first_id| {
            let at = usize::try_from(first_id).expect("few") % gateways.len();
            tokio::spawn(client(gateways[at].address(), first_id, begun, last))
        })
        .collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await.expect("every callback is answered"));
    }
    let mut times: Vec<Duration> = all.iter().map(|(_, took)| *took).collect();
    times.sort_unstable();
    (all.into_iter().map(|(id, _)| id).collect(), times[times.len() * 99 / 100])
}

async fn in_cages(engine: Engine, replicas: usize) {
    let database = Database::new(engine).await;
    let gateways: Vec<Gateway> = (0..replicas)
        .map(|_| Gateway::start("small", Setup { database_url: database.url.clone(), ..Setup::default() }))
        .collect();
    let cages: Option<Vec<Cage>> = gateways.iter().map(|gateway| Cage::around(gateway.pid())).collect();
    let Some(cages) = cages else { return };
    let (acked, p99) = press(&gateways).await;
    let (stored, doubled) = ledger::message_ids(&database).await;
    assert_eq!(acked.len() as u64, seconds() * RATE);
    assert_eq!((acked.difference(&stored).count(), doubled), (0, 0), "of {}", acked.len());
    let rss: Vec<u64> = gateways.iter().map(peak_rss_kib).collect();
    let waits: Vec<u64> = cages.iter().map(Cage::throttled).collect();
    eprintln!(
        "{}, {replicas} × half a processor: {} callbacks at {RATE}/s, p99 {p99:?}, peak RSS {rss:?} KiB, made to wait {waits:?} times",
        engine.as_str(),
        acked.len()
    );
    assert!(rss.iter().all(|kib| *kib <= RSS_WANTED_KIB), "{rss:?} KiB");
    drop(gateways);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_of_half_a_processor_take_200_a_second() {
    in_cages(Engine::MySql, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_of_half_a_processor_takes_200_a_second() {
    in_cages(Engine::Sqlite, 1).await;
}

/// What carries the tests above: a process that never rests is held back.
#[tokio::test]
async fn a_cage_holds() {
    let mut busy =
        std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell");
    let cage = Cage::around(busy.id());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let throttled = cage.as_ref().map(Cage::throttled);
    busy.kill().expect("it ends");
    busy.wait().expect("it ended");
    assert!(throttled.is_none_or(|times| times > 0), "{throttled:?}");
}
