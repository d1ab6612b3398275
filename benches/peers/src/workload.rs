//! What every peer is asked to do.

use std::fmt;

/// One way of committing records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Threads; each commits, waits until it is durable, and goes on.
    pub threads: usize,
    /// Records of one commit.
    pub records_per_commit: usize,
    /// Size of a record.
    pub record_size_bytes: usize,
}

/// All of them.
pub const WORKLOADS: [Workload; 8] = [
    Workload::new(1, 1, 100),
    Workload::new(1, 1, 1024),
    Workload::new(1, 64, 1024),
    Workload::new(1, 1000, 1024),
    Workload::new(16, 1, 1024),
    Workload::new(16, 64, 1024),
    Workload::new(64, 1, 100),
    Workload::new(64, 1, 1024),
];

impl Workload {
    const fn new(threads: usize, records_per_commit: usize, record_size_bytes: usize) -> Workload {
        Workload {
            threads,
            records_per_commit,
            record_size_bytes,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.threads == 1 { "" } else { "s" };
        let (threads, records, size) = (self.threads, self.records_per_commit, self.record_size_bytes);
        write!(f, "{threads} thread{plural} x {records} x {size} B")
    }
}
