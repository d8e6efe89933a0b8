//! The clients: each owns one keep-alive connection and has one request under way.
//!
//! Closed loop: a client sends as soon as it has its answer. Open loop: request *i* is due at *i* / rate; when all
//! clients are busy it waits, and its latency counts from when it was due, so that a stall of the server shows in
//! every request it held up. Waiting has the resolution of the runtime's timer, one millisecond.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::corpus::Corpus;

/// Answers are small; a larger one is an error of the run.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long requests under way at the end may still take.
const GRACE: Duration = Duration::from_secs(5);

/// How hard to press.
#[derive(Clone, Copy)]
pub struct Plan {
    pub clients: usize,
    /// Requests a second; `None` is closed loop.
    pub rate: Option<f64>,
    pub warmup: Duration,
    pub measured: Duration,
}

/// What was seen in the measured time.
#[derive(Default)]
pub struct Tally {
    pub latencies_us: Vec<u32>,
    pub by_status: BTreeMap<u16, u64>,
    pub connection_errors: u64,
    /// Requests without an answer when the run ended.
    pub unanswered: u64,
    /// The body of the first answer, for the reader of the report.
    pub first_body: Option<String>,
    /// Measured time; shorter than planned if the corpus was used up.
    pub elapsed: Duration,
    pub exhausted: bool,
}

struct Run {
    corpus: Corpus,
    authority: String,
    plan: Plan,
    start: Instant,
    next: Cell<usize>,
    last_answer: Cell<Instant>,
    tally: RefCell<Tally>,
}

/// Runs `plan`; calls `mark` when the measured time starts and when it ends.
pub async fn run(corpus: Corpus, authority: &str, plan: Plan, mut mark: impl FnMut()) -> Tally {
    let start = Instant::now();
    let run = Rc::new(Run {
        corpus,
        authority: authority.to_owned(),
        plan,
        start,
        next: Cell::new(0),
        last_answer: Cell::new(start + plan.warmup),
        tally: RefCell::default(),
    });
    let local = LocalSet::new();
    let clients: Vec<_> = (0..plan.clients).map(|_| local.spawn_local(client(Rc::clone(&run)))).collect();
    local
        .run_until(async {
            tokio::time::sleep_until((start + plan.warmup).into()).await;
            mark();
            let all = async {
                for client in clients {
                    let _ = client.await;
                }
            };
            if tokio::time::timeout(plan.measured + GRACE, all).await.is_err() {
                run.last_answer.set(run.end());
            }
            mark();
        })
        .await;
    let mut tally = run.tally.take();
    let first = start + plan.warmup;
    let last = if tally.exhausted { run.last_answer.get() } else { run.end() };
    tally.elapsed = last.saturating_duration_since(first);
    tally
}

impl Run {
    fn end(&self) -> Instant {
        self.start + self.plan.warmup + self.plan.measured
    }

    /// The next request and when it was due; `None` at the end of the time or of the corpus.
    async fn next(&self) -> Option<(&[u8], Instant)> {
        let at = self.next.get();
        let due = match self.plan.rate {
            #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 requests")]
            Some(rate) => self.start + Duration::from_secs_f64(at as f64 / rate),
            None => Instant::now(),
        };
        if due >= self.end() {
            return None;
        }
        let Some(request) = self.corpus.request(at) else {
            self.tally.borrow_mut().exhausted = true;
            return None;
        };
        self.next.set(at + 1);
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        Some((request, due))
    }

    fn record(&self, due: Instant, answer: anyhow::Result<Answer>) -> bool {
        let now = Instant::now();
        let mut tally = self.tally.borrow_mut();
        let usable = answer.is_ok();
        // What was due in the warm-up, or answered after the end, is no part of the figure.
        if due >= self.start + self.plan.warmup && (now <= self.end() || self.plan.rate.is_some()) {
            self.last_answer.set(now);
            match answer {
                Ok(answer) => {
                    *tally.by_status.entry(answer.status).or_default() += 1;
                    let latency = u32::try_from((now - due).as_micros()).unwrap_or(u32::MAX);
                    tally.latencies_us.push(latency);
                    tally.first_body.get_or_insert(answer.body);
                }
                Err(_) => tally.connection_errors += 1,
            }
        }
        usable
    }
}

async fn client(run: Rc<Run>) {
    let mut connection = None;
    while let Some((request, due)) = run.next().await {
        run.tally.borrow_mut().unanswered += 1;
        let want_body = run.tally.borrow().first_body.is_none();
        let answer = ask(&mut connection, &run.authority, request, want_body).await;
        run.tally.borrow_mut().unanswered -= 1;
        if !run.record(due, answer) {
            connection = None;
        }
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

struct Answer {
    status: u16,
    body: String,
}

async fn ask(
    connection: &mut Option<Connection>,
    authority: &str,
    request: &[u8],
    want_body: bool,
) -> anyhow::Result<Answer> {
    if connection.is_none() {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        *connection = Some(Connection { stream, buffer: vec![0; ANSWER_BYTES_MAX] });
    }
    let Some(Connection { stream, buffer }) = connection else { bail!("just connected") };
    stream.write_all(request).await?;
    let mut have = 0;
    loop {
        let more = stream.read(&mut buffer[have..]).await?;
        if more == 0 {
            bail!("connection closed, or the answer is larger than {ANSWER_BYTES_MAX} bytes");
        }
        have += more;
        if let Some((head_end, body_length)) = head(&buffer[..have])? {
            let whole = head_end + body_length;
            if have >= whole {
                let status = std::str::from_utf8(&buffer[9..12])?.parse()?;
                let body = if want_body { &buffer[head_end..whole] } else { &[] };
                return Ok(Answer { status, body: String::from_utf8_lossy(body).into_owned() });
            }
        }
    }
}

/// Where the head of an answer ends and how long its body is; `None` while the head is incomplete.
fn head(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let lines = std::str::from_utf8(&bytes[..end])?.split("\r\n").skip(1);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Some((end + 4, value.trim().parse().context("Content-Length")?)));
        }
    }
    bail!("the answer has no Content-Length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_whole_or_not_at_all() -> anyhow::Result<()> {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nsuccess";
        assert_eq!(head(&answer[..20])?, None);
        assert_eq!(head(answer)?, Some((38, 7)));
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        Ok(())
    }
}
