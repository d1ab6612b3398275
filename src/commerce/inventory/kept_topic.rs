//! Topics whose records are the engine's state: nothing of them ends by age.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::log::{Log, Topic, TopicError, TopicSpec};

const RETENTION: &str = "retention.ms";
const FOR_EVER: &str = "-1";

/// Opens the topic, creating it with `partitions` partitions if it is not there. One that says nothing of its
/// retention, and so would have the default of seven days, gets none.
pub(super) fn open(log: &Log, name: &str, partitions: u32) -> Result<Arc<Topic>, TopicError> {
    let topic = match log.topic(name) {
        Some(topic) => topic,
        None => match create(log, name, partitions) {
            // Somebody created it between the look and the attempt.
            Err(error @ TopicError::Exists { .. }) => log.topic(name).ok_or(error)?,
            created => return created,
        },
    };
    if topic.configs.contains_key(RETENTION) {
        return Ok(topic);
    }
    let mut configs = topic.configs.clone();
    configs.insert(RETENTION.to_owned(), FOR_EVER.to_owned());
    log.alter_topic(name, configs)
}

fn create(log: &Log, name: &str, partitions: u32) -> Result<Arc<Topic>, TopicError> {
    let configs = BTreeMap::from([(RETENTION.to_owned(), FOR_EVER.to_owned())]);
    log.create_topic(name, &TopicSpec { partitions, configs })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::log::io::Environment;
    use crate::log::io::sim::{SimulatedClock, SimulatedDisk, SimulatedRandom};
    use crate::log::{LogOptions, Timestamp};

    #[test]
    fn a_topic_of_before_is_kept_too_and_an_operators_choice_stays() {
        let environment = Environment {
            disk: Arc::new(SimulatedDisk::new(1)),
            clock: Arc::new(SimulatedClock::new(Timestamp(1_000))),
            random: Arc::new(SimulatedRandom::new(1)),
        };
        let log = Log::open_in(environment, Path::new("/data"), LogOptions::default()).unwrap();
        let retention = |topic: &Topic| topic.configs.get(RETENTION).cloned();
        let kept = Some(FOR_EVER.to_owned());
        assert_eq!(retention(&open(&log, "new", 2).unwrap()), kept);
        let spec = TopicSpec {
            partitions: 1,
            ..TopicSpec::default()
        };
        log.create_topic("old", &spec).unwrap();
        assert_eq!(retention(&open(&log, "old", 2).unwrap()), kept);
        assert_eq!(log.topic("old").unwrap().partitions.len(), 1);
        let chosen = BTreeMap::from([(RETENTION.to_owned(), "60000".to_owned())]);
        log.alter_topic("new", chosen).unwrap();
        assert_eq!(
            retention(&open(&log, "new", 2).unwrap()),
            Some("60000".to_owned())
        );
    }
}
