//! What the coordinator writes to and reads back from `__consumer_offsets`.

use std::collections::BTreeMap;

use super::super::error::StateError;
use super::super::internal_topic::{CONSUMER_OFFSETS, KeyedRecord};
use super::super::offset_records::{GroupValue, OffsetValue, RecordKey};
use super::CommitRequest;
use super::offsets::{OffsetTable, OffsetsLog, offset_record};
use crate::log::Offset;

/// All groups and offsets as the log has them.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Every group, with its members if they were ever stored.
    pub(super) groups: BTreeMap<String, Option<GroupValue>>,
    /// Committed offsets by group.
    pub(super) tables: BTreeMap<String, OffsetTable>,
}

impl Loaded {
    /// Folds the whole topic. Blocks.
    pub(super) fn read(log: &OffsetsLog) -> Result<Loaded, StateError> {
        let mut loaded = Loaded::default();
        let Loaded { groups, tables } = &mut loaded;
        let mut malformed = None;
        log.fold(|position, record| {
            if fold_record(position, record, groups, tables).is_none() {
                malformed.get_or_insert(position);
            }
        })?;
        if let Some(offset) = malformed {
            return Err(StateError::Malformed {
                topic: CONSUMER_OFFSETS,
                offset: offset.0,
            });
        }
        for group_id in tables.keys() {
            groups.entry(group_id.clone()).or_default();
        }
        Ok(loaded)
    }
}

/// Takes one record over; `None` if it is malformed.
fn fold_record(
    position: Offset,
    record: KeyedRecord,
    groups: &mut BTreeMap<String, Option<GroupValue>>,
    tables: &mut BTreeMap<String, OffsetTable>,
) -> Option<()> {
    match (RecordKey::decode(record.key).ok()?, record.value) {
        (None, _) => {}
        (Some(RecordKey::Group { group }), None) => {
            groups.remove(&group);
            // A commit that was not durable yet when the group was deleted has no tombstone of its own.
            tables.remove(&group);
        }
        (Some(RecordKey::Group { group }), Some(value)) => {
            if let Some(value) = GroupValue::decode(value).ok()? {
                groups.insert(group, Some(value));
            }
        }
        (
            Some(RecordKey::Offset {
                group,
                topic,
                partition,
            }),
            None,
        ) => {
            if let Some(table) = tables.get_mut(&group) {
                table.remove(&topic, partition);
            }
        }
        (
            Some(RecordKey::Offset {
                group,
                topic,
                partition,
            }),
            Some(value),
        ) => {
            if let Some(value) = OffsetValue::decode(value).ok()? {
                tables
                    .entry(group)
                    .or_default()
                    .apply(&topic, partition, position, value);
            }
        }
    }
    Some(())
}

/// The records of a commit, with the values that become readable once they are durable.
pub(super) fn commit_records(
    request: &CommitRequest,
    now_ms: i64,
) -> Result<(Vec<KeyedRecord>, Vec<OffsetValue>), StateError> {
    let mut records = Vec::with_capacity(request.partitions.len());
    let mut values = Vec::with_capacity(request.partitions.len());
    for partition in &request.partitions {
        let value = OffsetValue {
            offset: partition.offset,
            leader_epoch: partition.leader_epoch,
            metadata: partition.metadata.clone(),
            commit_timestamp_ms: now_ms,
        };
        let (topic, index) = (&partition.topic, partition.partition);
        records.push(offset_record(&request.group_id, topic, index, Some(&value))?);
        values.push(value);
    }
    Ok((records, values))
}

/// The records that delete a group with its offsets.
pub(super) fn deletion_records(
    group_id: &str,
    offsets: &OffsetTable,
) -> Result<Vec<KeyedRecord>, StateError> {
    let too_large = |_| StateError::TooLarge {
        topic: CONSUMER_OFFSETS,
    };
    let mut records = Vec::new();
    for (topic, partitions) in offsets.all() {
        for partition in partitions.keys() {
            records.push(offset_record(group_id, topic, *partition, None)?);
        }
    }
    let key = RecordKey::Group {
        group: group_id.to_owned(),
    }
    .encode()
    .map_err(too_large)?;
    records.push(KeyedRecord { key, value: None });
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(group: &str, offset: i64) -> KeyedRecord {
        let value = OffsetValue {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            commit_timestamp_ms: 0,
        };
        offset_record(group, "t", 0, Some(&value)).unwrap()
    }

    /// Groups and tables after `records`, by name.
    fn fold(records: Vec<KeyedRecord>) -> (Vec<String>, Vec<String>) {
        let mut groups = BTreeMap::new();
        let mut tables = BTreeMap::new();
        for (position, record) in (0..).zip(records) {
            fold_record(Offset(position), record, &mut groups, &mut tables).unwrap();
        }
        let tables = tables.into_iter().filter(|(_, table)| !table.is_empty());
        (
            groups.into_keys().collect(),
            tables.map(|(group, _)| group).collect(),
        )
    }

    #[test]
    fn a_deleted_group_takes_commits_along_that_were_in_flight() {
        // The table did not have the commit when the group was deleted: it was not durable yet.
        let mut records = vec![offset("g", 5), offset("other", 6)];
        records.extend(deletion_records("g", &OffsetTable::default()).unwrap());
        assert_eq!(fold(records.clone()), (vec![], vec!["other".to_owned()]));

        records.push(offset("g", 7));
        let both = vec!["g".to_owned(), "other".to_owned()];
        assert_eq!(fold(records), (vec![], both));
    }
}
