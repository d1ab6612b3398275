//! The stock: what is on hand, held and sold of each article at each location, and the rules of selling it.

use super::chunked::Chunked;
use super::location::Locations;
use super::names::{NameIndex, Names};

/// The number of a [`Cell`].
pub(super) type CellIndex = u32;

/// "No cell" in the list of an article's cells.
const NONE: CellIndex = CellIndex::MAX;

/// The units of one article at one location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// Units in the building.
    pub(super) on_hand: u64,
    /// Units in live holds.
    pub(super) reserved: u64,
    /// Units that are sold and not shipped.
    pub(super) allocated: u64,
    /// Units that are never sold.
    pub(super) safety: u32,
    /// Units that may be sold beyond those on hand.
    pub(super) backorder_cap: u32,
    pub(super) article: NameIndex,
    pub(super) location: NameIndex,
    /// The next cell of the same article.
    next: CellIndex,
    /// Units that are on their way.
    pub(super) incoming: u64,
    /// Units that ever came in.
    pub(super) received: u64,
    /// Units that ever came back from customers.
    pub(super) returned: u64,
    /// Units that ever left the building.
    pub(super) shipped: u64,
    /// Units that corrections added, less those that they took.
    pub(super) adjusted: i64,
    /// Units that came from other locations, less those that went there.
    pub(super) transferred: i64,
    /// Grows with every change of the units on hand.
    pub(super) version: u64,
}

impl Cell {
    pub(super) fn new(article: NameIndex, location: NameIndex) -> Self {
        Cell {
            on_hand: 0,
            reserved: 0,
            allocated: 0,
            safety: 0,
            backorder_cap: 0,
            article,
            location,
            next: NONE,
            incoming: 0,
            received: 0,
            returned: 0,
            shipped: 0,
            adjusted: 0,
            transferred: 0,
            version: 0,
        }
    }

    /// `on_hand - reserved - allocated - safety + backorder_cap`, which is never below zero: units that can be held
    /// by the next shopper.
    pub(super) fn sellable(&self) -> u64 {
        debug_assert!(self.is_sound(), "oversold: {self:?}");
        let had = self.on_hand.saturating_add(self.backorder_cap.into());
        had.saturating_sub(self.bound())
    }

    /// Whether the rule holds that nothing is ever oversold.
    pub(super) fn is_sound(&self) -> bool {
        self.bound() <= self.on_hand.saturating_add(self.backorder_cap.into())
    }

    /// Units in the building that nobody holds or bought, and that can be sold.
    pub(super) fn movable(&self) -> u64 {
        self.sellable().min(self.on_hand.saturating_sub(self.promised()))
    }

    /// Units that cannot be sold: promised or kept for safety.
    fn bound(&self) -> u64 {
        self.promised().saturating_add(self.safety.into())
    }

    /// Units that somebody holds or bought.
    fn promised(&self) -> u64 {
        self.reserved.saturating_add(self.allocated)
    }

    /// Whether units were ever here or on their way here.
    pub(super) fn has_history(&self) -> bool {
        self.version > 0 || self.incoming > 0 || self.promised() > 0
    }
}

/// When an article can be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) opens_at_ms: i64,
    pub(super) closes_at_ms: Option<i64>,
}

/// How much an article has left, as the last stock signal told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Level {
    #[default]
    Plenty,
    Low,
    Out,
}

impl Level {
    pub(super) const ALL: &[Level] = &[Level::Plenty, Level::Low, Level::Out];

    pub(super) fn of(sellable: u64, low_stock: u32) -> Self {
        match sellable {
            0 => Level::Out,
            _ if sellable <= u64::from(low_stock) => Level::Low,
            _ => Level::Plenty,
        }
    }
}

/// A part of a kit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) article: NameIndex,
    pub(super) quantity: u32,
}

/// One article: its rules, and the first of its cells.
#[derive(Clone, Debug)]
pub(super) struct Article {
    /// The cell at the default location.
    pub(super) first: CellIndex,
    /// Most units for one customer.
    pub(super) limit_per_customer: Option<u32>,
    /// Threshold of the stock signals, if they are asked for.
    pub(super) low_stock: Option<u32>,
    pub(super) level: Level,
    /// Whether the article is in the list of those to be looked at.
    pub(super) is_pending: bool,
    /// Customers in the waiting list.
    pub(super) waiting: u32,
    /// Kits that the article is part of.
    pub(super) part_of: u32,
    pub(super) window: Option<Window>,
    pub(super) kit: Option<Box<[Part]>>,
}

/// The articles of a shard, their cells, and the locations. None is ever removed, so a number is a place in the order
/// of creation.
#[derive(Debug)]
pub(super) struct Articles {
    names: Names,
    entries: Chunked<Article>,
    cells: Chunked<Cell>,
    pub(super) locations: Locations,
    kits: usize,
}

