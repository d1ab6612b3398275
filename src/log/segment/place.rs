//! Where the segments of a partition are, whose they are, and of what shape.

use std::path::PathBuf;
use std::sync::Arc;

use super::SegmentOptions;
use super::cache::SegmentCache;
use super::chunks::SegmentIdentity;
use crate::log::io::Disk;
use crate::log::{Offset, PartitionId, StoreId};

/// The folder of a partition's segments and what all of them share.
#[derive(Clone, Debug)]
pub struct SegmentPlace {
    /// The disk of the folder.
    pub disk: Arc<dyn Disk>,
    /// The folder, which need not exist.
    pub dir: PathBuf,
    /// The data folder that the partition belongs to.
    pub store: StoreId,
    /// The partition.
    pub partition: PartitionId,
    /// How segments are cut and indexed.
    pub options: SegmentOptions,
    /// The open segments of the log.
    pub cache: Arc<SegmentCache>,
}

impl SegmentPlace {
    /// The identity of the segment that begins at `base_offset`.
    pub fn identity(&self, base_offset: Offset) -> SegmentIdentity {
        SegmentIdentity {
            store: self.store,
            partition: self.partition,
            base_offset,
        }
    }
}
