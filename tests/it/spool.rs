//! in small: MySQL is stopped, killed, frozen or not there at all. Callbacks are answered 200, and each is
//! one row once it is back.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use sqlx::Executor;
use tokio_util::sync::CancellationToken;
use wecom_gateway::domain::event::EventKind;
use wecom_gateway::domain::status::Status;
use wecom_gateway::spool::{Spool, SpoolSettings};
use wecom_gateway::store::{Engine, NewEvent, SpoolFile};

use crate::database::Database;
use crate::gateway::{Folder, Gateway, Platform, Setup, text_message};
use crate::intake::{event, report};
use crate::mariadb::Server;
use crate::wire::Wire;

const TARGET: &str = "/api/v1/webhooks/wechat/api";

/// The platform gives up after 5 s.
const PATIENCE: Duration = Duration::from_millis(4_500);

fn setup(url: String, spool: &str) -> Setup {
    Setup { database_url: url, extra: format!("spool: {{ {spool} }}\n"), ..Setup::default() }
}

/// Sends the message `id`; the status of its answer.
async fn send(address: SocketAddr, id: u64, text: &str) -> u16 {
    let (query, body) = Platform::app().seal(&text_message("zhangsan", id, text));
    let mut wire = Wire::connect(address).await.expect("connects");
    let post = async { wire.post(&format!("{TARGET}?{query}"), body.as_bytes()).await.expect("an answer") };
    tokio::time::timeout(PATIENCE, post).await.expect("answered before the platform gives up").status
}

async fn json(address: SocketAddr, path: &str) -> Value {
    let mut wire = Wire::connect(address).await.expect("connects");
    let answer = wire.get(path).await.expect("an answer");
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// Waits until the spool is out of use and empty.
async fn drained(gateway: &Gateway) {
    for _ in 0..600 {
        let status = json(gateway.address(), "/api/v1/status").await;
        if status["spool"]["in_use"] == false && status["spool"]["rows"] == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the spool is not drained: {}", json(gateway.address(), "/api/v1/status").await);
}

/// The `MsgId` of every row, each of which stands there once.
async fn stored(server: &Server) -> HashSet<u64> {
    use sqlx::{Connection as _, Row as _};
    let mut conn = sqlx::AnyConnection::connect(&server.url("gateway")).await.expect("the server answers");
    let rows = conn.fetch_all("SELECT payload FROM events").await.expect("rows");
    let ids: Vec<u64> = rows
        .iter()
        .map(|row| String::from_utf8_lossy(&row.get::<Vec<u8>, _>(0)).into_owned())
        .map(|text| {
            text.split_once("<MsgId>").expect("a MsgId").1.split_once('<').expect("its end").0.to_owned()
        })
        .map(|id| id.parse().expect("a number"))
        .collect();
    let distinct: HashSet<u64> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), ids.len(), "rows are doubled");
    distinct
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_are_accepted_while_the_database_is_away() {
    let mut server = Server::start(&[]).await;
    let gateway = Gateway::start("spool", setup(server.url("gateway"), "probe_ms: 200"));
    let (next, stop) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let acked = Arc::new(Mutex::new(HashSet::new()));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (next, stop, acked) = (Arc::clone(&next), Arc::clone(&stop), Arc::clone(&acked));
            let address = gateway.address();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(send(address, id, "the database is away").await, 200, "message {id}");
                    // The platform repeats; on every third we do.
                    if id.is_multiple_of(3) {
                        assert_eq!(send(address, id, "the database is away").await, 200, "repeat of {id}");
                    }
                    acked.lock().expect("lock").insert(id);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();
    for how in ["TERM", "KILL", "STOP", "KILL"] {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.signal(how);
        if how != "STOP" {
            server.wait();
        }
        assert!(until_health(&gateway, "degraded").await, "{how}: /health says so");
        let before = acked.lock().expect("lock").len();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(acked.lock().expect("lock").len() > before, "{how}: callbacks are answered");
        if how == "STOP" {
            server.signal("CONT");
        } else {
            server.restart();
        }
        drained(&gateway).await;
        assert!(until_health(&gateway, "ok").await, "{how}: all is well again");
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("every callback was answered 200 in time");
    }
    drained(&gateway).await;
    let stored = stored(&server).await;
    let acked = acked.lock().expect("lock");
    eprintln!("{} answered over 4 outages", acked.len());
    assert_eq!(acked.difference(&stored).count(), 0, "lost of {}", acked.len());
}

async fn until_health(gateway: &Gateway, word: &str) -> bool {
    for _ in 0..200 {
        if json(gateway.address(), "/health").await["status"] == word {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_starts_without_its_database_and_another_takes_over_its_spool() {
    let mut server = Server::start(&[]).await;
    server.signal("KILL");
    server.wait();
    let spool = Folder::new("spool-shared");
    let settings = format!("probe_ms: 200, directory: '{}'", spool.path().display());
    let survivor = Gateway::start("spool-survivor", setup(server.url("gateway"), &settings));
    let mut dying = Gateway::start("spool-dying", setup(server.url("gateway"), &settings));
    for id in 1..=20 {
        assert_eq!(send(dying.address(), id, "nobody was ever there").await, 200);
        assert_eq!(send(survivor.address(), 100 + id, "nobody was ever there").await, 200);
    }
    dying.kill();
    server.restart();
    drained(&survivor).await;
    let all: HashSet<u64> = (1..=20).chain(101..=120).collect();
    for _ in 0..600 {
        if files(spool.path()) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(files(spool.path()), 1, "the file of the dead one is drained and gone");
    assert_eq!(stored(&server).await, all);
}

fn files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).expect("the directory");
    entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(".db")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_or_beyond_the_spool_callbacks_are_refused_and_none_is_forgotten() {
    let mut server = Server::start(&[]).await;
    let full =
        Gateway::start("spool-full", setup(server.url("gateway"), "bytes_max: 1048576, probe_ms: 200"));
    let off = Gateway::start("spool-off", setup(server.url("gateway"), "enabled: false"));
    server.signal("KILL");
    server.wait();
    assert_eq!(send(off.address(), 1, "no spool").await, 503);
    let text = "x".repeat(100_000);
    let mut acked = HashSet::new();
    let mut refused = 0;
    for id in 10..30 {
        match send(full.address(), id, &text).await {
            200 => drop(acked.insert(id)),
            503 => refused += 1,
            other => panic!("answered {other}"),
        }
    }
    assert_eq!((acked.len(), refused), (11, 9), "the limit is kept to one callback");
    server.restart();
    drained(&full).await;
    assert_eq!(stored(&server).await, acked);
}

#[test]
fn a_wrong_password_is_no_outage() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start(&[]));
    let url = server.url("gateway").replace("root@", "root:wrong@");
    let folder = Folder::new("spool-password");
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, crate::gateway::configuration(folder.path(), &setup(url, ""))).expect("written");
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_wecom-gateway"))
        .current_dir(folder.path())
        .args(["--config", "gateway.yaml", "serve"])
        .output()
        .expect("it runs");
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("Access denied"), "{ended:?}");
}

