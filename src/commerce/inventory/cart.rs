//! What a shopper asks for: lines, how much of them must be held, and where from.

use serde::{Deserialize, Serialize};

use super::Point;

/// A quantity of one article in a cart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Line {
    /// The article, or a kit of articles.
    pub sku: String,
    /// How many units, at least 1.
    pub quantity: u32,
    /// Where the units are; empty for the default location or, in a cart with a [`Split`], for those of the split.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub location: String,
}

impl Line {
    /// Units at the default location.
    pub fn new(sku: impl Into<String>, quantity: u32) -> Self {
        Line {
            sku: sku.into(),
            quantity,
            location: String::new(),
        }
    }

    /// The same units at a location.
    #[must_use]
    pub fn at(self, location: impl Into<String>) -> Self {
        Line {
            location: location.into(),
            ..self
        }
    }
}

/// How much of a cart must be there for it to be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CartPolicy {
    /// The whole cart, or nothing of it.
    #[default]
    All,
    /// As many units of each line as there are, at least one unit of the cart.
    Partial,
    /// Every line that is there whole, at least one line of the cart.
    PerLine,
}

impl CartPolicy {
    pub(super) fn is_all(&self) -> bool {
        *self == CartPolicy::All
    }
}

/// How the lines of a cart that name no location are spread over locations: in what order those are emptied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "strategy", rename_all = "snake_case")]
pub enum Split {
    /// These locations in this order, and no others.
    Fixed {
        /// Names of locations; an empty name is the default location.
        locations: Vec<String>,
    },
    /// The nearest location first; those without coordinates come last, in the order of their creation.
    Nearest {
        /// Where the units are wanted.
        #[serde(flatten)]
        near: Point,
    },
    /// The location with the most units first, so that few parcels are sent.
    MostStock,
}

/// What was asked for by a cart that is not held exactly as it was sent, or not from one location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cart {
    /// How much had to be there.
    #[serde(default, skip_serializing_if = "CartPolicy::is_all")]
    pub policy: CartPolicy,
    /// How the cart was to be spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// The lines as sent.
    pub lines: Vec<Line>,
    /// The lines that are not held, or not whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<LineFailure>,
}

/// A line of a cart that is not held, or not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFailure {
    /// The place of the line in the cart as sent, from 0. Lines that name the same article and location count as
    /// one, at the place of the first.
    pub index: u32,
    /// Why.
    #[serde(flatten)]
    pub refusal: LineRefusal,
}

/// Why a line cannot be held, or not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum LineRefusal {
    /// No such article.
    UnknownSku,
    /// The article's sale begins later.
    NotOpen {
        /// When it begins, in milliseconds since the Unix epoch.
        opens_at_ms: i64,
    },
    /// The article's sale is over.
    Closed {
        /// When it ended, in milliseconds since the Unix epoch.
        closed_at_ms: i64,
    },
    /// Not enough units.
    SoldOut {
        /// How many could be held.
        available: u64,
    },
    /// The customer may not have that many.
    CustomerLimit {
        /// How many more the customer may have.
        remaining: u32,
    },
}

/// A quantity of one article in a kit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KitPart {
    /// The article.
    pub sku: String,
    /// Units of it in one kit, at least 1.
    pub quantity: u32,
}
