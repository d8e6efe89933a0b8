//! CPU time of other processes, from `/proc`.

use std::str::FromStr;

use anyhow::Context;

/// `/proc/PID/stat` counts in hundredths of a second on every Linux.
const TICK_US: u64 = 10_000;

/// Processes reported under one name, all threads included.
#[derive(Clone)]
pub struct Group {
    pub name: String,
    pids: Vec<u32>,
}

impl FromStr for Group {
    type Err = anyhow::Error;

    /// Reads `name=PID[,PID…]`.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, pids) = text.split_once('=').context("expected name=PID[,PID…]")?;
        let pids = pids.split(',').map(str::parse).collect::<Result<_, _>>().context("a PID is a number")?;
        Ok(Self { name: name.to_owned(), pids })
    }
}

impl Group {
    /// This process.
    pub fn own() -> Self {
        Self { name: "load".to_owned(), pids: vec![std::process::id()] }
    }

    /// Microseconds of CPU used so far by all of them together.
    pub fn cpu_us(&self) -> anyhow::Result<u64> {
        self.pids.iter().map(|pid| cpu_us(*pid)).sum()
    }
}

fn cpu_us(pid: u32) -> anyhow::Result<u64> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The name in brackets may hold blanks; utime and stime are fields 14 and 15 counted from 1, bracket at 2.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<u64>() * TICK_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cpu_time_grows_with_work() -> anyhow::Result<()> {
        let own = Group::own();
        let before = own.cpu_us()?;
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 60 {
            std::hint::black_box(start);
        }
        assert!(own.cpu_us()? > before);
        assert!("gateway".parse::<Group>().is_err() && "gateway=12,x".parse::<Group>().is_err());
        Ok(())
    }
}
