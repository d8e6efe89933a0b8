//! Bounded load on a callback URL of this machine: sealed callbacks, URL verifications or plain GETs, by a fixed
//! number of keep-alive clients on one thread. Prints one line of JSON.

mod clients;
mod corpus;
mod processes;
mod seal;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use clients::{Plan, Tally};
use corpus::{Corpus, Target};
use processes::Group;
use seal::Sealer;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// POST distinct encrypted text messages
    Callbacks {
        #[command(flatten)]
        account: Account,
        #[command(flatten)]
        pressure: Pressure,
        /// Callbacks sealed before the start; when they are used up the run ends early
        #[arg(long, default_value_t = 200_000)]
        corpus: u64,
        /// Start again from the front instead: only for a server that does not tell repeats
        #[arg(long)]
        wrap: bool,
    },
    /// GET URL verifications
    Handshake {
        #[command(flatten)]
        account: Account,
        #[command(flatten)]
        pressure: Pressure,
    },
    /// GET the paths of a file, one a line
    Get {
        #[arg(long)]
        paths: PathBuf,
        /// One more header line, for example `Authorization: Bearer …`
        #[arg(long)]
        header: Vec<String>,
        #[command(flatten)]
        pressure: Pressure,
    },
}

#[derive(Args)]
struct Account {
    #[arg(long)]
    token: String,
    /// EncodingAESKey, 43 characters
    #[arg(long)]
    key: String,
    #[arg(long)]
    receive_id: String,
    /// Message ids count up from here; now, in nanoseconds, if not given
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Args)]
struct Pressure {
    /// For example <http://127.0.0.1:8080/api/v1/webhooks/wechat/api>
    #[arg(long)]
    url: String,
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Requests a second (open loop); full speed (closed loop) if not given
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// Report the CPU time of these processes: name=PID[,PID…]
    #[arg(long)]
    pid: Vec<Group>,
}

impl Account {
    fn sealer(&self) -> anyhow::Result<Sealer> {
        Sealer::new(&self.token, &self.key, &self.receive_id)
    }

    fn seed(&self) -> anyhow::Result<u64> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(self.seed.unwrap_or(u64::try_from(now.as_nanos())?))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { what } = Arguments::parse();
    let (mode, pressure, corpus, seed) = match what {
        What::Callbacks { account, pressure, corpus, wrap } => {
            let (target, seed) = (Target::parse(&pressure.url)?, account.seed()?);
            let mut corpus =
                Corpus::callbacks(&target, &account.sealer()?, &account.receive_id, corpus, seed)?;
            corpus.wraps = wrap;
            ("callbacks", pressure, corpus, Some(seed))
        }
        What::Handshake { account, pressure } => {
            let (target, seed) = (Target::parse(&pressure.url)?, account.seed()?);
            let corpus = Corpus::handshakes(&target, &account.sealer()?, 10_000, seed)?;
            ("handshake", pressure, corpus, Some(seed))
        }
        What::Get { paths, header, pressure } => {
            let target = Target::parse(&pressure.url)?;
            let corpus = Corpus::gets(&target, &std::fs::read_to_string(paths)?, &header)?;
            ("get", pressure, corpus, None)
        }
    };
    measure(mode, pressure, corpus, seed).await
}

async fn measure(mode: &str, pressure: Pressure, corpus: Corpus, seed: Option<u64>) -> anyhow::Result<()> {
    let target = Target::parse(&pressure.url)?;
    let plan = Plan {
        clients: pressure.clients,
        rate: pressure.rate,
        warmup: Duration::from_secs_f64(pressure.warmup),
        measured: Duration::from_secs_f64(pressure.seconds),
    };
    let mut groups = pressure.pid;
    groups.push(Group::own());
    let mut readings: Vec<Vec<anyhow::Result<u64>>> = Vec::new();
    let mark = || readings.push(groups.iter().map(Group::cpu_us).collect());
    let mut tally = clients::run(corpus, &target.authority, plan, mark).await;

    let answered = tally.latencies_us.len();
    let mut cpu = serde_json::Map::new();
    for (at, group) in groups.iter().enumerate() {
        let reading =
            |mark: usize| readings.get(mark).and_then(|all| all.get(at)).and_then(|us| us.as_ref().ok());
        let spent = reading(1).zip(reading(0)).map(|(after, before)| after.saturating_sub(*before));
        cpu.insert(group.name.clone(), spent.map_or(Value::Null, |us| rounded(per(us, answered))));
    }
    let report = report(mode, &pressure.url, plan, seed, &mut tally, &cpu.into());
    println!("{report}");
    ensure!(answered > 0, "no request was answered");
    Ok(())
}

fn report(mode: &str, url: &str, plan: Plan, seed: Option<u64>, tally: &mut Tally, cpu: &Value) -> Value {
    tally.latencies_us.sort_unstable();
    let answered = tally.latencies_us.len();
    let quantile = |part: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = (part * answered as f64).ceil() as usize;
        tally.latencies_us.get(at.saturating_sub(1)).map_or(Value::Null, |us| json!(f64::from(*us) / 1000.0))
    };
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 requests")]
    let per_second = answered as f64 / tally.elapsed.as_secs_f64();
    json!({
        "mode": mode, "url": url, "clients": plan.clients, "rate": plan.rate, "seed": seed,
        "seconds": rounded(tally.elapsed.as_secs_f64()), "exhausted": tally.exhausted,
        "requests": answered, "ok": tally.by_status.get(&200).copied().unwrap_or(0), "status": tally.by_status,
        "connection_errors": tally.connection_errors, "unanswered": tally.unanswered,
        "per_second": per_second.round(),
        "ms": { "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99), "p99_9": quantile(0.999),
                "max": quantile(1.0) },
        "cpu_us": cpu, "first_body": tally.first_body,
    })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per(total: u64, count: usize) -> f64 {
    total as f64 / count.max(1) as f64
}

fn rounded(figure: f64) -> Value {
    json!((figure * 100.0).round() / 100.0)
}
