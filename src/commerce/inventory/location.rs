//! The locations of a shard, by name and by place on the globe.

use super::Point;
use super::names::{NameIndex, Names};

/// Every location that was ever named; number 0 is the default location, whose name is empty.
#[derive(Debug)]
pub(super) struct Locations {
    names: Names,
    points: Vec<Option<Point>>,
}

impl Locations {
    /// The default location.
    pub(super) const DEFAULT: NameIndex = 0;

    pub(super) fn new() -> Self {
        let mut names = Names::new();
        let default = names.add_user("");
        debug_assert_eq!(default, Locations::DEFAULT, "numbers begin at 0");
        Locations {
            names,
            points: vec![None],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<NameIndex> {
        if name.is_empty() {
            return Some(Locations::DEFAULT);
        }
        self.names.find(name)
    }

    pub(super) fn find_or_create(&mut self, name: &str) -> NameIndex {
        if let Some(index) = self.find(name) {
            return index;
        }
        self.points.push(None);
        self.names.add_user(name)
    }

    pub(super) fn name(&self, index: NameIndex) -> &str {
        self.names.name(index)
    }

    pub(super) fn point(&self, index: NameIndex) -> Option<Point> {
        self.points[index as usize]
    }

    pub(super) fn set_point(&mut self, index: NameIndex, point: Option<Point>) {
        self.points[index as usize] = point;
    }

    /// A copy that stays as it is, and finds no location by name.
    pub(super) fn frozen(&mut self) -> Self {
        Locations {
            names: self.names.frozen(),
            points: self.points.clone(),
        }
    }
}