/// The evidence comes along, and what the database refuses stands in nobody's way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_refuses_is_set_aside() {
    let database = Database::new(Engine::MySql).await;
    let store = database.open().await;
    let trigger = "CREATE TRIGGER picky BEFORE INSERT ON events FOR EACH ROW \
                   IF NEW.kind = 'message.bad' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF";
    database.connect().await.execute(trigger).await.expect("a trigger");
    let folder = Folder::new("spool-refused");
    let mut bad = event(&database, 2);
    bad.event.kind = EventKind::from_parts(&["message", "bad"]);
    let group: Vec<NewEvent> =
        vec![event(&database, 1), bad.clone(), report(&database, 3, "their-1", Status::Delivered)];
    let file = SpoolFile::open(&folder.path().join("spool-left.db"), store.seals()).await.expect("a file");
    file.append(&group).await.expect("appended");
    file.append(&group[..1]).await.expect("a group that is there already");
    assert_eq!(file.size().rows, 3);
    drop(file);

    let settings = SpoolSettings { directory: folder.path().to_owned(), ..SpoolSettings::default() };
    let spool = Spool::open(settings.clone(), store.clone(), database.clock.clone(), &database.ids).await;
    let spool = spool.expect("the file that was left is taken over");
    let stop = CancellationToken::new();
    let told = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&told);
    let count = move |group: &[NewEvent]| *counted.lock().expect("lock") += group.len();
    let draining = tokio::spawn(spool.clone().run(count, stop.clone()));
    while spool.state().size.rows > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(spool.state().size.set_aside, 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 2);
    let evidence = store.evidence(&["their-1".to_owned()], None, 10).await.expect("evidence");
    assert_eq!(evidence, group[2].evidence, "as it was accepted");
    for _ in 0..500 {
        if *told.lock().expect("lock") == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(*told.lock().expect("lock"), 2, "the tracker hears of what was drained");
    stop.cancel();
    draining.await.expect("it ends");
}
