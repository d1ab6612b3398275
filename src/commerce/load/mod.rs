//! Load generation: the crowd of a flash sale, and whether the shop survived it.

pub mod arrivals;
pub mod catalogue;
pub mod client;
pub mod ids;
pub mod shopper;
