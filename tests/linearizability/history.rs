//! Who asked what when, who heard what when, and whether one shop could have said all of it.

use std::sync::atomic::{AtomicU64, Ordering};

use todc_utils::{Action, History, WGLChecker};
use uuid::Uuid;

use crate::shop::{Answer, Operation, ShopSpecification, Step};

/// One order of all calls and answers, of all threads.
#[derive(Debug, Default)]
pub struct Moments(AtomicU64);

impl Moments {
    /// A moment after all before it.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// One operation, from the call to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Id of the command.
    pub id: Uuid,
    pub step: Step,
    /// Before the command left.
    pub called: u64,
    /// What was heard, and a moment after that; nothing if the answer never came.
    pub heard: Option<(Answer, u64)>,
}

/// Whether the operations could have happened one after the other, each between its call and its answer.
///
/// One without an answer may have happened at any time after its call. Whether it ever did needs no case of its own: at
/// the end nobody looks.
pub fn is_linearizable(spans: &[Span]) -> bool {
    let mut actions = Vec::new();
    for (process, span) in spans.iter().enumerate() {
        let operation = Operation {
            step: span.step,
            answer: span.heard.map(|(answer, _)| answer),
        };
        let end = span.heard.map_or(u64::MAX, |(_, moment)| moment);
        actions.push((span.called, process, Action::Call(operation)));
        actions.push((end, process, Action::Response(operation)));
    }
    actions.sort_by_key(|(moment, process, _)| (*moment, *process));
    let actions: Vec<_> = actions
        .into_iter()
        .map(|(_, process, action)| (process, action))
        .collect();
    actions.is_empty() || WGLChecker::<ShopSpecification>::is_linearizable(History::from_actions(actions))
}
