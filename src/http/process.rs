//! What the process itself uses, under the names Prometheus expects, read from `/proc` when somebody looks. Where
//! there is no `/proc`, the figures stay at zero.

use std::fs;

use metrics::{Counter, Gauge};

use crate::http::metrics::Maker;

/// The kernel counts processor time in hundredths of a second on every architecture we build for.
const TICKS_PER_S: u64 = 100;

/// Handles of the process's figures.
pub(super) struct ProcessMetrics {
    cpu_seconds: Counter,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    threads: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    start_time_seconds: Gauge,
}

impl ProcessMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            cpu_seconds: make.counter("process_cpu_seconds_total", "Processor time used.", &[]),
            resident_bytes: make.gauge("process_resident_memory_bytes", "Memory in use.", &[]),
            virtual_bytes: make.gauge("process_virtual_memory_bytes", "Memory mapped.", &[]),
            threads: make.gauge("process_threads", "Threads.", &[]),
            open_fds: make.gauge("process_open_fds", "Open descriptors.", &[]),
            max_fds: make.gauge("process_max_fds", "Descriptors the process may have.", &[]),
            start_time_seconds: make.gauge("process_start_time_seconds", "When it started, since 1970.", &[]),
        }
    }

    /// Brings the figures up to date.
    pub(super) fn read(&self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |name| number_after(&status, name).map(|kb| kb * 1024.0);
        set(&self.resident_bytes, kilobytes("VmRSS:"));
        set(&self.virtual_bytes, kilobytes("VmSize:"));
        set(&self.threads, number_after(&status, "Threads:"));
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        set(&self.max_fds, number_after(&limits, "Max open files"));
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.open_fds.set(f64::from(u32::try_from(open).unwrap_or(u32::MAX)));
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some((cpu_ticks, start_ticks)) = ticks(&stat) {
            self.cpu_seconds.absolute(cpu_ticks / TICKS_PER_S);
            let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
            let start_s = u32::try_from(start_ticks / TICKS_PER_S).map_or(0.0, f64::from);
            set(&self.start_time_seconds, number_after(&boot, "btime").map(|boot_s| boot_s + start_s));
        }
    }
}

fn set(gauge: &Gauge, value: Option<f64>) {
    if let Some(value) = value {
        gauge.set(value);
    }
}

/// The first number behind `name` at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Processor time and start time, in ticks. The program's name, in brackets, may hold anything.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // utime, stime and starttime are fields 14, 15 and 22 of proc(5), which counts from 1 with the name second.
    Some((number(11)? + number(12)?, number(19)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_the_kernels_texts() {
        let stat = "7 (a) (b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 123456 9 9";
        assert_eq!(ticks(stat), Some((200, 123_456)));
        assert_eq!(ticks(""), None);
        assert_eq!(number_after("VmRSS:\t  1234 kB\n", "VmRSS:"), Some(1234.0));
        assert_eq!(
            number_after("Max open files            20000                20000  files", "Max open files"),
            Some(20_000.0)
        );
        assert_eq!(number_after("", "btime"), None);
    }
}
