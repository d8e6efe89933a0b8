//! what else disks do. No file can be made any more, writes fail, the file system turns read-only, the disk of the
//! log is full. Nothing that was answered is missing, the process lives and says what is wrong; a log alone harms nobody.
//!
//! Needs the right to mount file systems of a few MiB; elsewhere it says so and ends.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use wecom_gateway::store::Engine;

use crate::database::Database;
use crate::disk_full::{SmallDisk, post, until_health};
use crate::gateway::{Folder, Gateway, Setup, configuration};
use crate::ledger;
use crate::mariadb::{Server, free_port};
use crate::rest::Rest;

/// Runs a program that has to succeed.
fn run(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).stdout(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    if !output.status.success() {
        eprintln!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

/// A file system in a file, on a disk that can be made to have no room for what it promised: its writes then fail.
struct BrokenDisk {
    below: SmallDisk,
    place: Folder,
}

impl BrokenDisk {
    fn mount() -> Option<Self> {
        let below = SmallDisk::mount("below", "size=24m")?;
        let image = below.path().join("image");
        let image = image.to_str().expect("a path");
        let made =
            run("truncate", &["-s", "64M", image]) && run("mkfs.ext4", &["-q", "-E", "nodiscard", image]);
        let disk = Self { below, place: Folder::new("broken") };
        (made && disk.mount_again()).then_some(disk)
    }

    fn mount_again(&self) -> bool {
        let image = self.below.path().join("image");
        run(
            "mount",
            &[
                "-o",
                "loop,errors=remount-ro",
                image.to_str().expect("a path"),
                self.path().to_str().expect("a path"),
            ],
        )
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn unmount(&self) -> bool {
        run("umount", &[self.path().to_str().expect("a path")])
    }
}

impl Drop for BrokenDisk {
    fn drop(&mut self) {
        let _busy = Command::new("umount").arg("-l").arg(self.path()).stderr(Stdio::null()).status();
    }
}

/// Posts `count` callbacks from `first` on; how many were refused.
async fn posts(gateway: &Gateway, first: u64, count: u64, acked: &mut HashSet<u64>) -> u64 {
    let mut refused = 0;
    for id in first..first + count {
        match post(gateway, id).await {
            200 => drop(acked.insert(id)),
            503 => refused += 1,
            other => panic!("answered {other}"),
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_fail_are_refusals_and_nothing_answered_is_missing() {
    for how in ["no blocks", "abort"] {
        let Some(disk) = BrokenDisk::mount() else { return };
        let url = format!("sqlite:{}", disk.path().join("gateway.db").display());
        let mut gateway = Gateway::start("broken", Setup { database_url: url.clone(), ..Setup::default() });
        let mut acked = HashSet::new();
        assert_eq!(posts(&gateway, 0, 30, &mut acked).await, 0);
        match how {
            "no blocks" => disk.below.fill(),
            _ => assert!(run("mount", &["-o", "remount,abort", disk.path().to_str().expect("a path")])),
        }
        let mut refused = 0;
        for round in 1..40 {
            refused += posts(&gateway, round * 100, 20, &mut acked).await;
            if refused >= 20 {
                break;
            }
        }
        assert!(refused >= 20, "{how}: {refused} refused of a disk that takes nothing");
        until_health(&gateway, "store", "unavailable", 503).await;
        let live = Rest::new(gateway.address(), None).get("/health/live").await;
        assert_eq!(live.status, 200, "the process lives");

        // What a person does: another start when the disk is whole.
        gateway.kill();
        assert!(disk.unmount());
        if how == "no blocks" {
            disk.below.make_room();
        }
        assert!(disk.mount_again());
        gateway.restart();
        until_health(&gateway, "store", "ok", 200).await;
        assert_eq!(posts(&gateway, 1_000_000, 20, &mut acked).await, 0);
        let database = Database::at(Engine::Sqlite, url);
        ledger::check_integrity(&database).await;
        let (stored, doubled) = ledger::message_ids(&database).await;
        assert_eq!((acked.difference(&stored).count(), doubled), (0, 0), "{how}: of {}", acked.len());
        eprintln!("{how}: {} answered, {refused} refused", acked.len());
    }
}

/// Makes files until none can be made; where they are.
fn take_all_inodes(disk: &SmallDisk) -> PathBuf {
    let folder = disk.path().join("many");
    std::fs::create_dir(&folder).expect("a folder");
    let full = (0..10_000).any(|number| std::fs::write(folder.join(number.to_string()), b"").is_err());
    assert!(full, "no file can be made");
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_room_for_one_more_file_loses_nothing() {
    // SQLite has its files from the start on.
    let Some(disk) = SmallDisk::mount("inodes", "size=32m,nr_inodes=64") else { return };
    let url = format!("sqlite:{}", disk.path().join("gateway.db").display());
    let gateway = Gateway::start("inodes", Setup { database_url: url.clone(), ..Setup::default() });
    let mut acked = HashSet::new();
    assert_eq!(posts(&gateway, 0, 20, &mut acked).await, 0);
    let many = take_all_inodes(&disk);
    let refused = posts(&gateway, 100, 100, &mut acked).await;
    std::fs::remove_dir_all(&many).expect("removed");
    crate::site::patiently(async || post(&gateway, 300).await == 200).await;
    assert_eq!(posts(&gateway, 400, 20, &mut acked).await, 0, "without a new start");
    until_health(&gateway, "store", "ok", 200).await;
    let (stored, doubled) = ledger::message_ids(&Database::at(Engine::Sqlite, url)).await;
    assert_eq!((acked.difference(&stored).count(), doubled), (0, 0), "of {}", acked.len());

    // The spool's come when the database goes.
    let mut server = Server::start(&[]).await;
    let extra = format!("spool: {{ probe_ms: 200, directory: '{}' }}\n", disk.path().join("spool").display());
    let setup = Setup { database_url: server.url("gateway"), extra, ..Setup::default() };
    let gateway = Gateway::start("inodes-spool", setup);
    let mut acked = HashSet::new();
    assert_eq!(posts(&gateway, 0, 20, &mut acked).await, 0);
    let many = take_all_inodes(&disk);
    server.signal("KILL");
    server.wait();
    let refused_without = posts(&gateway, 100, 20, &mut acked).await;
    std::fs::remove_dir_all(&many).expect("removed");
    crate::site::patiently(async || post(&gateway, 300).await == 200).await;
    assert_eq!(posts(&gateway, 400, 20, &mut acked).await, 0, "the spool takes them, without a new start");
    until_health(&gateway, "spool", "in_use", 200).await;
    server.restart();
    until_health(&gateway, "spool", "idle", 200).await;
    let database = Database::at(Engine::MySql, server.url("gateway"));
    crate::site::patiently(async || acked.is_subset(&ledger::message_ids(&database).await.0)).await;
    assert_eq!(ledger::message_ids(&database).await.1, 0);
    eprintln!(
        "refused without inodes: {refused} of 100 on SQLite, {refused_without} of 20 with the database away"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_log_changes_nothing_for_callbacks() {
    let Some(disk) = SmallDisk::mount("log-disk", "size=1m") else { return };
    let log = disk.path().join("gateway.log");
    let environment = [("LOG_FILE", log.display().to_string()), ("LOG_LEVEL", "debug".to_owned())];
    let setup = Setup {
        extra: "logging: { level: '${LOG_LEVEL}', file: { path: '${LOG_FILE}' } }\n".to_owned(),
        environment: environment.map(|(key, value)| (key.to_owned(), value)).to_vec(),
        ..Setup::default()
    };
    let gateway = Gateway::start("log-disk", setup);
    let mut acked = HashSet::new();
    assert_eq!(posts(&gateway, 0, 20, &mut acked).await, 0);
    disk.fill();
    assert_eq!(posts(&gateway, 100, 200, &mut acked).await, 0);
    until_health(&gateway, "store", "ok", 200).await;
    disk.make_room();
    let before = std::fs::metadata(&log).expect("the log").len();
    assert_eq!(posts(&gateway, 400, 20, &mut acked).await, 0);
    crate::site::patiently(async || std::fs::metadata(&log).expect("the log").len() > before).await;
}

/// Standard output that takes nothing: a full disk below a redirection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standard_output_that_takes_nothing_changes_nothing_for_callbacks() {
    let (folder, port) = (Folder::new("dev-full"), free_port());
    let file = folder.path().join("gateway.yaml");
    let setup = Setup { port, ..Setup::default() };
    std::fs::write(&file, configuration(folder.path(), &setup)).expect("written");
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_wecom-gateway"))
        .current_dir(folder.path())
        .arg("--config")
        .arg(&file)
        .args(["--log-level", "debug", "serve"])
        .stdin(Stdio::null())
        .stdout(full())
        .stderr(full())
        .spawn()
        .expect("it starts");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    crate::site::patiently(async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
    let platform = crate::gateway::Platform::app();
    for id in 0..50 {
        let (query, body) = platform.seal(&crate::gateway::text_message("zhangsan", id, "nobody reads this"));
        let target = format!("/api/v1/webhooks/wechat/api?{query}");
        let answer = Rest::new(address, None).send("POST", &target, "", body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let stopped = Command::new("kill").arg(gateway.id().to_string()).status();
    assert!(stopped.expect("kill runs").success());
    let mut waits = 0..3_000;
    let status = loop {
        if let Some(status) = gateway.try_wait().expect("wait") {
            break status;
        }
        assert!(waits.next().is_some(), "it does not stop");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(status.code(), Some(0));
}
