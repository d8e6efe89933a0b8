//! The API from the outside: what callbacks leave behind can be read, messages can be sent and followed, and what
//! is wrong is said in one form.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Executor as _;
use wecom_gateway::clock::parse_time_ms;
use wecom_gateway::ids::ApiKeyId;
use wecom_gateway::store::{ApiKeyRow, Role};

use crate::rest::{Rest, json};
use crate::sealer::{CORP, Sealer, app};
use crate::site::{ADMIN, OPERATOR, READER, Setup, Site, until};
use crate::wire::{Answer, Wire};

const CALLBACK: &str = "/api/v1/webhooks/wechat/api";

async fn site() -> Site {
    Site::start(Setup { sources: vec![app("app")], ..Setup::default() }).await
}

fn reader(site: &Site) -> Rest {
    Rest::new(site.address(), Some(READER))
}

fn operator(site: &Site) -> Rest {
    Rest::new(site.address(), Some(OPERATOR))
}

/// The platform posts a sealed callback.
async fn call_back(site: &Site, plaintext: &str) -> Answer {
    let sealed = Sealer::usual().seal_at(plaintext.as_bytes(), site.clock.wall_s());
    let mut wire = Wire::connect(site.address()).await.expect("it listens");
    let target = format!("{CALLBACK}?{}", sealed.query());
    wire.post(&target, sealed.xml().as_bytes()).await.expect("an answer")
}

fn text(user: &str, id: u64, content: &str) -> String {
    format!(
        "<xml><ToUserName>{CORP}</ToUserName><FromUserName>{user}</FromUserName><CreateTime>1700000000</CreateTime>\
         <MsgType>text</MsgType><Content><![CDATA[{content}]]></Content><MsgId>{id}</MsgId></xml>"
    )
}

