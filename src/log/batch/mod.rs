//! Kafka v2 record batches: the fixed header, a borrowed view of the records, and a builder.
