//! A change to an optional setting, as in a JSON merge patch (RFC 7396): absent keeps, `null` clears, a value sets.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a command does to a setting that may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Change<T> {
    /// The setting stays as it is.
    #[default]
    Keep,
    /// The setting goes away.
    Clear,
    /// The setting gets this value.
    Set(T),
}

impl<T> Change<T> {
    /// Whether nothing changes; such a change is left out of JSON.
    pub fn is_keep(&self) -> bool {
        matches!(self, Change::Keep)
    }

    /// The setting after the change.
    pub fn apply(self, before: Option<T>) -> Option<T> {
        match self {
            Change::Keep => before,
            Change::Clear => None,
            Change::Set(value) => Some(value),
        }
    }
}

impl<T> From<Option<T>> for Change<T> {
    /// The change that leads to `wanted`, whatever was before.
    fn from(wanted: Option<T>) -> Self {
        wanted.map_or(Change::Clear, Change::Set)
    }
}

impl<T: Serialize> Serialize for Change<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Change::Keep | Change::Clear => serializer.serialize_none(),
            Change::Set(value) => serializer.serialize_some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Change::from)
    }
}
