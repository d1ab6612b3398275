//! Seals closed segments that have no seal, from Kafka or of an older version, while there is nothing to flush.

use super::core::Core;

impl Core {
    /// Seals one segment of the partitions that are in use. What is damaged is told once and left as it is.
    pub(super) fn seal_one(&self) {
        if !self.places.has_unsealed() {
            return;
        }
        for partition in self.partitions() {
            let Some(segments) = partition.opened_segments() else {
                continue;
            };
            let partition = partition.id().0;
            match segments.seal_next() {
                Ok(None) => {}
                Ok(Some(offset)) => {
                    tracing::info!(partition, offset = offset.0, "sealed a segment");
                    return;
                }
                Err(error) => {
                    tracing::error!(partition, %error, "could not seal a segment");
                    return;
                }
            }
        }
    }
}
