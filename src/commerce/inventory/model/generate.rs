//! Commands of all kinds, with few names and ids so that they meet.
//!
//! Strategies are boxed where they would be too large for the stack of a test.

use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use uuid::Uuid;

use crate::commerce::inventory::*;

/// The last is made a kit now and then.
pub(super) const SKUS: [&str; 4] = ["tv", "phone", "ps5", "set"];
const CUSTOMERS: [&str; 3] = ["ann", "bob", ""];
const LOCATIONS: [&str; 3] = ["", "berlin", "paris"];

fn ids(from: u128, count: u128) -> impl Strategy<Value = Uuid> {
    (from..from + count).prop_map(Uuid::from_u128)
}

fn reservations() -> impl Strategy<Value = Uuid> {
    ids(1, 9)
}

fn skus() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just("tv"), 3 => Just("phone"), 1 => Just("ps5"), 1 => Just("set")]
        .prop_map(str::to_owned)
}

fn locations() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(""), 2 => Just("berlin"), 1 => Just("paris")].prop_map(str::to_owned)
}

fn customers() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(CUSTOMERS[0]), 4 => Just(CUSTOMERS[1]), 1 => Just(CUSTOMERS[2])]
        .prop_map(str::to_owned)
}

fn quantities() -> impl Strategy<Value = u32> {
    prop_oneof![12 => 1..5_u32, 1 => Just(0), 1 => Just(60)]
}

fn carts() -> BoxedStrategy<Vec<Line>> {
    let quantity = prop_oneof![12 => 1..4_u32, 1 => Just(0), 1 => Just(u32::MAX)];
    let place = prop_oneof![4 => Just(String::new()), 1 => locations()];
    let line =
        (skus(), quantity, place).prop_map(|(sku, quantity, location)| Line::new(sku, quantity).at(location));
    prop_oneof![
        20 => prop::collection::vec(line, 0..4),
        1 => Just(vec![Line::new("tv", 1); LINES_MAX]),
        1 => Just(vec![Line::new("tv", 1); LINES_MAX + 1]),
    ]
    .boxed()
}

fn points() -> impl Strategy<Value = Point> {
    (0..4_i32).prop_map(|degrees| Point {
        latitude: Degrees(degrees * 1_000_000),
        longitude: Degrees(0),
    })
}

fn splits() -> BoxedStrategy<Option<Box<Split>>> {
    let fixed = prop::collection::vec(prop::sample::select(&LOCATIONS[..]), 0..4);
    prop_oneof![
        4 => Just(None),
        1 => fixed.prop_map(|names| Some(Box::new(Split::Fixed {
            locations: names.into_iter().map(str::to_owned).collect()
        }))),
        1 => points().prop_map(|near| Some(Box::new(Split::Nearest { near }))),
        1 => Just(Some(Box::new(Split::MostStock))),
    ]
    .boxed()
}

fn ttls() -> impl Strategy<Value = u32> {
    prop_oneof![
        12 => prop::sample::select(vec![1, 10, 15, 50, 400]),
        1 => Just(0),
        1 => Just(HOLD_TTL_MAX_MS),
        1 => Just(HOLD_TTL_MAX_MS + 1),
    ]
}

pub(super) fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![5 => about_reservations(), 3 => about_stock(), 1 => about_rules()]
}

fn about_reservations() -> BoxedStrategy<Command> {
    let policy = prop_oneof![3 => Just(CartPolicy::All), 1 => Just(CartPolicy::Partial), 1 => Just(CartPolicy::PerLine)];
    let line =
        (skus(), 0..3_u32, locations()).prop_map(|(sku, quantity, at)| Line::new(sku, quantity).at(at));
    let part = prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(line, 1..3)];
    prop_oneof![
        8 => (reservations(), customers(), carts(), ttls(), policy, splits()).prop_map(
            |(reservation, customer, lines, ttl_ms, policy, split)| Command::Reserve {
                id: reservation,
                reservation,
                customer,
                lines,
                ttl_ms,
                policy,
                split,
            }
        ),
        2 => (ids(100, 12), reservations(), ttls())
            .prop_map(|(id, reservation, ttl_ms)| Command::Extend { id, reservation, ttl_ms }),
        3 => (ids(200, 99), reservations(), part)
            .prop_map(|(id, reservation, lines)| Command::Commit { id, reservation, lines }),
        2 => reservations().prop_map(Command::release),
        3 => (ids(300, 99), reservations(), customers(), skus(), quantities(), ttls()).prop_map(
            |(id, reservation, customer, sku, quantity, offer_ttl_ms)| Command::JoinWaitlist {
                id,
                reservation,
                customer,
                sku,
                quantity,
                offer_ttl_ms,
            }
        ),
        1 => (ids(400, 99), reservations())
            .prop_map(|(id, reservation)| Command::LeaveWaitlist { id, reservation }),
    ]
    .boxed()
}