impl Articles {
    pub(super) fn new() -> Self {
        Articles {
            names: Names::new(),
            entries: Chunked::default(),
            cells: Chunked::default(),
            locations: Locations::new(),
            kits: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn cell_count(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn kit_count(&self) -> usize {
        self.kits
    }

    pub(super) fn find(&self, sku: &str) -> Option<NameIndex> {
        self.names.find(sku)
    }

    pub(super) fn find_or_create(&mut self, sku: &str) -> NameIndex {
        if let Some(index) = self.names.find(sku) {
            return index;
        }
        let index = self.restore_article(sku);
        self.restore_cell(Cell::new(index, Locations::DEFAULT));
        index
    }

    /// Adds an article without cells, of which that at the default location must be the first to be restored.
    pub(super) fn restore_article(&mut self, sku: &str) -> NameIndex {
        let index = self.names.add_user(sku);
        debug_assert!(index as usize <= self.entries.len(), "articles are never removed");
        self.entries.push(Article {
            first: NONE,
            limit_per_customer: None,
            low_stock: None,
            level: Level::default(),
            is_pending: false,
            waiting: 0,
            part_of: 0,
            window: None,
            kit: None,
        });
        index
    }

    /// The cell of an article at a location that may be new, as the article may be.
    pub(super) fn cell_or_create(&mut self, sku: &str, location: &str) -> CellIndex {
        let article = self.find_or_create(sku);
        let location = self.locations.find_or_create(location);
        if let Some(cell) = self.cell_at(article, location) {
            return cell;
        }
        self.restore_cell(Cell::new(article, location));
        self.cells.len() as CellIndex - 1
    }

    /// Adds a cell behind those of its article; tells whether it is where it can be: the first at the default
    /// location, the others at another one each.
    pub(super) fn restore_cell(&mut self, cell: Cell) -> bool {
        let Cell {
            article, location, ..
        } = cell;
        let index = self.cells.len() as CellIndex;
        let last = self.cells_of(article).last();
        if self.cell_at(article, location).is_some() || last.is_none() != (location == Locations::DEFAULT) {
            return false;
        }
        match last {
            None => self.entries[article].first = index,
            Some(last) => self.cells[last].next = index,
        }
        self.cells.push(Cell { next: NONE, ..cell });
        true
    }

    /// Whether every article has its cell at the default location.
    pub(super) fn are_complete(&self) -> bool {
        self.entries.iter().all(|article| article.first != NONE)
    }

    /// The cell of an article at a location.
    pub(super) fn find_cell(&self, article: NameIndex, location: &str) -> Option<CellIndex> {
        if location.is_empty() {
            return Some(self.entries[article].first);
        }
        self.cell_at(article, self.locations.find(location)?)
    }

    pub(super) fn cell_at(&self, article: NameIndex, location: NameIndex) -> Option<CellIndex> {
        self.cells_of(article)
            .find(|cell| self.cells[*cell].location == location)
    }

    /// The cells of an article, that at the default location first.
    pub(super) fn cells_of(&self, article: NameIndex) -> impl Iterator<Item = CellIndex> {
        let some = |cell: CellIndex| (cell != NONE).then_some(cell);
        let first = some(self.entries[article].first);
        std::iter::successors(first, move |cell| some(self.cells[*cell].next))
    }

    /// Units that can be held at all locations together.
    pub(super) fn sellable(&self, article: NameIndex) -> u64 {
        self.cells_of(article)
            .map(|cell| self.cell(cell).sellable())
            .fold(0, u64::saturating_add)
    }

    pub(super) fn sku(&self, index: NameIndex) -> &str {
        self.names.name(index)
    }

    pub(super) fn article(&self, index: NameIndex) -> &Article {
        &self.entries[index]
    }

    pub(super) fn article_mut(&mut self, index: NameIndex) -> &mut Article {
        &mut self.entries[index]
    }

    pub(super) fn cell(&self, index: CellIndex) -> &Cell {
        &self.cells[index]
    }

    pub(super) fn cell_mut(&mut self, index: CellIndex) -> &mut Cell {
        &mut self.cells[index]
    }

    /// All kits and their parts.
    pub(super) fn kits(&self) -> impl Iterator<Item = (NameIndex, &[Part])> {
        let articles = (0..).zip(self.entries.iter());
        articles.filter_map(|(index, article)| Some((index, article.kit.as_deref()?)))
    }

    /// Makes an article a kit of these parts.
    pub(super) fn set_kit(&mut self, kit: NameIndex, parts: Box<[Part]>) {
        for part in &parts {
            self.entries[part.article].part_of += 1;
        }
        match self.entries[kit].kit.replace(parts) {
            None => self.kits += 1,
            Some(before) => {
                for part in before {
                    self.entries[part.article].part_of -= 1;
                }
            }
        }
    }

    /// A copy that stays as it is, and finds neither article nor location by name.
    pub(super) fn frozen(&mut self) -> Self {
        Articles {
            names: self.names.frozen(),
            entries: self.entries.frozen(),
            cells: self.cells.frozen(),
            locations: self.locations.frozen(),
            kits: self.kits,
        }
    }
}
