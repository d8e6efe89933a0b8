//! Reading events forward: the store on both databases, the stream of the real binary, and `dev listen` at its end.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wecom_gateway::cli::dev::listen::{ListenArgs, Listener};
use wecom_gateway::clock::Clock;
use wecom_gateway::entropy::Entropy;
use wecom_gateway::ids::{EventId, IdMaker};
use wecom_gateway::source::AcceptedEvent;
use wecom_gateway::store::{Engine, EventTail, NewEvent, Store, TailStart};
use wecom_gateway::wecom::limits::ReadLimits;

use crate::database::{Database, on_both};
use crate::forwarder::receiver;
use crate::gateway::{Gateway, Platform, Setup, text_message};
use crate::rest::{Rest, json};
use crate::site::{Stopwatch, patiently};
use crate::wire::Wire;

const STREAM: &str = "/api/v1/events/stream";

/// An event whose id was made `age_ms` ago.
fn event(store_clock: &Clock, age_ms: i64, number: u64) -> NewEvent {
    let clock = Clock::manual(store_clock.steady_ms() - age_ms);
    let payload = Bytes::from(text_message("zhangsan", 5_000_000_000 + number, "text"));
    let read = AcceptedEvent::read("wechat_api", payload, &ReadLimits::DEFAULT);
    NewEvent {
        id: IdMaker::new(clock.clone(), Entropy::system()).make(),
        source: "wechat_api".into(),
        dedup_key: read.dedup_key,
        event: read.event,
        payload: read.payload,
        accepted_ms: clock.wall_ms(),
        evidence: Vec::new(),
    }
}

async fn commit(store: &Store, event: NewEvent) -> EventId {
    let id = event.id.clone();
    store.commit_events(&[event]).await.expect("committed");
    id
}

/// Everything that is there now.
async fn read(tail: &mut EventTail) -> Vec<EventId> {
    let mut ids = Vec::new();
    loop {
        let events = tail.next().await.expect("the store answers");
        if events.is_empty() {
            return ids;
        }
        ids.extend(events.into_iter().map(|one| one.event.id));
    }
}

on_both! {
    async fn what_is_committed_is_read_once_and_a_resumed_reader_misses_nothing(database: &Database) {
        let store = database.open().await;
        let before = commit(&store, event(&database.clock, 10, 0)).await;
        let mut tail = store.tail(TailStart::Now).await.expect("a reader");
        assert_eq!(read(&mut tail).await, [] as [EventId; 0], "what was there before is not new");
        let mut given = Vec::new();
        let mut all = Vec::new();
        for number in 1..=600 {
            all.push(commit(&store, event(&database.clock, 5, number)).await);
            if number % 50 == 0 {
                database.clock.advance_ms(300);
                given.extend(read(&mut tail).await);
            }
        }
        given.extend(read(&mut tail).await);
        if store.engine() == Engine::MySql {
            // Ids of one millisecond have no order.
            given.sort();
            all.sort();
        }
        assert!(given == all, "{} of {}: in their order, each once", given.len(), all.len());
        let cursor = tail.cursor();
        drop(tail);
        database.clock.advance_ms(3_600_000);
        let mut more = Vec::new();
        for number in 601..=1_200 {
            more.push(commit(&store, event(&database.clock, 0, number)).await);
        }
        let mut resumed = store.tail(TailStart::After(cursor)).await.expect("a reader");
        let again = read(&mut resumed).await;
        let found: HashSet<&EventId> = again.iter().collect();
        assert!(more.iter().all(|id| found.contains(id)), "nothing is missed");
        assert_eq!(found.len(), again.len(), "nothing comes twice to one reader");
        if store.engine() == Engine::Sqlite {
            assert!(again == more, "{} of {}", again.len(), more.len());
        }
        let since_ms = database.clock.steady_ms() - 60_000;
        let mut since = store.tail(TailStart::Since(since_ms)).await.expect("a reader");
        let mut found = read(&mut since).await;
        found.sort();
        more.sort();
        assert!(found == more, "{} of {}", found.len(), more.len());
        let mut everything = store.tail(TailStart::Since(0)).await.expect("a reader");
        let everything = read(&mut everything).await;
        assert_eq!((everything.len(), &everything[0]), (1_201, &before));
        for wrong in ["", "s", "s-1", "m", "m1", "m1.", "m-1.2", "x1", "evt_1"] {
            assert!(store.tail(TailStart::After(wrong.to_owned())).await.is_err(), "{wrong}");
        }
        store.close().await;
    }

    async fn what_is_committed_long_after_its_id_was_made_is_read_too(database: &Database) {
        let store = database.open().await;
        let mut tail = store.tail(TailStart::Now).await.expect("a reader");
        let fresh = commit(&store, event(&database.clock, 0, 1)).await;
        assert_eq!(read(&mut tail).await, [fresh]);
        // From a spool, an hour later; several at once, with one that is not late.
        let group: Vec<NewEvent> =
            (10..400).map(|number| event(&database.clock, if number == 20 { 1 } else { 3_600_000 }, number)).collect();
        let late: HashSet<EventId> = group.iter().map(|event| event.id.clone()).collect();
        store.commit_events(&group).await.expect("committed");
        let given = read(&mut tail).await;
        assert_eq!(given.len(), late.len(), "each once");
        assert_eq!(given.iter().cloned().collect::<HashSet<_>>(), late);
        // Just not late enough to be noted, and behind what was read already.
        database.clock.advance_ms(10_000);
        let slow = commit(&store, event(&database.clock, 2_900, 500)).await;
        let newer = commit(&store, event(&database.clock, 0, 501)).await;
        assert_eq!(read(&mut tail).await, [slow, newer]);
        let cursor = tail.cursor();
        database.clock.advance_ms(7_200_000);
        let other = commit(&store, event(&database.clock, 86_400_000, 600)).await;
        database.clock.advance_ms(7_200_000);
        let mut resumed = store.tail(TailStart::After(cursor)).await.expect("a reader");
        assert!(read(&mut resumed).await.contains(&other), "it came while nobody read");
        store.close().await;
    }
}