fn about_stock() -> BoxedStrategy<Command> {
    let id = || ids(500, 60);
    let delta = prop_oneof![8 => -4..5_i64, 1 => Just(-50)];
    let expected = (prop::option::of(0..8_u64), prop::option::of(0..5_u64));
    prop_oneof![
        6 => (id(), skus(), quantities(), locations())
            .prop_map(|(id, sku, quantity, location)| Command::Receive { id, sku, quantity, location }),
        1 => (id(), skus(), quantities(), locations())
            .prop_map(|(id, sku, quantity, location)| Command::Announce { id, sku, quantity, location }),
        1 => (id(), skus(), quantities(), locations())
            .prop_map(|(id, sku, quantity, location)| Command::Return { id, sku, quantity, location }),
        2 => (id(), skus(), locations(), delta, expected).prop_map(
            |(id, sku, location, delta, (expected_on_hand, expected_version))| Command::Adjust(Box::new(Adjust {
                id,
                sku,
                location,
                delta,
                expected_on_hand,
                expected_version,
                reason: "count".to_owned(),
            }))
        ),
        2 => (id(), skus(), locations(), locations(), quantities())
            .prop_map(|(id, sku, from, to, quantity)| Command::Transfer { id, sku, from, to, quantity }),
        2 => (id(), skus(), quantities(), locations()).prop_map(|(id, sku, quantity, location)| Command::Ship {
            id,
            sku,
            quantity,
            location,
            for_reservation: None,
        }),
        2 => (id(), skus(), quantities(), locations(), prop::option::of(customers())).prop_map(
            |(id, sku, quantity, location, customer)| Command::CancelAllocated(Box::new(CancelAllocated {
                id,
                sku,
                quantity,
                location,
                customer,
                for_reservation: Some(id),
            }))
        ),
    ]
    .boxed()
}

fn about_rules() -> BoxedStrategy<Command> {
    let id = || ids(600, 30);
    let change = || {
        prop_oneof![
            2 => Just(Change::Keep),
            1 => Just(Change::Clear),
            4 => (0..5_u32).prop_map(Change::Set),
        ]
    };
    let instant = || prop::option::of(1_000..1_200_i64);
    let part = (skus(), 0..3_u32).prop_map(|(sku, quantity)| KitPart { sku, quantity });
    let kit = prop_oneof![4 => Just("set".to_owned()), 1 => skus()];
    prop_oneof![
        4 => (id(), skus(), change(), change(), locations(), prop::option::of(0..3_u32), prop::option::of(0..4_u32))
            .prop_map(|(id, sku, limit_per_customer, low_stock, location, safety, backorder_cap)| {
                Command::SetPolicy { id, sku, limit_per_customer, low_stock, location, safety, backorder_cap }
            }),
        1 => (id(), skus(), instant(), instant()).prop_map(|(id, sku, opens_at_ms, closes_at_ms)| {
            Command::OpenSale { id, sku, opens_at_ms, closes_at_ms }
        }),
        1 => (id(), skus()).prop_map(|(id, sku)| Command::CloseSale { id, sku }),
        1 => (id(), locations(), points())
            .prop_map(|(id, location, point)| Command::SetLocation { id, location, point }),
        3 => (id(), kit, prop::collection::vec(part, 0..3))
            .prop_map(|(id, sku, parts)| Command::DefineKit { id, sku, parts }),
    ]
    .boxed()
}
