//! Names of a segment's files.

use std::path::{Path, PathBuf};

use crate::log::Offset;

/// Digits of an offset in a file name; 2^64 has 20.
const OFFSET_DIGITS: usize = 20;

/// Suffix of files that are not in use yet; left over only after a crash.
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";

const LOG_SUFFIX: &str = ".log";
const SEAL_SUFFIX: &str = ".seal";

/// The files of one segment.
#[derive(Clone, Debug)]
pub(in crate::log) struct SegmentPaths {
    pub(in crate::log) log: PathBuf,
    pub(in crate::log) offset_index: PathBuf,
    pub(in crate::log) time_index: PathBuf,
    pub(in crate::log) seal: PathBuf,
}

impl SegmentPaths {
    pub(in crate::log) fn new(dir: &Path, base_offset: Offset) -> SegmentPaths {
        let path = |suffix| dir.join(format!("{:0OFFSET_DIGITS$}{suffix}", base_offset.0));
        SegmentPaths {
            log: path(LOG_SUFFIX),
            offset_index: path(".index"),
            time_index: path(".timeindex"),
            seal: path(SEAL_SUFFIX),
        }
    }
}

impl SegmentPaths {
    /// All files, the log last: as long as it is there, the next start finds the others.
    pub(super) fn all(&self) -> [&PathBuf; 4] {
        [&self.seal, &self.offset_index, &self.time_index, &self.log]
    }
}

/// The file that holds the batches of the segment at `base_offset`.
pub fn log_path(dir: &Path, base_offset: Offset) -> PathBuf {
    SegmentPaths::new(dir, base_offset).log
}

/// The base offset in the name of a `.log` file; `None` for all other names.
pub(in crate::log) fn base_offset_of(name: &str) -> Option<Offset> {
    offset_before(name, LOG_SUFFIX)
}

/// The base offset in the name of a `.seal` file; `None` for all other names.
pub(super) fn sealed_offset_of(name: &str) -> Option<Offset> {
    offset_before(name, SEAL_SUFFIX)
}

fn offset_before(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?;
    let is_number = digits.len() == OFFSET_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    let offset = is_number.then(|| digits.parse::<u64>().ok())??;
    // As in a batch's header, where offsets are signed: the offsets behind do not overflow.
    i64::try_from(offset).is_ok().then_some(Offset(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        let paths = SegmentPaths::new(Path::new("p"), Offset(42));
        assert_eq!(paths.log, Path::new("p/00000000000000000042.log"));
        assert_eq!(paths.offset_index, Path::new("p/00000000000000000042.index"));
        assert_eq!(paths.time_index, Path::new("p/00000000000000000042.timeindex"));
        assert_eq!(paths.seal, Path::new("p/00000000000000000042.seal"));
        assert_eq!(base_offset_of("00000000000000000042.log"), Some(Offset(42)));
        assert_eq!(sealed_offset_of("00000000000000000042.seal"), Some(Offset(42)));
        assert_eq!(sealed_offset_of("00000000000000000042.seal.tmp"), None);
        for name in [
            "42.log",
            "00000000000000000042.index",
            "+0000000000000000042.log",
            "99999999999999999999.log",
            "18446744073709551615.log",
            "09223372036854775808.log",
        ] {
            assert_eq!(base_offset_of(name), None, "{name}");
        }
    }
}