fn setup(more: &str) -> Setup {
    let extra = format!("limits: {{ http: {{ api_rate_per_address_per_s: 0 }}{more} }}\n");
    Setup { extra, ..Setup::default() }
}

async fn call(address: SocketAddr, user: &str, number: u64) {
    let (query, body) =
        Platform::app().seal(&text_message(user, 6_000_000_000 + number, &format!("text {number}")));
    let rest = Rest::new(address, None);
    let target = format!("/api/v1/webhooks/wechat/api?{query}");
    assert_eq!(rest.send("POST", &target, "", body.as_bytes()).await.status, 200);
}

/// `dev listen` in a task, with its lines.
struct Listening {
    lines: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Listening {
    fn start(gateway: &str, change: impl FnOnce(&mut ListenArgs)) -> Self {
        let mut args = ListenArgs {
            gateway: gateway.to_owned(),
            key: String::new(),
            to: None,
            secret: None,
            kind: None,
            source: None,
            user_id: None,
            since: None,
            count: None,
        };
        change(&mut args);
        let listener = Listener::new(&args, Clock::system(), &Entropy::system()).expect("arguments");
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&lines);
        let task = tokio::spawn(async move {
            let heard = |line: &str| {
                heard.lock().expect("lines").push(line.to_owned());
                Ok(())
            };
            listener.listen(args.count, heard).await
        });
        Self { lines, task }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("lines").clone()
    }

    /// The lines of events.
    fn events(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(" evt_")).collect()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A way to a gateway that can be cut.
struct Cable {
    address: SocketAddr,
    plugged: Arc<Mutex<CancellationToken>>,
    running: JoinHandle<()>,
}

impl Cable {
    async fn to(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let plugged: Arc<Mutex<CancellationToken>> = Arc::default();
        let state = Arc::clone(&plugged);
        let running = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let cut = state.lock().expect("state").clone();
                if cut.is_cancelled() {
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(gateway).await else { return };
                    tokio::select! {
                        _ended = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
        });
        Self { address, plugged, running }
    }

    fn cut(&self) {
        self.plugged.lock().expect("state").cancel();
    }

