//! The parameters of a query: each is known, has a value that can be read, and is given once.

use std::fmt;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::problem::Problem;
use crate::commerce::inventory::AsOf;
use crate::log::Offset;

/// What was asked beside the path.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Parameters(parameters)),
            Err(error) => Err(Problem::malformed(error.body_text())),
        }
    }
}

impl Parameters {
    /// Takes the parameter `name` out, read by `read`, which says what it should have been.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        let Some(index) = self.0.iter().position(|(found, _)| found == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.swap_remove(index);
        match read(&value) {
            Ok(value) => Ok(Some(value)),
            Err(expected) => Err(Problem::malformed(format!(
                "parameter {name} is {value:?}; it takes {expected}"
            ))),
        }
    }

    /// Refuses what was not taken: passed over, it would give a question the answer of another.
    pub(super) fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::malformed(format!(
                "parameter {name:?} is given twice, or not one of this resource"
            ))),
        }
    }
}

/// A moment of the past: `offset:` and an offset of the article's shard, or `ms:` and milliseconds since the Unix epoch.
pub(super) fn as_of(value: &str) -> Result<AsOf, String> {
    let moment = match value.split_once(':') {
        Some(("offset", offset)) => offset.parse().ok().map(|offset| AsOf::Offset(Offset(offset))),
        Some(("ms", instant)) => instant.parse().ok().map(AsOf::Time),
        _ => None,
    };
    moment.ok_or_else(|| {
        "offset:<offset in inventory.events> or ms:<milliseconds since the Unix epoch>".to_owned()
    })
}

/// A number from `least` to `most`.
pub(super) fn number<T>(least: T, most: T) -> impl FnOnce(&str) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    move |value| match value.parse() {
        Ok(number) if least <= number && number <= most => Ok(number),
        _ => Err(format!("a number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(as_of("offset:0"), Ok(AsOf::Offset(Offset(0))));
        assert_eq!(as_of("ms:-1"), Ok(AsOf::Time(-1)));
        for wrong in [
            "",
            "7",
            "offset:",
            "offset:-1",
            "offset:18446744073709551616",
            "ms:x",
            "s:1",
        ] {
            assert!(as_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_within_bounds() {
        for (value, expected) in [
            ("0", None),
            ("1", Some(1)),
            ("9", Some(9)),
            ("10", None),
            ("x", None),
        ] {
            assert_eq!(number(1, 9)(value).ok(), expected, "{value}");
        }
    }
}
