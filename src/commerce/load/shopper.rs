//! The crowd: who each shopper is and does, as a pure function of the seed and the shopper's number.
//!
//! | habit | share | what they do |
//! |---|---|---|
//! | double clicker | 20 % | sends the same reservation twice, a moment apart; then pays |
//! | bot | 10 % | one account, many reservation ids, ignores the limit; pays for all it gets |
//! | abandoner | 15 % | gets a hold and walks away, so that it expires |
//! | cart filler | 10 % | several articles in one all-or-nothing cart; then pays |
//! | buyer | 45 % | one article; pays, or changes the mind and gives it back (one in ten) |
//!
//! The shares are invented, chosen so that every path of the engine is taken thousands of times.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::catalogue::{Article, Catalogue};
use super::ids::{RunId, StepId};
use crate::commerce::inventory::{CartPolicy, Command, Line};

/// Shares of the population in percent; the rest are plain buyers.
const DOUBLE_CLICKERS_PERCENT: u32 = 20;
const BOTS_PERCENT: u32 = 10;
const ABANDONERS_PERCENT: u32 = 15;
const CART_FILLERS_PERCENT: u32 = 10;
const _: () =
    assert!(DOUBLE_CLICKERS_PERCENT + BOTS_PERCENT + ABANDONERS_PERCENT + CART_FILLERS_PERCENT <= 100);

/// Share of single-article shoppers that come for the doorbuster, in percent.
const DOORBUSTER_FANS_PERCENT: u32 = 60;

/// Share of holders other than bots and abandoners that give the hold back instead of paying, in percent.
const RELEASE_PERCENT: u32 = 10;

/// Attempts of one bot, and the time between them.
const BOT_ATTEMPTS: u16 = 5;
const BOT_INTERVAL: Duration = Duration::from_millis(20);

/// Time between the two clicks of a double click, drawn evenly.
const DOUBLE_CLICK_MILLISECONDS: std::ops::Range<u64> = 5..150;

/// Think time between the hold and the payment, drawn evenly. Well below the hold time, so that only a
/// slow answer can make a payer late.
const THINK_MILLISECONDS: std::ops::Range<u64> = 50..800;

/// Articles in a cart, drawn evenly.
const CART_ARTICLES: std::ops::RangeInclusive<usize> = 2..=4;

/// The first step number of payments and releases; reserve attempts come before.
const FIRST_FOLLOW_UP_STEP: u16 = 256;
const _: () = assert!(BOT_ATTEMPTS < FIRST_FOLLOW_UP_STEP);

/// The kind of a shopper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Habit {
    /// Sends the same reservation twice.
    DoubleClicker,
    /// Hammers with one account.
    Bot,
    /// Lets the hold expire.
    Abandoner,
    /// Wants several articles at once.
    CartFiller,
    /// Wants one article.
    Buyer,
}

/// What a shopper does with a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intention {
    /// Pays after the think time.
    Pay,
    /// Gives it back after the think time.
    GiveBack,
    /// Walks away.
    WalkAway,
}

/// One shopper; small, and made anew from its number whenever it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shopper {
    /// The shopper's number.
    pub number: u32,
    /// The kind.
    pub habit: Habit,
    /// What happens to a hold.
    pub intention: Intention,
    /// Time between the answer and what follows.
    pub think_time: Duration,
    second_click: Duration,
    cart: Vec<(Article, u32)>,
}

/// One thing that a shopper does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deed {
    /// Asks for the cart.
    Reserve,
    /// Pays for the hold.
    Pay,
    /// Gives the hold back.
    GiveBack,
}

/// One step of a shopper's way: what is done, and for which reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// The step; names the command.
    pub id: StepId,
    /// The step that names the reservation: this one, or an earlier one.
    pub reservation: StepId,
    /// What is done.
    pub deed: Deed,
}

/// Everybody who comes.
#[derive(Clone, Debug)]
pub struct Crowd {
    seed: u64,
    run: RunId,
    catalogue: Catalogue,
    hold_time: Duration,
}

impl Crowd {
    /// A crowd for a catalogue; holds are asked for `hold_time`.
    pub fn new(seed: u64, run: RunId, catalogue: Catalogue, hold_time: Duration) -> Crowd {
        Crowd {
            seed,
            run,
            catalogue,
            hold_time,
        }
    }

