//! a disk fills up. Callbacks are refused, none that was answered is missing, and all goes on when there is room
//! again, without a new start. Needs the right to mount a file system of a few MiB; elsewhere it says so and ends.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use wecom_gateway::store::Engine;

use crate::gateway::{Folder, Gateway, Platform, Setup, text_message};
use crate::mariadb::Server;
use crate::rest::{Rest, json};

/// A small disk; gone with its value.
pub(crate) struct SmallDisk(Folder);

impl SmallDisk {
    /// A disk with `options` such as `size=16m`; none where this user may not mount.
    pub(crate) fn mount(name: &str, options: &str) -> Option<Self> {
        let folder = Folder::new(name);
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()).output();
        let mounted = mount.is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("nothing is shown here: this user may not mount");
        }
        mounted.then_some(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room there is.
    pub(crate) fn fill(&self) {
        let file = self.path().join("ballast");
        let filled = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k", &format!("of={}", file.display())])
            .output()
            .expect("dd runs");
        assert!(!filled.status.success(), "the disk is full");
    }

    /// Gives it back.
    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.path().join("ballast")).expect("the ballast");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _busy = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Posts a callback of 20 kB; the status of its answer, which comes before the platform gives up.
pub(crate) async fn post(gateway: &Gateway, id: u64) -> u16 {
    let text = "x".repeat(20_000);
    let (query, body) = Platform::app().seal(&text_message("zhangsan", id, &text));
    let rest = Rest::new(gateway.address(), None);
    let target = format!("/api/v1/webhooks/wechat/api?{query}");
    let answer = rest.send("POST", &target, "", body.as_bytes());
    tokio::time::timeout(Duration::from_millis(4_500), answer).await.expect("in time").status
}

/// Waits until `/health` says so.
pub(crate) async fn until_health(gateway: &Gateway, part: &str, word: &str, status: u16) {
    let mut seen = String::new();
    for _ in 0..600 {
        let answer = Rest::new(gateway.address(), None).get("/health").await;
        if json(&answer)["checks"][part] == word && answer.status == status {
            return;
        }
        seen = answer.text();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("/health never says {part} {word}: {seen}");
}

/// Posts until there is no room, and then until there is; what was answered 200.
async fn fill_and_recover(
    gateway: &Gateway,
    disk: &SmallDisk,
    part: &str,
    full: &str,
    fine: (&str, u16),
) -> HashSet<u64> {
    let (mut acked, mut refused) = (HashSet::new(), 0);
    let mut id = 0;
    let mut one = async |acked: &mut HashSet<u64>| {
        id += 1;
        let status = post(gateway, id).await;
        assert!(status == 200 || status == 503, "answered {status}");
        if status == 200 {
            acked.insert(id);
        }
        status
    };
    for _ in 0..20 {
        assert_eq!(one(&mut acked).await, 200);
    }
    disk.fill();
    for _ in 0..400 {
        refused += usize::from(one(&mut acked).await == 503);
        if refused == 20 {
            break;
        }
    }
    assert_eq!(refused, 20, "a full disk refuses");
    until_health(gateway, part, full, 503).await;
    disk.make_room();
    // It finds out by itself, or by the next callback.
    for _ in 0..100 {
        if one(&mut acked).await == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for _ in 0..20 {
        assert_eq!(one(&mut acked).await, 200, "without a new start");
    }
    until_health(gateway, part, fine.0, fine.1).await;
    acked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers_without_a_new_start() {
    let Some(disk) = SmallDisk::mount("small-disk", "size=16m") else { return };
    let url = format!("sqlite:{}", disk.path().join("gateway.db").display());
    let mut gateway = Gateway::start("disk-full", Setup { database_url: url.clone(), ..Setup::default() });
    let acked = fill_and_recover(&gateway, &disk, "store", "unavailable", ("ok", 200)).await;
    gateway.kill();
    gateway.restart();
    let database = crate::database::Database::at(Engine::Sqlite, url);
    crate::ledger::check_integrity(&database).await;
    let (stored, doubled) = crate::ledger::message_ids(&database).await;
    assert_eq!((acked.difference(&stored).count(), doubled), (0, 0), "of {}", acked.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_below_the_spool_refuses_and_recovers() {
    let Some(disk) = SmallDisk::mount("small-spool", "size=16m") else { return };
    let mut server = Server::start(&[]).await;
    let extra = format!("spool: {{ probe_ms: 200, directory: '{}' }}\n", disk.path().display());
    let setup = Setup { database_url: server.url("gateway"), extra, ..Setup::default() };
    let gateway = Gateway::start("spool-disk", setup);
    server.signal("KILL");
    server.wait();
    let acked = fill_and_recover(&gateway, &disk, "spool", "idle", ("in_use", 200)).await;
    server.restart();
    until_health(&gateway, "spool", "idle", 200).await;
    let database = crate::database::Database::at(Engine::MySql, server.url("gateway"));
    for _ in 0..300 {
        let (stored, doubled) = crate::ledger::message_ids(&database).await;
        assert_eq!(doubled, 0);
        if acked.difference(&stored).count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("some of {} answered callbacks are not in the database", acked.len());
}