    fn plug(&self) {
        *self.plugged.lock().expect("state") = CancellationToken::new();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The numbers of the texts that came.
fn numbers(receiver: &wecom_gateway::cli::dev::receiver::Receiver) -> Vec<u64> {
    receiver.received().iter().map(crate::forwarder::number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_gets_live_events_signed_and_misses_none_across_a_cut() {
    let gateway = Gateway::start("listen", setup(""));
    let (cable, receiver) = (Cable::to(gateway.address()).await, receiver().await);
    let to = receiver.url("/local");
    let listening = Listening::start(&format!("http://{}/", cable.address), |args| {
        args.to = Some(to);
        args.secret = Some("a secret of the developer".to_owned());
        args.kind = Some("message.*".to_owned());
        args.user_id = Some("zhangsan".to_owned());
    });
    // It hears what comes once it is there: until then calls are for nobody.
    let mut number = 0;
    patiently(async || {
        number += 1;
        call(gateway.address(), "zhangsan", number).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        !receiver.received().is_empty()
    })
    .await;
    let first = numbers(&receiver)[0];
    call(gateway.address(), "lisi", 1_000).await;
    let watch = Stopwatch::start();
    call(gateway.address(), "zhangsan", 1_001).await;
    patiently(async || numbers(&receiver).contains(&1_001)).await;
    let behind_ms = watch.ms();
    assert!(behind_ms < 5_000, "{behind_ms} ms behind");
    assert!(receiver.received().iter().all(|one| one.is_signed_with("a secret of the developer")));

    cable.cut();
    for number in 2_000..2_100 {
        call(gateway.address(), "zhangsan", number).await;
    }
    let cut_s = std::env::var("LISTEN_CUT_S").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    tokio::time::sleep(Duration::from_secs(cut_s)).await;
    cable.plug();
    patiently(async || numbers(&receiver).contains(&2_099)).await;
    let expected: Vec<u64> = (first..=number).chain([1_001]).chain(2_000..2_100).collect();
    assert_eq!(numbers(&receiver), expected, "in order, each once, and nobody else's");
    eprintln!("{behind_ms} ms behind the answer; cut for {cut_s} s: none of 100 missed, none twice");
    let lines = listening.lines();
    assert!(lines.iter().any(|line| line.starts_with("the stream broke off")), "{lines:?}");
    assert!(lines.iter().any(|line| line == "the stream goes on"), "{lines:?}");
    let line = listening.events().pop().expect("a line for each");
    assert!(line.contains(" message.text zhangsan -> 200 in ") && line.ends_with(" ms"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_on_the_same_database_streams_it_too() {
    let database = Database::new(Engine::MySql).await;
    let start = |name: &str| Gateway::start(name, Setup { database_url: database.url.clone(), ..setup("") });
    let (one, two) = (start("listen-one"), start("listen-two"));
    let listening = Listening::start(&format!("http://{}", two.address()), |_| {});
    patiently(async || {
        call(one.address(), "zhangsan", 0).await;
        call(two.address(), "zhangsan", 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        Rest::new(two.address(), None).get("/metrics").await.status == 200
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = listening.events().len();
    let watch = Stopwatch::start();
    for number in 10..60 {
        call(if number % 2 == 0 { one.address() } else { two.address() }, "zhangsan", number).await;
    }
    patiently(async || listening.events().len() >= before + 50).await;
    assert!(watch.ms() < 10_000, "{} ms", watch.ms());
    let unique: HashSet<String> = listening.events().into_iter().collect();
    assert_eq!(unique.len(), listening.events().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_asks_for_a_reader_and_keeps_to_its_bounds() {
    let reader = "a-key-of-a-reader-0001";
    let mut setup =
        setup(", stream: { streams_max: 2, heartbeat_ms: 1000, lifetime_ms: 4000, poll_ms: 100 }");
    setup.extra +=
        &["auth: { api_keys: [\"r:reader:", reader, "\", \"a-key-of-an-admin-0001\"] }\n"].concat();
    let mut gateway = Gateway::start("stream-bounds", setup);
    assert_eq!(Rest::new(gateway.address(), None).get(STREAM).await.status, 401);
    let rest = Rest::new(gateway.address(), Some(reader));
    for (target, code) in [
        (format!("{STREAM}?kind=nonsense"), "parameter"),
        (format!("{STREAM}?since=yesterday"), "parameter"),
        (format!("{STREAM}?kinds=*"), "unknown_parameter"),
    ] {
        let answer = rest.get(&target).await;
        assert_eq!((answer.status, &json(&answer)["code"]), (400, &Value::from(code)), "{target}");
    }
    let answer = rest.send("GET", STREAM, "Last-Event-ID: x7\r\n", b"").await;
    assert_eq!((answer.status, &json(&answer)["code"]), (400, &Value::from("cursor")));

    let open = async || {
        let mut wire = Wire::connect(gateway.address()).await.expect("connects");
        let head = format!(
            "GET {STREAM} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {reader}\r\nConnection: close\r\n\r\n"
        );
        wire.send(head.as_bytes()).await.expect("sent");
        let answer = wire.head().await.expect("an answer");
        (wire, answer)
    };
    let watch = Stopwatch::start();
    let (mut first, head) = open().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(
        (head.header("cache-control"), head.header("x-accel-buffering")),
        (Some("no-store"), Some("no"))
    );
    let (second, _) = open().await;
    assert_eq!(open().await.1.status, 503, "the third is one too many");
    let text = String::from_utf8(first.rest().await).expect("text");
    assert!(watch.ms() >= 3_900, "it lives as long as it may");
    assert!(text.matches(": nothing new").count() >= 2, "it says that it lives: {text}");
    drop(second);
    patiently(async || open().await.1.status == 200).await;

    // A stop does not wait for streams.
    let (_third, _) = open().await;
    let watch = Stopwatch::start();
    gateway.signal("TERM");
    assert!(gateway.wait(Duration::from_secs(20)).is_some_and(|status| status.success()));
    assert!(watch.ms() < 8_000, "{} ms", watch.ms());
}

/// On a file a reader asks twice where to begin: what comes between is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_while_a_reader_begins_is_read() {
    let database = Database::new(Engine::Sqlite).await;
    let store = database.open().await;
    for number in 1..=300 {
        let age_ms = -1_000 * i64::try_from(number).expect("small");
        let since = TailStart::Since(database.clock.steady_ms() - age_ms);
        let (tail, id) =
            tokio::join!(store.tail(since), commit(&store, event(&database.clock, age_ms, number)));
        assert_eq!(read(&mut tail.expect("a reader")).await, [id], "{number}");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_holds_up_nobody() {
    let gateway = Gateway::start("stream-slow", setup(", stream: { buffer_events: 1 }"));
    let mut slow = Wire::connect(gateway.address()).await.expect("connects");
    slow.send(format!("GET {STREAM}?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
        .await
        .expect("sent");
    let listening = Listening::start(&format!("http://{}", gateway.address()), |args| {
        args.since = Some("0".to_owned());
        args.count = Some(300);
    });
    for number in 0..300 {
        call(gateway.address(), "zhangsan", number).await;
    }
    patiently(async || listening.task.is_finished()).await;
    assert_eq!(listening.events().len(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_refuses_ends_the_listener_with_the_reason() {
    let mut setup = setup("");
    setup.extra.push_str("auth: { api_keys: [\"a-key-of-an-admin-0001\"] }\n");
    let gateway = Gateway::start("listen-refused", setup);
    let mut listening = Listening::start(&format!("http://{}", gateway.address()), |_| {});
    let refused = (&mut listening.task).await.expect("it ends").expect_err("without a key").to_string();
    assert!(refused.starts_with("the gateway answered 401"), "{refused}");
    for (gateway, to) in [
        ("nonsense", None),
        ("http://127.0.0.1:1", Some("ftp://x")),
        ("http://127.0.0.1:1", Some("http://10.0.0.1/")),
    ] {
        let args = ListenArgs {
            gateway: gateway.to_owned(),
            key: String::new(),
            to: to.map(ToOwned::to_owned),
            secret: None,
            kind: None,
            source: None,
            user_id: None,
            since: None,
            count: None,
        };
        assert!(Listener::new(&args, Clock::system(), &Entropy::system()).is_err(), "{gateway} {to:?}");
    }
}