    /// The shopper of that number, always the same.
    pub fn shopper(&self, number: u32) -> Shopper {
        // Neighbouring numbers give unrelated streams: the seeding hashes the key.
        let key = self.seed.rotate_left(32) ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = StdRng::seed_from_u64(key);
        let habit = draw_habit(&mut random);
        let cart = self.draw_cart(habit, &mut random);
        Shopper {
            number,
            habit,
            intention: draw_intention(habit, &mut random),
            think_time: Duration::from_millis(random.random_range(THINK_MILLISECONDS)),
            second_click: Duration::from_millis(random.random_range(DOUBLE_CLICK_MILLISECONDS)),
            cart,
        }
    }

    fn draw_cart(&self, habit: Habit, random: &mut StdRng) -> Vec<(Article, u32)> {
        match habit {
            Habit::Bot => vec![(Article::DOORBUSTER, 1)],
            Habit::CartFiller => {
                let width = random.random_range(CART_ARTICLES);
                let mut articles = vec![self.draw_article(random)];
                while articles.len() < width {
                    let next = self.catalogue.draw_from_tail(random);
                    if !articles.contains(&next) {
                        articles.push(next);
                    }
                }
                articles
                    .into_iter()
                    .map(|article| (article, random.random_range(1..=2)))
                    .collect()
            }
            Habit::DoubleClicker | Habit::Abandoner | Habit::Buyer => vec![(self.draw_article(random), 1)],
        }
    }

    fn draw_article(&self, random: &mut StdRng) -> Article {
        if random.random_range(0..100) < DOORBUSTER_FANS_PERCENT {
            Article::DOORBUSTER
        } else {
            self.catalogue.draw_from_tail(random)
        }
    }

    /// The command of a step.
    pub fn command(&self, step: Step) -> Command {
        let id = self.run.command(step.id);
        let reservation: Uuid = self.run.reservation(step.reservation);
        match step.deed {
            Deed::Pay => Command::Commit {
                id,
                reservation,
                lines: Vec::new(),
            },
            Deed::GiveBack => Command::Release { id, reservation },
            Deed::Reserve => {
                let shopper = self.shopper(step.id.shopper);
                let line = |(article, quantity): &(Article, u32)| {
                    Line::new(self.catalogue.sku(*article).to_owned(), *quantity)
                };
                Command::Reserve {
                    id,
                    reservation,
                    customer: format!("shopper-{}-{}", shopper.number, self.run.name()),
                    lines: shopper.cart.iter().map(line).collect(),
                    ttl_ms: u32::try_from(self.hold_time.as_millis()).unwrap_or(u32::MAX),
                    policy: CartPolicy::All,
                    split: None,
                }
            }
        }
    }
}

impl Shopper {
    /// Reserve attempts and when they start, counted from the shopper's arrival. They do not depend on
    /// any answer.
    pub fn attempts(&self) -> Vec<(Duration, Step)> {
        let attempt = |step: u16, reservation: u16| Step {
            id: StepId {
                shopper: self.number,
                step,
            },
            reservation: StepId {
                shopper: self.number,
                step: reservation,
            },
            deed: Deed::Reserve,
        };
        match self.habit {
            Habit::DoubleClicker => vec![
                (Duration::ZERO, attempt(0, 0)),
                (self.second_click, attempt(1, 0)),
            ],
            Habit::Bot => (0..BOT_ATTEMPTS)
                .map(|step| (BOT_INTERVAL * u32::from(step), attempt(step, step)))
                .collect(),
            Habit::Abandoner | Habit::CartFiller | Habit::Buyer => vec![(Duration::ZERO, attempt(0, 0))],
        }
    }

    /// Units of an article in this shopper's cart.
    pub fn quantity_of(&self, article: Article) -> u32 {
        self.cart
            .iter()
            .filter(|(found, _)| *found == article)
            .map(|(_, quantity)| quantity)
            .sum()
    }

    /// What follows a granted reservation, the think time after the answer.
    pub fn follow_up(&self, reservation: StepId) -> Option<Step> {
        let deed = match self.intention {
            Intention::Pay => Deed::Pay,
            Intention::GiveBack => Deed::GiveBack,
            Intention::WalkAway => return None,
        };
        let id = StepId {
            shopper: self.number,
            step: FIRST_FOLLOW_UP_STEP + reservation.step,
        };
        Some(Step {
            id,
            reservation,
            deed,
        })
    }
}

fn draw_habit(random: &mut StdRng) -> Habit {
    let shares = [
        (DOUBLE_CLICKERS_PERCENT, Habit::DoubleClicker),
        (BOTS_PERCENT, Habit::Bot),
        (ABANDONERS_PERCENT, Habit::Abandoner),
        (CART_FILLERS_PERCENT, Habit::CartFiller),
    ];
    let mut drawn = random.random_range(0..100);
    for (percent, habit) in shares {
        if drawn < percent {
            return habit;
        }
        drawn -= percent;
    }
    Habit::Buyer
}