fn is_time(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|time| time.len() == 24 && time.ends_with('Z') && parse_time_ms(time).is_some())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_can_be_listed_filtered_and_read() {
    let site = site().await;
    for (user, id) in [("zhangsan", 1), ("lisi", 2), ("zhangsan", 3)] {
        assert_eq!(call_back(&site, &text(user, id, "你好 <b> & \"x\"")).await.status, 200);
    }
    let click = format!(
        "<xml><ToUserName>{CORP}</ToUserName><FromUserName>lisi</FromUserName><CreateTime>1700000000</CreateTime>\
         <MsgType>event</MsgType><Event>click</Event><EventKey>k</EventKey></xml>"
    );
    assert_eq!(call_back(&site, &click).await.status, 200);

    let reader = reader(&site);
    let listed = async |query: &str| {
        reader.json(&format!("/api/v1/events?{query}")).await["data"].as_array().unwrap().len()
    };
    assert_eq!(listed("").await, 4);
    assert_eq!(listed("kind=message.text").await, 3);
    assert_eq!(listed("kind=message.*").await, 3);
    assert_eq!(listed("user_id=lisi").await, 2);
    assert_eq!(listed("source=app&kind=event.*").await, 1);
    assert_eq!(listed("source=other").await, 0);
    assert_eq!(listed("since=2020-01-01T00:00:00Z&until=2099-01-01T00:00:00Z").await, 4);
    assert_eq!(listed("until=1600000000").await, 0);

    let first = reader.json("/api/v1/events?limit=3").await;
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let second = reader.json(&format!("/api/v1/events?limit=3&cursor={cursor}")).await;
    assert_eq!((first["data"].as_array().unwrap().len(), second["data"].as_array().unwrap().len()), (3, 1));
    assert_eq!(second["next_cursor"], Value::Null);

    let oldest = &second["data"][0];
    assert!(is_time(&oldest["timestamp"]), "{oldest}");
    let detail = reader.json(&format!("/api/v1/events/{}", oldest["id"].as_str().unwrap())).await;
    assert_eq!(detail["kind"], "message.text");
    assert_eq!(detail["body"]["Content"], "你好 <b> & \"x\"");
    assert_eq!(detail["body"]["MsgId"], "1", "ids are text");
    assert_eq!(detail["raw"].as_str().unwrap(), text("zhangsan", 1, "你好 <b> & \"x\""));
    for unknown in ["evt_00000000000000000000000000", "x", "evt_"] {
        assert_eq!(reader.get(&format!("/api/v1/events/{unknown}")).await.status, 404, "{unknown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_callback_explains_itself_to_the_operator_only() {
    let site = site().await;
    let sealed = Sealer::new(crate::sealer::TOKEN, crate::sealer::KEY, "wwother")
        .seal_at(b"<xml/>", site.clock.wall_s());
    let mut wire = Wire::connect(site.address()).await.unwrap();
    let target = format!("{CALLBACK}?{}", sealed.query());
    let answer = wire.post(&target, sealed.xml().as_bytes()).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (403, "forbidden"));
    for _ in 0..9 {
        assert_eq!(wire.post(&target, sealed.xml().as_bytes()).await.unwrap().status, 403);
    }
    let reader = reader(&site);
    let rejections = async || reader.json("/api/v1/rejections").await["data"].as_array().unwrap().clone();
    let count = |rows: &[Value]| rows.iter().filter_map(|row| row["count"].as_i64()).sum::<i64>();
    until(async || count(&rejections().await) == 10).await;
    let rows = rejections().await;
    assert!(rows.len() <= 3, "ten alike within a moment are {} rows", rows.len());
    let row = &rows[0];
    assert_eq!((row["step"].as_str(), row["status"].as_i64()), (Some("receive_id"), Some(403)));
    assert_eq!((row["source"].as_str(), row["address"].as_str()), (Some("app"), Some("127.0.0.1")));
    assert_eq!(row["found_receive_id"], "wwother");
    assert!(row["expected_receive_id"].as_str().unwrap().contains(CORP));
    assert!(is_time(&row["timestamp"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cannot_fill_the_table_of_rejections() {
    let site = site().await;
    let mut wire = Wire::connect(site.address()).await.unwrap();
    for n in 0..500 {
        let query = format!("msg_signature={n:040}&timestamp=1700000000&nonce=n&x={n}");
        assert_eq!(
            wire.post(&format!("/api/v1/webhooks/kind{n}/h{n}?{query}"), b"x").await.unwrap().status,
            404
        );
    }
    let (store, database) = site.stop().await;
    let count: i64 = {
        let page = store
            .rejections(&wecom_gateway::store::RejectionFilter { limit: 1_000, ..Default::default() })
            .await;
        page.unwrap().items.iter().map(|row| row.count).sum()
    };
    assert_eq!(count, 500, "each is counted");
    let rows = database.number("SELECT COUNT(*) FROM rejections").await;
    assert!(rows <= 100, "{rows} rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_sent_once_and_can_be_followed() {
    let site = site().await;
    let (reader, operator) = (reader(&site), operator(&site));
    let body = json!({"channel": "bot", "msgtype": "text", "text": {"content": "hello"}});
    let send = async |body: &Value, key: &str| {
        let headers = format!("Content-Type: application/json\r\nIdempotency-Key: {key}\r\n");
        operator.send("POST", "/api/v1/messages", &headers, body.to_string().as_bytes()).await
    };
    let taken = send(&body, "k-1").await;
    assert_eq!(taken.status, 202, "{}", taken.text());
    let taken = json(&taken);
    assert_eq!((taken["status"].as_str(), taken["repeated"].as_bool()), (Some("pending"), Some(false)));
    let again = json(&send(&body, "k-1").await);
    assert_eq!((&again["message_id"], again["repeated"].as_bool()), (&taken["message_id"], Some(true)));
    let other = json!({"channel": "bot", "msgtype": "text", "text": {"content": "other"}});
    assert_eq!(send(&other, "k-1").await.status, 409);

    let id = taken["message_id"].as_str().unwrap();
    let status = reader.json(&format!("/api/v1/messages/{id}/status")).await;
    assert_eq!((status["message_id"].as_str(), status["status"].as_str()), (Some(id), Some("pending")));
    assert!(is_time(&status["timestamp"]) && status["details"].is_object(), "{status}");
    for field in ["user_id", "error_message", "recipients"] {
        assert!(status.get(field).is_some(), "{field} is not there");
    }
    let listed = reader.json("/api/v1/messages?channel=bot&status=pending").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!(listed["data"][0]["message_id"], id);
    assert!(!listed.to_string().contains("hello"), "lists do not show what messages say");
    let deliveries = reader.json(&format!("/api/v1/deliveries?message_id={id}")).await;
    let delivery = deliveries["data"][0]["id"].as_str().unwrap();
    let delivery = reader.json(&format!("/api/v1/deliveries/{delivery}")).await;
    assert_eq!((delivery["target"].as_str(), delivery["message_id"].as_str()), (Some("bot"), Some(id)));
    assert!(delivery["tries"].is_array());
    let channels = reader.json("/api/v1/channels").await;
    let bot =
        channels["channels"].as_array().unwrap().iter().find(|channel| channel["name"] == "bot").unwrap();
    assert_eq!((bot["queued"].as_i64(), bot["per_minute_max"].as_i64()), (Some(1), Some(20)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_said_at_once() {
    let site = site().await;
    let operator = operator(&site);
    let long = "x".repeat(3_000);
    for (body, status, said) in [
        (json!({}), 400, "`channel`"),
        (json!({"channel": "none", "msgtype": "text", "text": {"content": "x"}}), 400, "names no channel"),
        (json!({"channel": "off", "msgtype": "text", "text": {"content": "x"}}), 409, "switched off"),
        (json!({"channel": "app", "msgtype": "text", "text": {"content": "x"}}), 409, "cannot send"),
        (json!({"channel": "bot", "msgtype": "text", "text": {"content": long}}), 400, "`text.content`"),
        (json!({"channel": "bot", "msgtype": "nonsense"}), 400, "`msgtype`"),
        (json!([1, 2]), 400, "object"),
    ] {
        let answer = operator.post("/api/v1/messages", &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(json(&answer)["detail"].as_str().unwrap().contains(said), "{body}: {}", answer.text());
    }
    let as_text = operator.send("POST", "/api/v1/messages", "Content-Type: text/plain\r\n", b"{}").await;
    assert_eq!(as_text.status, 415);
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    let deep = operator
        .send("POST", "/api/v1/messages", "Content-Type: application/json\r\n", deep.as_bytes())
        .await;
    assert_eq!(deep.status, 400);
    let large = vec![b' '; (4 << 20) + 1];
    let large = operator.send("POST", "/api/v1/messages", "Content-Type: application/json\r\n", &large).await;
    assert_eq!(large.status, 413);
    assert_eq!(site.database.number("SELECT COUNT(*) FROM messages").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_of_others_make_a_history() {
    let site = site().await;
    let (reader, operator) = (reader(&site), operator(&site));
    let path = "/api/v1/messages/order%2F42/status";
    assert_eq!(reader.get(path).await.status, 404);
    for (status, user) in [("sent", None), ("delivered", Some("lisi")), ("read", Some("lisi"))] {
        let answer = operator.post(path, &json!({"status": status, "user_id": user})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let now = reader.json(path).await;
    assert_eq!(
        (now["message_id"].as_str(), now["status"].as_str()),
        (Some("order/42"), Some("read")),
        "{now}"
    );
    let failed =
        json!({"status": "failed", "user_id": "wangwu", "code": 81013, "error_message": "no such user"});
    assert_eq!(operator.post(path, &failed).await.status, 200);

    let history = reader.get("/api/v1/messages/order%2F42/history?limit=2").await;
    let link = history.header("link").expect("there is more").to_owned();
    let first = json(&history);
    assert_eq!(first.as_array().unwrap().len(), 2);
    assert!(
        first
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| is_time(&entry["timestamp"]) && entry.get("recipients").is_none())
    );
    let next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).expect("a link");
    let rest = reader.get(next).await;
    let rest = (rest.header("link").map(str::to_owned), json(&rest));
    assert_eq!((rest.0, rest.1.as_array().unwrap().len()), (None, 2), "{}", rest.1);
    assert_eq!(rest.1[1]["error_message"], "no such user");

    for wrong in [
        json!({}),
        json!({"status": "pending"}),
        json!({"status": "uncertain"}),
        json!({"status": "x"}),
        json!({"status": "sent", "colour": 1}),
        json!({"status": 1}),
    ] {
        assert_eq!(operator.post(path, &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(reader.json("/api/v1/messages/order%2F42/interactions").await["data"], json!([]));
    assert_eq!(reader.get("/api/v1/messages/nobody-knows/history").await.status, 404);
    assert_eq!(reader.get("/api/v1/messages/nobody-knows/interactions").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_for_one_source_sees_nothing_of_others() {
    let site = site().await;
    assert_eq!(call_back(&site, &text("zhangsan", 1, "private")).await.status, 200);
    let send = json!({"channel": "bot", "msgtype": "text", "text": {"content": "x"}});
    let message = json(&operator(&site).post("/api/v1/messages", &send).await)["message_id"].clone();
    let all = reader(&site).json("/api/v1/events").await;
    let event = all["data"][0]["id"].as_str().unwrap();
    let deliveries = reader(&site).json("/api/v1/deliveries").await;
    let delivery = deliveries["data"][0]["id"].as_str().unwrap();

    let key = "a-key-for-other-0123456789";
    let id: ApiKeyId = site.ids.make();
    let hash = crate::auth::hash(key);
    let row = ApiKeyRow {
        id,
        name: "other".to_owned(),
        shown_prefix: "a-key".to_owned(),
        hash,
        role: Role::Operator,
        sources: vec!["other".to_owned()],
        created_ms: 0,
        revoked_ms: None,
    };
    site.store.add_api_key(&row).await.unwrap();
    let other = Rest::new(site.address(), Some(key));
    for path in
        ["events", "events?source=app", "messages", "messages?channel=bot", "deliveries", "rejections"]
    {
        assert_eq!(other.json(&format!("/api/v1/{path}")).await["data"], json!([]), "{path}");
    }
    let message = message.as_str().unwrap();
    for path in [
        format!("events/{event}"),
        format!("deliveries/{delivery}"),
        format!("messages/{message}/status"),
        format!("messages/{message}/history"),
        format!("messages/{message}/interactions"),
    ] {
        assert_eq!(other.get(&format!("/api/v1/{path}")).await.status, 404, "{path}");
    }
    let report = json!({"status": "read"});
    assert_eq!(other.post(&format!("/api/v1/messages/{message}/status"), &report).await.status, 404);
    assert_eq!(other.post("/api/v1/messages", &send).await.status, 400);
    assert_eq!(other.json("/api/v1/webhooks/handlers").await["total"], 0);
    assert_eq!(other.json("/api/v1/channels").await["channels"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_and_wrong_parameters_are_named() {
    let site = site().await;
    let reader = reader(&site);
    for (target, said) in [
        ("/api/v1/events?knd=x", "`knd` is not a parameter"),
        ("/api/v1/events?kind=a&kind=b", "`kind` stands more than once"),
        ("/api/v1/events?limit=0", "`limit` must be"),
        ("/api/v1/events?limit=1001", "`limit` must be"),
        ("/api/v1/events?since=yesterday", "`since` must be"),
        ("/api/v1/events?message_id=x", "`message_id` is not"),
        ("/api/v1/events?cursor=nonsense", "`cursor`"),
        ("/api/v1/messages?status=accepted", "`status` is not"),
        ("/api/v1/deliveries?state=x", "`state` is not"),
        ("/api/v1/rejections?x", "`x` is not a parameter"),
        ("/api/v1/messages/x/history?cursor=y", "`cursor` is not"),
    ] {
        let answer = reader.get(target).await;
        assert_eq!(answer.status, 400, "{target}: {}", answer.text());
        let problem = json(&answer);
        assert!(problem["detail"].as_str().unwrap().contains(said), "{target}: {problem}");
        assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!((problem["type"].as_str(), problem["status"].as_i64()), (Some("about:blank"), Some(400)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_database_shows_nothing_of_itself() {
    let site = site().await;
    let mut beside = site.database.connect().await;
    beside.execute("DROP TABLE rejections").await.unwrap();
    beside.execute("DROP TABLE events").await.unwrap();
    let reader = reader(&site);
    for path in ["/api/v1/rejections", "/api/v1/events", "/api/v1/events/evt_00000000000000000000000000"] {
        let answer = reader.get(path).await;
        assert_eq!(answer.status, 500, "{path}: {}", answer.text());
        let shown = answer.text().to_lowercase();
        for word in ["sql", "table", "rejections", "select", "store", ".rs", "panick"] {
            assert!(!shown.contains(word), "{path} shows `{word}`: {shown}");
        }
        assert_eq!(json(&answer)["code"], "internal");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_header_can_be_slipped_in() {
    let site = site().await;
    let reader = reader(&site);
    for injected in ["%0d%0aX-Evil:%201", "%0aX-Evil:1", "%0d", "%00", "%E2%80%A8X-Evil:1", "a%20b%22%3E"] {
        for target in [
            format!("/api/v1/messages/{injected}/status"),
            format!("/api/v1/messages/{injected}/history?limit=1"),
            format!("/api/v1/events/{injected}"),
            format!("/api/v1/events?{injected}={injected}"),
            format!("/api/v1/events?cursor={injected}"),
            format!("/{injected}"),
            format!(
                "{CALLBACK}?echostr={injected}&msg_signature={injected}&timestamp={injected}&nonce={injected}"
            ),
        ] {
            let answer = reader.get(&target).await;
            assert!(answer.status != 500, "{target}");
            assert_eq!(answer.header("x-evil"), None, "{target}: {}", answer.head);
            assert!(!answer.text().to_lowercase().contains("\nx-evil"), "{target}: {}", answer.text());
        }
    }
    // A history whose next part has such an id in its link.
    let path = "/api/v1/messages/a%0d%0aX-Evil:%201/status";
    for status in ["sent", "read"] {
        assert_eq!(operator(&site).post(path, &json!({"status": status})).await.status, 200);
    }
    let history = reader.get("/api/v1/messages/a%0d%0aX-Evil:%201/history?limit=1").await;
    assert_eq!(history.status, 200);
    assert!(
        history.header("link").unwrap().contains("a%0d%0aX-Evil:%201") && history.header("x-evil").is_none()
    );
    // Raw line ends in a request are no request.
    let mut wire = Wire::connect(site.address()).await.unwrap();
    wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\rb\r\n\r\n").await.unwrap();
    assert_eq!(wire.answer().await.unwrap().status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_says_how_it_is_doing() {
    let site = site().await;
    let anybody = Rest::new(site.address(), None);
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(anybody.get(path).await.status, 200, "{path}");
    }
    let health = anybody.json("/health").await;
    assert_eq!(
        health,
        json!({"status": "ok", "checks": {"store": "ok", "spool": "idle", "queue": "ok", "durability": "strict", "redis": "off"}})
    );
    let status = reader(&site).json("/api/v1/status").await;
    assert_eq!((status["status"].as_str(), status["version"].as_str()), (Some("ok"), Some("0.0.0-test")));
    assert_eq!((status["database"].as_str(), status["handlers"].as_i64()), (Some("sqlite"), Some(1)));
    assert!(is_time(&status["started_at"]));
    let handlers = reader(&site).json("/api/v1/webhooks/handlers").await;
    assert_eq!(
        handlers,
        json!({"total": 1, "handlers": [{"name": "api", "kind": "wechat", "path": CALLBACK, "sources": ["app"], "enabled": true}]})
    );
    site.server.health.set_store(false);
    let answer = anybody.get("/health/ready").await;
    if answer.status == 503 {
        assert_eq!(json(&answer)["checks"]["store"], "unavailable");
    }
    assert_eq!(anybody.get("/health/live").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_webhooks_there_are_no_callback_routes() {
    let site = Site::start(Setup { sources: vec![app("app")], callbacks: false, ..Setup::default() }).await;
    assert_eq!(call_back(&site, &text("zhangsan", 1, "x")).await.status, 404);
    assert_eq!(Rest::new(site.address(), None).get(CALLBACK).await.status, 404);
    assert_eq!(Rest::new(site.address(), None).get("/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_is_ordered_and_its_outcome_told() {
    let mut site = site().await;
    let admin = Rest::new(site.address(), Some(ADMIN));
    let mut orders = std::mem::replace(&mut site.reload, tokio::sync::mpsc::channel(1).1);
    let outcomes = tokio::spawn(async move {
        let reloaded = wecom_gateway::http::api::reload::Reloaded { channels: 2, handlers: 1 };
        let _ = orders.recv().await.unwrap().send(Ok(reloaded));
        let _ =
            orders.recv().await.unwrap().send(Err("line 3: `colour` is not a key /etc/secret".to_owned()));
        orders
    });
    let good = admin.post("/api/v1/reload", &Value::Null).await;
    assert_eq!((good.status, json(&good)), (200, json!({"channels": 2, "handlers": 1})));
    let bad = admin.post("/api/v1/reload", &Value::Null).await;
    assert_eq!(bad.status, 409);
    assert!(!bad.text().contains("colour") && !bad.text().contains("/etc"), "{}", bad.text());
    drop(outcomes.await.unwrap());
    let gone = tokio::time::timeout(Duration::from_secs(5), admin.post("/api/v1/reload", &Value::Null)).await;
    assert_eq!(gone.expect("in time").status, 503);
}
