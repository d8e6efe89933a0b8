//! `scripts/backup.sh` and `scripts/restore.sh` on real databases, while a real gateway writes to them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::database::{Database, on_both};
use crate::gateway::{Folder, Gateway, Platform, Setup, text_message};
use crate::ledger;
use crate::rest::Rest;

/// Runs a script of the project, copied into `folder`, on the database `url`.
fn script(folder: &Folder, url: &str, name: &str, arguments: &[&str]) -> (bool, String) {
    let scripts = folder.path().join("scripts");
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
