//! Topics that come and go between the kills: what was created is there, what was deleted stays away.

use std::collections::BTreeSet;

use super::daemon::Client;

const PREFIX: &str = "passing.";

/// Rounds that a topic lives for.
const LIFE_ROUNDS: u64 = 3;

/// The topics that must be there.
#[derive(Debug, Default)]
pub struct PassingTopics {
    names: BTreeSet<String>,
}

impl PassingTopics {
    /// Creates the round's topic with one record, and deletes an old one.
    pub fn turn(&mut self, address: &str, round: u64) {
        let client = Client::new(address);
        let name = format!("{PREFIX}{round}");
        client.create_topic(&name, 2);
        assert_eq!(client.produce(&name, 1, name.as_bytes()), Ok(0), "{name}");
        self.names.insert(name);
        if let Some(old) = round.checked_sub(LIFE_ROUNDS).filter(|old| *old > 0) {
            let old = format!("{PREFIX}{old}");
            client.delete_topic(&old);
            self.names.remove(&old);
        }
    }

    /// Compares the topics and their records with what must be there.
    ///
    /// # Errors
    /// With what is missing, or should be.
    pub fn check(&self, address: &str) -> Result<(), String> {
        let client = Client::new(address);
        let mut found = client.topics();
        found.retain(|name| name.starts_with(PREFIX));
        if found != self.names {
            return Err(format!("topics are {found:?}, want {:?}", self.names));
        }
        for name in &found {
            let values = client.read_all(name, 1);
            if values != [name.clone().into_bytes()] {
                return Err(format!("{name} holds {values:?}"));
            }
        }
        Ok(())
    }
}
