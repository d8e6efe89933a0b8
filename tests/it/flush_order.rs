//! R-2b: on the wire of the kernel, no answer leaves before the flush that covers it has returned.
//!
//! The gateway runs under `strace`; the trace is read as a sequence. A callback's row is written to the log at the
//! first write there after its request was read, or later; so the flush that covers it starts after that write, and
//! ends before the answer is written.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::gateway::{Folder, Gateway, Platform, Setup, text_message};
use crate::wire::Wire;

const CLIENTS: usize = 64;
const CALLBACKS: u64 = 10_000;
const TARGET: &str = "/api/v1/webhooks/wechat/api";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_leaves_before_its_flush() {
    let folder = Folder::new("trace");
    let trace_file = folder.path().join("trace");
    let mut gateway = Gateway::start("flush-order", Setup::default());
    let mut strace = Command::new("strace")
        .args([
            "-f",
            "-q",
            "-y",
            "-e",
            "trace=fsync,fdatasync,pwrite64,read,recvfrom,sendto,writev,write",
            // A disk that takes 2 ms to flush: on a faster one fewer callbacks wait for each flush.
            "-e",
            "inject=fsync,fdatasync:delay_enter=2000",
            "-s",
            "16",
            "-o",
        ])
        .arg(&trace_file)
        .arg("-p")
        .arg(gateway.pid().to_string())
        .stdin(Stdio::null())
        .spawn()
        .expect("strace is installed");
    wait_until_traced(gateway.pid()).await;
    load(&gateway).await;
    gateway.signal("TERM");
    gateway.wait(Duration::from_secs(10)).expect("it ends");
    strace.wait().expect("strace ends with it");
    let trace = std::fs::read_to_string(&trace_file).expect("a trace");
    let seen = Sequence::read(&trace);
    eprintln!("{} answers, {} flushes", seen.answers, seen.flushes);
    assert_eq!(seen.answers, CALLBACKS, "every answer is in the trace");
    assert_eq!(seen.early, 0, "answers written before a flush that covers them");
    assert!(
        seen.answers / seen.flushes.max(1) > 8,
        "groups: {} answers, {} flushes",
        seen.answers,
        seen.flushes
    );
}

async fn load(gateway: &Gateway) {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = gateway.address();
            tokio::spawn(async move {
                let platform = Platform::app();
                let mut wire = Wire::connect(address).await.expect("connects");
                for id in (0..CALLBACKS).skip(client).step_by(CLIENTS) {
                    let (query, body) = platform.seal(&text_message("zhangsan", id, "flush order"));
                    let answer =
                        wire.post(&format!("{TARGET}?{query}"), body.as_bytes()).await.expect("an answer");
                    assert_eq!(answer.status, 200);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("client");
    }
}

/// Waits until every thread of `pid` has a tracer.
async fn wait_until_traced(pid: u32) {
    for _ in 0..200 {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
        let traced = threads.flatten().all(|thread| {
            let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        });
        if traced {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("strace does not attach");
}

/// What a trace says about the order of requests, flushes and answers.
#[derive(Default)]
struct Sequence {
    answers: u64,
    flushes: u64,
    early: u64,
}

impl Sequence {
    fn read(trace: &str) -> Self {
        let mut out = Self::default();
        // By thread: the call it is in, for lines that strace splits in two.
        let mut unfinished: HashMap<&str, (&str, usize)> = HashMap::new();
        // By connection: when its request was read.
        let mut requested: HashMap<String, usize> = HashMap::new();
        let mut last_flush_start = None;
        let mut logged = Vec::new();
        for (at, line) in trace.lines().enumerate() {
            let Some((thread, call)) = line.trim_start().split_once(' ') else { continue };
            let call = call.trim_start();
            let (start, whole) = if call.starts_with("<... ") {
                let Some((first, start)) = unfinished.remove(thread) else { continue };
                (start, first)
            } else {
                (at, call)
            };
            // A write counts from its start, everything else from its end.
            if is_answer(whole) && start == at {
                out.answers += 1;
                let read = requested.get(&descriptor(whole));
                let written = read.and_then(|read| first_after(&logged, *read));
                let covered = written.is_some_and(|write| last_flush_start > Some(write));
                out.early += u64::from(!covered);
            }
            if call.ends_with("<unfinished ...>") {
                unfinished.insert(thread, (call, at));
                continue;
            }
            if whole.starts_with("pwrite64(") && whole.contains("-wal>") {
                logged.push(at);
            }
            if whole.starts_with("fsync(") || whole.starts_with("fdatasync(") {
                out.flushes += 1;
                last_flush_start = last_flush_start.max(Some(start));
            }
            let text = if call.starts_with("<... ") { call } else { whole };
            if (whole.starts_with("recvfrom(") || whole.starts_with("read(")) && text.contains("\"POST ") {
                requested.insert(descriptor(whole), at);
            }
        }
        out
    }
}

/// The first of the sorted `places` behind `place`.
fn first_after(places: &[usize], place: usize) -> Option<usize> {
    places.get(places.partition_point(|&other| other <= place)).copied()
}

fn is_answer(call: &str) -> bool {
    (call.starts_with("sendto(") || call.starts_with("writev(") || call.starts_with("write("))
        && call.contains("\"HTTP/1.1 200 OK")
}

/// `fd<what it is>`, the same in every call on one connection.
fn descriptor(call: &str) -> String {
    let inner = call.split_once('(').map_or("", |(_, rest)| rest);
    inner.split_once('>').map_or(inner, |(descriptor, _)| descriptor).to_owned()
}

#[test]
fn the_reader_sees_an_early_answer() {
    const READ: &str = "1 recvfrom(9<TCP>, \"POST /api/v1/web\"..., 10) = 10\n";
    const WRITTEN: &str = "2 pwrite64(5</d/gateway.db-wal>, \"\"..., 8192, 32) = 8192\n";
    const BEGUN: &str = "2 fdatasync(5</d/gateway.db-wal> <unfinished ...>\n1 read(3<x>, \"\", 1) = 0\n";
    const FLUSHED: &str = "2 <... fdatasync resumed>) = 0\n";
    const ANSWERED: &str = "1 sendto(9<TCP>, \"HTTP/1.1 200 OK\\r\"..., 90, 0) = 90\n";
    let seen = Sequence::read(&[READ, WRITTEN, BEGUN, FLUSHED, ANSWERED].concat());
    assert_eq!((seen.answers, seen.flushes, seen.early), (1, 1, 0));
    for (early, why) in [
        ([BEGUN, READ, WRITTEN, FLUSHED, ANSWERED], "the flush began before the request was read"),
        ([READ, BEGUN, WRITTEN, FLUSHED, ANSWERED], "the flush began before the row was written"),
        ([WRITTEN, READ, BEGUN, FLUSHED, ANSWERED], "nothing was written after the request"),
        ([READ, WRITTEN, BEGUN, ANSWERED, FLUSHED], "the flush had not returned"),
    ] {
        assert_eq!(Sequence::read(&early.concat()).early, 1, "{why}");
    }
}
