//! One simulated folder: durable entries, visible entries, and the changes in between, in order.

use std::collections::BTreeMap;

use super::file::Survival;
use super::machine::NodeId;

pub(super) type Entries = BTreeMap<String, NodeId>;

/// A folder.
#[derive(Clone, Debug, Default)]
pub(super) struct FolderNode {
    durable: Entries,
    current: Entries,
    pending: Vec<EntryChange>,
}

/// A change of a folder's entries.
#[derive(Clone, Debug)]
pub(super) enum EntryChange {
    Link(String, NodeId),
    Unlink(String),
    Rename { from: String, to: String },
}

impl FolderNode {
    /// A folder whose entries are all durable.
    pub(super) fn with(entries: Entries) -> FolderNode {
        FolderNode {
            durable: entries.clone(),
            current: entries,
            pending: Vec::new(),
        }
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.current
    }

    pub(super) fn durable_entries(&self) -> &Entries {
        &self.durable
    }

    pub(super) fn change(&mut self, change: EntryChange) {
        apply(&mut self.current, &change);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.durable = self.current.clone();
        self.pending.clear();
    }

    /// The entries as they are found after a power cut: a prefix of the pending changes survives.
    pub(super) fn after_power_cut(&self, survival: &mut Survival<'_>) -> Entries {
        let mut entries = self.durable.clone();
        for change in &self.pending[..survival.choose(self.pending.len())] {
            apply(&mut entries, change);
        }
        entries
    }
}

fn apply(entries: &mut Entries, change: &EntryChange) {
    match change {
        EntryChange::Link(name, node) => {
            entries.insert(name.clone(), *node);
        }
        EntryChange::Unlink(name) => {
            entries.remove(name);
        }
        EntryChange::Rename { from, to } => {
            if let Some(node) = entries.remove(from) {
                entries.insert(to.clone(), node);
            }
        }
    }
}
