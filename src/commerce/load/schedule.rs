//! What is due and when: arrivals, drawn as time goes on, and steps that answers brought about.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::{Enumerate, Peekable};
use std::time::Duration;

use super::arrivals::Arrivals;
use super::shopper::{Crowd, Step};

/// A step and its intended start, measured from the opening of the doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Planned {
    /// The intended start; latency counts from here.
    pub at: Duration,
    /// What is to be done.
    pub step: Step,
}

/// The steps to come, in order of time. Holds those of shoppers that have arrived, not the whole crowd's.
#[derive(Debug)]
pub struct Schedule {
    arrivals: Peekable<Enumerate<Arrivals>>,
    planned: BinaryHeap<Reverse<Planned>>,
}

impl Schedule {
    /// A schedule in which nothing but the arrivals is planned.
    pub fn new(arrivals: Arrivals) -> Schedule {
        Schedule {
            arrivals: arrivals.enumerate().peekable(),
            planned: BinaryHeap::new(),
        }
    }

    /// Plans a step.
    pub fn plan(&mut self, at: Duration, step: Step) {
        self.planned.push(Reverse(Planned { at, step }));
    }

    /// The time of the next step or arrival.
    pub fn next_at(&mut self) -> Option<Duration> {
        let arrival = self.arrivals.peek().map(|(_, at)| *at);
        let planned = self.planned.peek().map(|Reverse(planned)| planned.at);
        match (arrival, planned) {
            (Some(arrival), Some(planned)) => Some(arrival.min(planned)),
            (arrival, planned) => arrival.or(planned),
        }
    }

    /// Takes the earliest step, if it is due at `now`.
    pub fn take_due(&mut self, now: Duration, crowd: &Crowd) -> Option<Planned> {
        let next = self.planned.peek().map(|Reverse(planned)| planned.at);
        // An arrival's first attempt is at the arrival, so that one arrival is enough to know the earliest.
        let arrived = self
            .arrivals
            .next_if(|(_, at)| *at <= now && next.is_none_or(|next| *at <= next));
        if let Some((number, at)) = arrived {
            for (delay, step) in crowd.shopper(number as u32).attempts() {
                self.plan(at + delay, step);
            }
        }
        let due = self
            .planned
            .peek()
            .is_some_and(|Reverse(planned)| planned.at <= now);
        if due {
            self.planned.pop().map(|Reverse(planned)| planned)
        } else {
            None
        }
    }

    /// Whether everybody has come and nothing is planned.
    pub fn is_empty(&mut self) -> bool {
        self.planned.is_empty() && self.arrivals.peek().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commerce::load::catalogue::Catalogue;
    use crate::commerce::load::ids::{RunId, StepId};
    use crate::commerce::load::shopper::Deed;

    fn crowd() -> Crowd {
        let run = RunId::from_random(1);
        Crowd::new(1, run, Catalogue::new(run, 10), Duration::from_secs(1))
    }

    #[test]
    fn steps_come_in_order_of_time_and_all_of_them() {
        let crowd = crowd();
        let expected: usize = (0..500)
            .map(|number| crowd.shopper(number).attempts().len())
            .sum();
        let mut schedule = Schedule::new(Arrivals::new(1, 500, 1_000.0));
        let mut taken = Vec::new();
        while let Some(now) = schedule.next_at() {
            while let Some(planned) = schedule.take_due(now, &crowd) {
                assert!(planned.at <= now);
                taken.push(planned.at);
            }
        }
        assert!(schedule.is_empty());
        assert!(taken.is_sorted());
        assert_eq!(taken.len(), expected);
    }

    #[test]
    fn nothing_is_taken_before_its_time() {
        let crowd = crowd();
        let mut schedule = Schedule::new(Arrivals::new(1, 0, 1.0));
        assert_eq!(schedule.next_at(), None);
        let id = StepId {
            shopper: 0,
            step: 256,
        };
        let step = Step {
            id,
            reservation: id,
            deed: Deed::Pay,
        };
        let at = Duration::from_millis(10);
        schedule.plan(at, step);
        assert_eq!(schedule.take_due(Duration::from_micros(9_999), &crowd), None);
        assert!(!schedule.is_empty());
        assert_eq!(schedule.take_due(at, &crowd), Some(Planned { at, step }));
        assert!(schedule.is_empty());
    }
}
