//! File descriptors: as many as the system allows, and a share of them that connections never take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The share of the descriptors that connections may take: half. A log that cannot open its files must stop,
/// and a crowd of idle connections is no reason for it.
const CONNECTIONS_SHARE: u64 = 2;

/// Raises the soft limit of open files to the hard one, and returns how many connections that allows.
pub fn connections_allowed() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let raised = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, limit = ?limit.current, "the limit of open files could not be raised");
            limit.current
        }
    };
    share_of(raised)
}

/// The connections that a limit of open files allows; `None` is no limit.
fn share_of(limit: Option<u64>) -> usize {
    let share = limit.map_or(u64::MAX, |limit| limit / CONNECTIONS_SHARE);
    usize::try_from(share).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_stay_for_files() {
        assert_eq!(share_of(Some(1_024)), 512);
        assert_eq!(share_of(Some(0)), 1);
        assert_eq!(share_of(None), usize::MAX);
    }
}
