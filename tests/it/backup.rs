//! `scripts/backup.sh` and `scripts/restore.sh` on real databases, while a real gateway writes to them.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::database::{Database, on_both};
use crate::gateway::{Folder, Gateway, Platform, Setup, text_message};
use crate::ledger;
use crate::rest::Rest;
use crate::wire::Wire;

/// Runs a script of the project, copied into `folder`, on the database `url`.
fn script(folder: &Folder, url: &str, name: &str, arguments: &[&str]) -> (bool, String) {
    script_in(folder.path(), url, name, arguments)
}

fn script_in(folder: &Path, url: &str, name: &str, arguments: &[&str]) -> (bool, String) {
    let scripts = folder.join("scripts");
    if !scripts.exists() {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
        let copied = Command::new("cp").arg("-r").arg(from).arg(&scripts).status();
        assert!(copied.expect("cp runs").success());
    }
    let output = Command::new("bash")
        .arg(scripts.join(name))
        .args(arguments)
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).trim().to_owned())
}

async fn post(gateway: &Gateway, ids: std::ops::Range<u64>) {
    for id in ids {
        let (query, body) = Platform::app().seal(&text_message("zhangsan", id, "a 密码 \\ ' \" \0x"));
        let target = format!("/api/v1/webhooks/wechat/api?{query}");
        let answer = Rest::new(gateway.address(), None).send("POST", &target, "", body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

on_both! {
    async fn a_backup_of_a_running_gateway_brings_back_every_row_and_nothing_newer(database: &Database) {
        let folder = Folder::new("backup");
        let run = |name, arguments: &[&str]| script(&folder, &database.url, name, arguments);
        let setup = || Setup { database_url: database.url.clone(), ..Setup::default() };
        let mut gateway = Gateway::start("backup", setup());
        post(&gateway, 0..40).await;
        let (good, file) = run("backup.sh", &[]);
        assert!(good, "{file}");
        let (kept, _) = ledger::message_ids(database).await;
        let payloads = ledger::event_payloads(database).await;
        post(&gateway, 40..60).await;

        let (good, said) = run("restore.sh", &[&file]);
        assert!(!good && said.contains("stop the gateway first"), "{said}");
        assert_eq!(ledger::message_ids(database).await.0.len(), 60, "a refused restore changes nothing");
        gateway.signal("TERM");
        assert!(gateway.wait(std::time::Duration::from_secs(20)).is_some());
        let (good, said) = run("restore.sh", &[&file]);
        assert!(good, "{said}");
        assert!(said.contains("what was there: "), "{said}");
        ledger::check_integrity(database).await;
        assert_eq!(ledger::message_ids(database).await, (kept, 0));
        assert_eq!(ledger::event_payloads(database).await, payloads, "byte for byte");

        gateway.restart();
        post(&gateway, 0..40).await;
        assert_eq!(ledger::message_ids(database).await.0.len(), 40, "what was known is known again");
    }

    async fn damaged_backups_are_refused_and_old_ones_go(database: &Database) {
        let folder = Folder::new("backup-damaged");
        let run = |name, arguments: &[&str]| script(&folder, &database.url, name, arguments);
        database.open().await.close().await;
        let first = run("backup.sh", &["-k", "2"]).1;
        let second = run("backup.sh", &["-k", "2"]).1;
        let third = run("backup.sh", &["-k", "2"]).1;
        let path = |file: &str| folder.path().join(file);
        assert!(!path(&first).exists() && path(&second).exists() && path(&third).exists(), "{first} {third}");
        assert_eq!(std::fs::read_dir(path("backups")).expect("a folder").count(), 4, "two, each with its sum");

        let mut bytes = std::fs::read(path(&third)).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path(&third), &bytes).expect("written");
        let (good, said) = run("restore.sh", &[&third]);
        assert!(!good && said.contains("is not what was backed up"), "{said}");
        std::fs::remove_file(path(&format!("{third}.sha256"))).expect("removed");
        std::fs::write(path(&third), &bytes[..middle]).expect("written");
        let (good, said) = run("restore.sh", &[&third]);
        assert!(!good && said.contains("is damaged"), "{said}");
        let (good, said) = run("restore.sh", &["backups/nothing"]);
        assert!(!good && said.contains("which file?"), "{said}");
    }
}

#[test]
fn a_password_with_every_character_is_read_as_the_gateway_reads_it() {
    let folder = Folder::new("backup-url");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/database.sh");
    let env = "MYSQL_HOST=db\nMYSQL_USER=u\nMYSQL_PASSWORD='p@:/#% \"x\\y'\nMYSQL_DATABASE=d # remark\n";
    std::fs::write(folder.path().join(".env"), env).expect("written");
    let found = |url: &str| {
        let show = "find_database; printf '%s|' \"$database_host\" \"$database_port\" \"$database_user\" \
                    \"$database_password\" \"$database_name\"";
        let output = Command::new("bash")
            .args(["-c", &format!("set -eu; . {}; {show}", from.display())])
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("DATABASE_URL", url)])
            .current_dir(folder.path())
            .output()
            .expect("bash runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(found(""), "db||u|p@:/#% \"x\\y|d|");
    assert_eq!(found("mysql://a%40b:p%40%3A%2F%23%25%5Cx@h:3307/n?ssl-mode=x"), "h|3307|a@b|p@:/#%\\x|n|");
    assert_eq!(found("mariadb://root@[::1]:3306/n"), "::1|3306|root||n|");
}

/// Callbacks until it is stopped; what was answered 200, and how long answers took.
struct Load {
    stop: Arc<AtomicBool>,
    acked: Arc<Mutex<Vec<(u64, Duration)>>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn on(gateway: &Gateway) -> Self {
        let (stop, next) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let acked = Arc::<Mutex<Vec<(u64, Duration)>>>::default();
        let address = gateway.address();
        let clients = (0..8)
            .map(|_| {
                let (stop, next, acked) = (Arc::clone(&stop), Arc::clone(&next), Arc::clone(&acked));
                tokio::spawn(async move {
                    // Large enough for a backup to take a while.
                    let (platform, content) = (Platform::app(), "x".repeat(20_000));
                    let mut wire = Wire::connect(address).await.expect("connects");
                    while !stop.load(Ordering::Relaxed) {
                        let id = next.fetch_add(1, Ordering::Relaxed);
                        let (query, body) = platform.seal(&text_message("zhangsan", id, &content));
                        let (target, begun) =
                            (format!("/api/v1/webhooks/wechat/api?{query}"), Instant::now());
                        let answer = wire.post_again(&target, body.as_bytes()).await.expect("an answer");
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        acked.lock().expect("lock").push((id, begun.elapsed()));
                    }
                })
            })
            .collect();
        Self { stop, acked, clients }
    }

    /// How many were answered so far.
    fn answered(&self) -> usize {
        self.acked.lock().expect("lock").len()
    }

    async fn end(self) -> Vec<(u64, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("every callback is answered");
        }
        self.acked.lock().expect("lock").clone()
    }
}

/// The 99th of a hundred times.
fn p99(answers: &[(u64, Duration)]) -> Duration {
    let mut times: Vec<Duration> = answers.iter().map(|(_, took)| *took).collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// R-21: `BACKUP_EVENTS` are there when the backup begins (default 2,000), and more come all the time.
async fn backed_up_under_load_and_restored_elsewhere(database: &Database) {
    let events = std::env::var("BACKUP_EVENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(2_000);
    let (folder, elsewhere) = (Folder::new("backup-load"), Database::new(database.engine).await);
    let setup = |database: &Database| Setup {
        database_url: database.url.clone(),
        extra: "auth: { master_key: a-master-key-for-tests-only }\n".to_owned(),
        ..Setup::default()
    };
    let gateway = Gateway::start("backup-load", setup(database));
    let receiver = crate::forwarder::receiver().await;
    let rest = Rest::new(gateway.address(), None);
    let form = serde_json::json!({"url": receiver.url("/"), "secret": "a secret of the receiver", "events": ["*"], "concurrency": 8});
    let made = rest.post("/api/v1/endpoints", &form).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let endpoint = crate::rest::json(&made)["id"].as_str().expect("an id").to_owned();
    let nothing = serde_json::Value::Null;
    assert!(rest.post(&format!("/api/v1/endpoints/{endpoint}/pause"), &nothing).await.status < 300);

    let load = Load::on(&gateway);
    while load.answered() < events {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = load.acked.lock().expect("lock").clone();
    let (path, url) = (folder.path().to_owned(), database.url.clone());
    let backup = tokio::task::spawn_blocking(move || script_in(&path, &url, "backup.sh", &[]));
    let ended = tokio::time::timeout(Duration::from_mins(2), backup).await;
    let (good, file) = ended.expect("a backup ends under load").expect("it ran");
    assert!(good, "{file}");
    let meanwhile = load.answered() - before.len();
    let at_its_end = load.answered();
    crate::site::patiently(async || load.answered() >= at_its_end + 200).await;
    let all = load.end().await;

    let (good, said) = script(&folder, &elsewhere.url, "restore.sh", &[&file]);
    assert!(good, "{said}");
    let restored = Gateway::start("backup-restored", setup(&elsewhere));
    let (stored, doubled) = ledger::message_ids(&elsewhere).await;
    let missing = before.iter().filter(|(id, _)| !stored.contains(id)).count();
    assert_eq!((missing, doubled), (0, 0), "of {} answered before the backup began", before.len());
    assert!(stored.len() < all.len(), "what came after the backup is not in it: the comparison can see");
    // What waited to be delivered goes out from there, once.
    let rest = Rest::new(restored.address(), None);
    assert!(rest.post(&format!("/api/v1/endpoints/{endpoint}/resume"), &nothing).await.status < 300);
    let (mut seen, mut still) = (0, 0);
    while seen < stored.len() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = receiver.received().len();
        still = if now == seen { still + 1 } else { 0 };
        seen = now;
        assert!(still < 120, "{seen} of {} were delivered, and no more for a minute", stored.len());
    }
    let ids: HashSet<String> =
        receiver.received().iter().map(|one| one.header("webhook-id").expect("an id").to_owned()).collect();
    assert_eq!((ids.len(), receiver.received().len()), (stored.len(), stored.len()));
    let during = &all[before.len()..before.len() + meanwhile];
    eprintln!(
        "{}: {} before, {meanwhile} during the backup; p99 {:?} before, {:?} during; {} restored and delivered",
        database.engine.as_str(),
        before.len(),
        p99(&before),
        if during.is_empty() { Duration::ZERO } else { p99(during) },
        stored.len()
    );
}

on_both! {
    async fn what_was_answered_before_a_backup_began_is_in_it_and_goes_on_elsewhere(database: &Database) {
        backed_up_under_load_and_restored_elsewhere(database).await;
    }
}

/// A busy writer commits every few milliseconds; a copy that begins anew with each commit never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_file_ends_however_often_somebody_commits() {
    use sqlx::Executor as _;
    let database = Database::new(wecom_gateway::store::Engine::Sqlite).await;
    database.open().await.close().await;
    let mut conn = database.connect().await;
    for statement in [
        "PRAGMA synchronous = OFF",
        "CREATE TABLE ballast (number INTEGER PRIMARY KEY, content BLOB NOT NULL)",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO ballast (content) SELECT randomblob(4000) FROM n",
    ] {
        conn.execute(statement).await.expect("the statement runs");
    }
    let stop = Arc::<AtomicBool>::default();
    let over = Arc::clone(&stop);
    let writer = tokio::spawn(async move {
        let mut commits = 0;
        while !over.load(Ordering::Relaxed) {
            conn.execute("INSERT INTO ballast (content) VALUES (randomblob(100))")
                .await
                .expect("it is written");
            commits += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        commits
    });
    let (folder, url) = (Folder::new("backup-busy"), database.url.clone());
    let path = folder.path().to_owned();
    let backup = tokio::task::spawn_blocking(move || script_in(&path, &url, "backup.sh", &[]));
    let ended = tokio::time::timeout(Duration::from_mins(1), backup).await;
    stop.store(true, Ordering::Relaxed);
    let commits = writer.await.expect("the writer ends");
    let (good, said) = ended.expect("the backup ends").expect("it ran");
    assert!(good && commits > 10, "{commits} commits meanwhile: {said}");
}
