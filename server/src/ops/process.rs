//! Figures that every process has, under the names that Prometheus's own libraries give them: dashboards
//! and alarms for `process_*` work as they are. Looked at when a scrape asks.

use procfs::process::{LimitValue, Process};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// The figures of this process.
#[derive(Debug)]
pub(super) struct ProcessMetrics;

/// What the system says of this process now.
#[derive(Debug)]
struct Figures {
    cpu_seconds: f64,
    /// Since 1970.
    started_seconds: f64,
    open_fds: u64,
    max_fds: u64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
}

impl Figures {
    /// `None` where the system does not say.
    fn now() -> Option<Figures> {
        let this = Process::myself().ok()?;
        let stat = this.stat().ok()?;
        let ticks = procfs::ticks_per_second() as f64;
        let booted = procfs::boot_time_secs().ok()? as f64;
        let max_fds = match this.limits().ok()?.max_open_files.soft_limit {
            LimitValue::Value(files) => files,
            LimitValue::Unlimited => u64::MAX,
        };
        Some(Figures {
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            started_seconds: booted + stat.starttime as f64 / ticks,
            open_fds: this.fd_count().ok()? as u64,
            max_fds,
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            threads: u64::try_from(stat.num_threads).unwrap_or_default(),
        })
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        // Without an answer of the system they are missing, which is how others do it.
        let Some(now) = Figures::now() else { return Ok(()) };
        let mut show =
            |name: &str, help: &str, figure: &dyn Shown| figure.show(&mut encoder, name, help);
        show(
            "process_cpu_seconds",
            "Total user and system CPU time spent in seconds.",
            &ConstCounter::new(now.cpu_seconds),
        )?;
        show(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            &ConstGauge::new(now.started_seconds),
        )?;
        show(
            "process_open_fds",
            "Number of open file descriptors.",
            &ConstGauge::new(now.open_fds),
        )?;
        show(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            &ConstGauge::new(now.max_fds),
        )?;
        show(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            &ConstGauge::new(now.resident_bytes),
        )?;
        show(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            &ConstGauge::new(now.virtual_bytes),
        )?;
        show(
            "process_threads",
            "Number of OS threads in the process.",
            &ConstGauge::new(now.threads),
        )
    }
}

/// A figure, whatever its type.
trait Shown {
    fn show(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> Result<(), std::fmt::Error>;
}

impl<M: EncodeMetric> Shown for M {
    fn show(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> Result<(), std::fmt::Error> {
        let described = encoder.encode_descriptor(name, help, None, self.metric_type())?;
        self.encode(described)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_its_figures() {
        let now = Figures::now().expect("a Linux");
        assert!(now.resident_bytes > 1 << 20 && now.virtual_bytes >= now.resident_bytes, "{now:?}");
        assert!(now.open_fds >= 3 && now.max_fds >= now.open_fds, "{now:?}");
        assert!(now.threads >= 1 && now.cpu_seconds >= 0.0, "{now:?}");
        // After 2020, and not in an hour.
        let today = procfs::boot_time_secs().expect("booted") as f64;
        assert!(now.started_seconds >= today && today > 1.577e9, "{now:?}");
    }
}
