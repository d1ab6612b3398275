//! Where the partitions of one log are: a folder for each, by its number.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::io::Disk;
use super::segment::{SegmentCache, SegmentOptions, SegmentPlace};
use super::{LogOptions, PartitionId, StoreId};

/// The folder in the data folder that holds the partitions' folders.
pub const PARTITIONS_FOLDER: &str = "partitions";

/// Where the partitions of one log are, and what they share.
#[derive(Debug)]
pub struct Places {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    store: StoreId,
    options: SegmentOptions,
    cache: Arc<SegmentCache>,
}

impl Places {
    /// The places in the data folder `folder`.
    pub fn new(disk: Arc<dyn Disk>, folder: &Path, store: StoreId, options: &LogOptions) -> Places {
        let descriptors = disk.open_files_max();
        Places {
            cache: Arc::new(SegmentCache::fitted_to(descriptors, options.open_segments_max)),
            disk,
            folder: folder.join(PARTITIONS_FOLDER),
            store,
            options: SegmentOptions {
                segment_size_max_bytes: options.segment_size_max_bytes,
                ..SegmentOptions::default()
            },
        }
    }

    /// The place of one partition.
    pub fn of(&self, id: PartitionId) -> SegmentPlace {
        SegmentPlace {
            disk: Arc::clone(&self.disk),
            dir: self.folder.join(format!("{:010}", id.0)),
            store: self.store,
            partition: id,
            options: self.options,
            cache: Arc::clone(&self.cache),
        }
    }
}
