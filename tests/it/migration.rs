//! a database of every earlier schema, full of rows, is brought up to date by the real program, which is killed
//! again and again meanwhile. Every row is there afterwards and is known; a newer schema is refused in one line.
//!
//! `R17_ROWS` and `R17_KILLS` say how many rows, and kills for each schema (default 2,000 and 4; in full 100,000 and 20).

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};
use wecom_gateway::store::{Engine, NewEvent, Recorded};

use crate::database::{Database, on_both};
use crate::gateway::{Folder, Setup, configuration};
use crate::intake::event;

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The statements of every schema there has been, the first first.
fn schemas(engine: Engine) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations").join(engine.as_str());
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("migrations").map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).expect("statements")).collect()
}

async fn execute(conn: &mut AnyConnection, sql: String) {
    conn.execute(AssertSqlSafe(sql)).await.expect("the statement runs");
}

/// The schema as it was at `version`, and `events` in it.
async fn make_old(database: &Database, version: usize, events: &[NewEvent]) {
    let url = match database.engine {
        Engine::Sqlite => {
            let path = database.url.trim_start_matches("sqlite:");
            std::fs::create_dir_all(Path::new(path).parent().expect("a folder")).expect("made");
            format!("{}?mode=rwc", database.url)
        }
        Engine::MySql => database.url.clone(),
    };
    let mut conn = AnyConnection::connect(&url).await.expect("the database can be reached");
    execute(&mut conn, "CREATE TABLE schema_versions (version BIGINT NOT NULL PRIMARY KEY)".to_owned()).await;
    for (number, statements) in (1..).zip(schemas(database.engine)).take(version) {
        execute(&mut conn, statements).await;
        execute(&mut conn, format!("INSERT INTO schema_versions (version) VALUES ({number})")).await;
    }
    execute(&mut conn, "BEGIN".to_owned()).await;
    for some in events.chunks(500) {
        let rows: Vec<String> = some.iter().map(row).collect();
        let columns = "id, dedup_key, source, kind, format, reader, user_id, accepted_ms, payload";
        execute(&mut conn, format!("INSERT INTO events ({columns}) VALUES {}", rows.join(", "))).await;
    }
    execute(&mut conn, "COMMIT".to_owned()).await;
    conn.close().await.expect("the connection closes");
}

fn row(new: &NewEvent) -> String {
    let mut payload = String::new();
    for byte in &new.payload {
        write!(payload, "{byte:02x}").expect("text");
    }
    let user = new.event.user_id.as_deref().expect("a user");
    format!(
        "('{}', '{}', '{}', 'message.text', 'xml', 1, '{user}', {}, X'{payload}')",
        new.id,
        new.dedup_key.to_text(),
        new.source,
        new.accepted_ms
    )
}

/// `wecom-gateway migrate` on `database`.
fn migrate(folder: &Folder, database: &Database) -> Child {
    let file = folder.path().join("gateway.yaml");
    let setup = Setup { database_url: database.url.clone(), ..Setup::default() };
    std::fs::write(&file, configuration(folder.path(), &setup)).expect("written");
    Command::new(env!("CARGO_BIN_EXE_wecom-gateway"))
        .current_dir(folder.path())
        .arg("--config")
        .arg(&file)
        .arg("migrate")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

fn ended(process: Child) -> Output {
    process.wait_with_output().expect("it ends")
}

fn good(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

on_both! {
    async fn every_earlier_schema_is_brought_up_to_date_through_kills(database: &Database) {
        let (rows, kills) = (number("R17_ROWS", 2_000), number("R17_KILLS", 4));
        let newest = schemas(database.engine).len();
        // How long it takes when there is nothing to do.
        let (folder, begun) = (Folder::new("migration"), Instant::now());
        database.open().await.close().await;
        good(&ended(migrate(&folder, database)));
        let usual = begun.elapsed();
        for version in 1..newest {
            let database = Database::new(database.engine).await;
            let events: Vec<NewEvent> = (0..rows).map(|number| event(&database, number)).collect();
            make_old(&database, version, &events).await;
            for kill in 0..kills {
                let mut process = migrate(&folder, &database);
                tokio::time::sleep(usual * kill / kills).await;
                process.kill().expect("killed");
                process.wait().expect("reaped");
            }
            let begun = Instant::now();
            // Replicas start together on a server; a file belongs to one process.
            let count = if database.engine == Engine::MySql { 2 } else { 1 };
            let together: Vec<Child> = (0..count).map(|_| migrate(&folder, &database)).collect();
            together.into_iter().map(ended).for_each(|output| good(&output));
            let took = begun.elapsed();
            assert!(took < Duration::from_mins(1), "{took:?}");
            eprintln!("{}: schema {version}, {rows} rows, {kills} kills: up to date in {took:?}", database.engine.as_str());
            look(&database, &events, newest).await;
        }
    }

    async fn a_newer_schema_is_refused_at_once_and_in_one_line(database: &Database) {
        database.open().await.close().await;
        database.connect().await.execute("INSERT INTO schema_versions (version) VALUES (99)").await.unwrap();
        let (folder, begun) = (Folder::new("newer"), Instant::now());
        let refused = ended(migrate(&folder, database));
        let said = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
        assert!(!refused.status.success() && said.contains("99"), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{said}");
        assert_eq!(database.number("SELECT COUNT(*) FROM schema_versions WHERE version = 99").await, 1);
    }
}

/// Every row is there, byte for byte, and what comes again is known.
async fn look(database: &Database, events: &[NewEvent], newest: usize) {
    let found = database.number("SELECT MAX(version) FROM schema_versions").await;
    assert_eq!(usize::try_from(found).expect("a version"), newest);
    assert_eq!(
        database.number("SELECT COUNT(*) FROM events").await,
        i64::try_from(events.len()).expect("few")
    );
    let store = database.open().await;
    for place in [0, events.len() / 2, events.len() - 1] {
        let (old, new) = (&events[place], event(database, u32::MAX - u32::try_from(place).expect("few")));
        let stored = store.event(&old.id).await.unwrap().expect("the row");
        assert_eq!(stored.payload, old.payload);
        let again = NewEvent { id: database.ids.make(), ..old.clone() };
        let recorded = store.commit_events(&[again, new]).await.unwrap();
        assert_eq!(recorded, [Recorded::Repeat { id: old.id.clone() }, Recorded::New]);
    }
    store.close().await;
}
