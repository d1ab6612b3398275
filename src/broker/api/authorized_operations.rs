//! What a client may do with a resource: everything, as in a Kafka without an authorizer.

/// Kafka's number of an operation; also its bit in a set of operations.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

/// All operations on a cluster.
pub(super) const CLUSTER: i32 = set(&[
    Operation::Create,
    Operation::Alter,
    Operation::Describe,
    Operation::ClusterAction,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
    Operation::IdempotentWrite,
]);

/// All operations on a topic.
pub(super) const TOPIC: i32 = set(&[
    Operation::Read,
    Operation::Write,
    Operation::Create,
    Operation::Delete,
    Operation::Alter,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
]);

/// All operations on a consumer group.
pub(super) const GROUP: i32 = set(&[
    Operation::Read,
    Operation::Delete,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
]);

const fn set(operations: &[Operation]) -> i32 {
    let mut bits = 0;
    let mut next = 0;
    while next < operations.len() {
        bits |= 1 << operations[next] as u8;
        next += 1;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_are_those_of_kafka() {
        assert_eq!(CLUSTER, 0b1_1111_1010_0000);
        assert_eq!(TOPIC, 0b0_1101_1111_1000);
        assert_eq!(GROUP, 0b0_1101_0100_1000);
    }
}
