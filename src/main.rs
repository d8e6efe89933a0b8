//! Arguments → command; nothing else.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use wecom_gateway::cli::{self, Arguments, Surroundings};
use wecom_gateway::clock::Clock;
use wecom_gateway::entropy::Entropy;

/// A callback costs a fifth less CPU than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Fails only if somebody installed one before, and then TLS works too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        runtime.worker_threads(worker_threads());
    }
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the system gives no threads: {error}"), 1),
    };
    let surroundings = Surroundings {
        directory: Path::new("."),
        input: &mut std::io::stdin(),
        out: &mut std::io::stdout(),
        clock: Clock::system(),
        entropy: Entropy::system(),
    };
    match runtime.block_on(cli::run(arguments, surroundings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), error.exit_code()),
    }
}

/// One processor is left to the database: SQLite's writer has a thread of its own. On two processors one worker makes a
/// callback a sixth cheaper than two, which wake each other for every group (benches/).
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |all| all.get().saturating_sub(1).max(1))
}

/// Says why, each line with the program's name before it.
fn fail(why: &str, code: u8) -> ExitCode {
    for line in why.lines() {
        eprintln!("wecom-gateway: {line}");
    }
    ExitCode::from(code)
}