fn draw_intention(habit: Habit, random: &mut StdRng) -> Intention {
    let gives_back = random.random_range(0..100) < RELEASE_PERCENT;
    match habit {
        Habit::Abandoner => Intention::WalkAway,
        Habit::DoubleClicker | Habit::CartFiller | Habit::Buyer if gives_back => Intention::GiveBack,
        Habit::Bot | Habit::DoubleClicker | Habit::CartFiller | Habit::Buyer => Intention::Pay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeSet, HashMap};

    fn crowd(seed: u64) -> Crowd {
        let run = RunId::from_random(5);
        Crowd::new(seed, run, Catalogue::new(run, 100), Duration::from_secs(5))
    }

    #[test]
    fn the_same_seed_and_number_is_the_same_shopper() {
        let first: Vec<Shopper> = (0..500).map(|number| crowd(1).shopper(number)).collect();
        let again: Vec<Shopper> = (0..500).map(|number| crowd(1).shopper(number)).collect();
        assert_eq!(first, again);
        let other: Vec<Shopper> = (0..500).map(|number| crowd(2).shopper(number)).collect();
        assert_ne!(first, other);
    }

    #[test]
    fn the_population_has_the_documented_shares() {
        let crowd = crowd(42);
        let mut habits: HashMap<Habit, u32> = HashMap::new();
        for number in 0..50_000 {
            *habits.entry(crowd.shopper(number).habit).or_default() += 1;
        }
        for (habit, percent) in [
            (Habit::DoubleClicker, 20.0),
            (Habit::Bot, 10.0),
            (Habit::Abandoner, 15.0),
            (Habit::CartFiller, 10.0),
            (Habit::Buyer, 45.0),
        ] {
            let found = f64::from(habits[&habit]) / 500.0;
            assert!(
                (found - percent).abs() < 1.0,
                "{habit:?}: {found} %, want {percent} %"
            );
        }
    }

    fn first_of(habit: Habit) -> Shopper {
        let crowd = crowd(9);
        (0..1_000)
            .map(|number| crowd.shopper(number))
            .find(|shopper| shopper.habit == habit)
            .unwrap()
    }

    #[test]
    fn a_double_click_repeats_the_reservation_under_another_command() {
        let attempts = first_of(Habit::DoubleClicker).attempts();
        assert_eq!(attempts.len(), 2);
        let (first, second) = (attempts[0].1, attempts[1].1);
        assert_eq!(first.reservation, second.reservation);
        assert_ne!(first.id, second.id);
        assert!(attempts[1].0 > Duration::ZERO);
        let crowd = crowd(9);
        assert_eq!(
            crowd.command(first).reservation(),
            crowd.command(second).reservation()
        );
        assert_ne!(crowd.command(first).id(), crowd.command(second).id());
    }

    #[test]
    fn a_bot_asks_again_and_again_with_one_account() {
        let bot = first_of(Habit::Bot);
        let attempts = bot.attempts();
        let reservations: BTreeSet<StepId> = attempts.iter().map(|(_, step)| step.reservation).collect();
        assert_eq!(reservations.len(), usize::from(BOT_ATTEMPTS));
        let crowd = crowd(9);
        let customers: BTreeSet<String> = attempts
            .iter()
            .map(|(_, step)| match crowd.command(*step) {
                Command::Reserve { customer, .. } => customer,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(customers.len(), 1);
    }

    #[test]
    fn a_cart_has_distinct_articles() {
        let crowd = crowd(3);
        for number in 0..2_000 {
            let shopper = crowd.shopper(number);
            let articles: BTreeSet<Article> = shopper.cart.iter().map(|(article, _)| *article).collect();
            assert_eq!(articles.len(), shopper.cart.len());
            assert_eq!(articles.len() > 1, shopper.habit == Habit::CartFiller);
        }
    }

    #[test]
    fn holds_are_paid_given_back_or_left() {
        let crowd = crowd(3);
        for number in 0..2_000 {
            let shopper = crowd.shopper(number);
            let held = StepId {
                shopper: number,
                step: 2,
            };
            let expected = match shopper.intention {
                Intention::Pay => Some(Deed::Pay),
                Intention::GiveBack => Some(Deed::GiveBack),
                Intention::WalkAway => None,
            };
            assert_eq!(shopper.follow_up(held).map(|step| step.deed), expected);
            assert_eq!(shopper.habit == Habit::Abandoner, expected.is_none());
            if let Some(step) = shopper.follow_up(held) {
                assert_eq!((step.reservation, step.id.step), (held, 258));
            }
        }
    }
}
