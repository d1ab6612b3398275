//! What is for sale: one doorbuster that everybody wants, and a long tail behind it.

use rand::Rng;
use rand::distr::Distribution;
use rand_distr::Zipf;

use super::ids::RunId;

/// Articles besides the doorbuster. 100: with Zipf 1.0 the first sell out and the last hardly sell.
const TAIL_ARTICLES: u16 = 100;

/// Zipf exponent of the tail's popularity; 1.0 is the classic for shop and web traffic.
const TAIL_EXPONENT: f64 = 1.0;

/// Units of the doorbuster that one customer may have.
pub const LIMIT_PER_CUSTOMER: u32 = 2;

/// The number of an article: 0 is the doorbuster, the tail follows by popularity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Article(pub u16);

impl Article {
    /// The article that everybody came for.
    pub const DOORBUSTER: Article = Article(0);
}

/// The articles of one run, named so that runs on one broker do not meet.
#[derive(Clone, Debug)]
pub struct Catalogue {
    names: Vec<String>,
    units: u32,
    popularity: Zipf<f64>,
}

impl Catalogue {
    /// A catalogue with `units` of each article.
    ///
    /// # Panics
    /// Never: the constants of this module are a valid distribution.
    pub fn new(run: RunId, units: u32) -> Catalogue {
        let tail = (1..=TAIL_ARTICLES).map(|number| format!("tail-{number:03}-{}", run.name()));
        let names = std::iter::once(format!("doorbuster-{}", run.name()))
            .chain(tail)
            .collect();
        #[expect(
            clippy::unwrap_used,
            reason = "constant arguments, checked by the tests of this module"
        )]
        let popularity = Zipf::new(f64::from(TAIL_ARTICLES), TAIL_EXPONENT).unwrap();
        Catalogue {
            names,
            units,
            popularity,
        }
    }

    /// All articles.
    pub fn articles(&self) -> impl Iterator<Item = Article> {
        (0..=TAIL_ARTICLES).map(Article)
    }

    /// The article's name in the engine.
    pub fn sku(&self, article: Article) -> &str {
        &self.names[usize::from(article.0)]
    }

    /// Units of each article at the opening of the doors.
    pub fn units(&self) -> u32 {
        self.units
    }

    /// Draws an article of the tail by popularity.
    pub fn draw_from_tail(&self, random: &mut impl Rng) -> Article {
        // Zipf draws from 1.0 to the number of articles.
        Article(self.popularity.sample(random) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn names_are_distinct_and_belong_to_the_run() {
        let catalogue = Catalogue::new(RunId::from_random(0xbeef), 10);
        assert_eq!(catalogue.sku(Article::DOORBUSTER), "doorbuster-00000000beef");
        assert_eq!(catalogue.sku(Article(100)), "tail-100-00000000beef");
        let names: std::collections::BTreeSet<&str> = catalogue
            .articles()
            .map(|article| catalogue.sku(article))
            .collect();
        assert_eq!(names.len(), 101);
    }

    #[test]
    fn the_tail_is_drawn_within_bounds_and_skewed() {
        let catalogue = Catalogue::new(RunId::from_random(1), 10);
        let mut random = StdRng::seed_from_u64(1);
        let mut drawn = [0_u32; 101];
        for _ in 0..100_000 {
            drawn[usize::from(catalogue.draw_from_tail(&mut random).0)] += 1;
        }
        assert_eq!(drawn[0], 0);
        assert!(drawn[1] > 15_000 && drawn[1] > 8 * drawn[10], "{drawn:?}");
        assert!(drawn[100] > 0, "{drawn:?}");
    }
}
