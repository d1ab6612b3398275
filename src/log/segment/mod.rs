//! Segment files: consecutive batches of one partition in Kafka's own format, with their indexes.
