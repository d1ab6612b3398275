//! The same measured several times: median and spread.

use std::fmt;

use serde::Serialize;

/// Figures of several runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Samples {
    /// The middle one.
    pub median: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

impl Samples {
    /// Sums up `figures`.
    ///
    /// # Panics
    /// When there is none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Samples {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        assert!(count > 0, "samples of nothing");
        let median = f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]);
        Samples {
            median,
            lowest: sorted[0],
            highest: sorted[count - 1],
        }
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = if self.median < 10.0 { 2 } else { 0 };
        let (median, lowest, highest) = (self.median, self.lowest, self.highest);
        write!(
            f,
            "{median:>10.decimals$}  ({lowest:.decimals$} to {highest:.decimals$})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_one() {
        assert_eq!(
            Samples::of([3.0, 1.0, 2.0]),
            Samples {
                median: 2.0,
                lowest: 1.0,
                highest: 3.0
            }
        );
        assert_eq!(
            Samples::of([4.0, 1.0]),
            Samples {
                median: 2.5,
                lowest: 1.0,
                highest: 4.0
            }
        );
        assert_eq!(
            Samples::of([7.0]),
            Samples {
                median: 7.0,
                lowest: 7.0,
                highest: 7.0
            }
        );
    }

    #[test]
    fn small_figures_keep_decimals() {
        assert_eq!(Samples::of([0.5]).to_string(), "      0.50  (0.50 to 0.50)");
        assert_eq!(
            Samples::of([150.0, 160.4]).to_string(),
            "       155  (150 to 160)"
        );
    }
}
