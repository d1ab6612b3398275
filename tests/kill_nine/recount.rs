//! Stock counted again from the events alone, without any code of the engine.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// One shard, as its events tell.
#[derive(Debug, Default)]
pub struct Recount {
    stock: HashMap<String, Stock>,
    reservations: HashMap<String, Reservation>,
    units: HashMap<(String, String), u64>,
    receipts: HashSet<String>,
    answered: Vec<bool>,
    at_ms: i64,
    /// Number of events of each type.
    pub types: HashMap<String, u64>,
}

#[derive(Debug, Default)]
struct Stock {
    received: u64,
    held: u64,
    sold: u64,
    limit: Option<u64>,
}

#[derive(Clone, Debug)]
enum Reservation {
    Held(Hold),
    Committed,
    Released,
    /// Ended by itself; a commit may still come, if the units are there.
    Expired(Hold),
    Refused(&'static str),
}

#[derive(Clone, Debug)]
struct Hold {
    customer: String,
    lines: Vec<(String, u64)>,
    expires_at_ms: i64,
}

/// Outcomes of a first `reserve` that end the reservation's id for good.
const REFUSALS: [&str; 3] = ["sold_out", "customer_limit", "unknown_sku"];

impl Recount {
    /// Counts one event; `commands` are the ids of the shard's commands by offset, none for what is no command.
    ///
    /// # Errors
    /// When the event contradicts the ones before it, or answers what was not asked or answered before.
    pub fn count(&mut self, event: &Value, commands: &[Option<String>]) -> Result<(), String> {
        let at_ms = event["at_ms"].as_i64().ok_or("no at_ms")?;
        check(at_ms >= self.at_ms, || {
            format!("time falls from {} to {at_ms}", self.at_ms)
        })?;
        self.at_ms = at_ms;
        self.answer(event, commands)?;
        let kind = event["type"].as_str().ok_or("no type")?;
        *self.types.entry(kind.to_owned()).or_default() += 1;
        match kind {
            "received" => self.received(event),
            "policy_set" => self.policy_set(event),
            "reserved" => self.reserved(event),
            "exists" => self.exists(event),
            "extended" => self.extended(event),
            "committed" => self.committed(event),
            "released" => self.ended(event, |_| Reservation::Released),
            "reservation_expired" => self.ended(event, Reservation::Expired),
            "sold_out" | "customer_limit" | "unknown_sku" => self.refused(event, kind),
            "already_failed" => self.expect(
                event,
                |found, event| matches!(found, Some(Reservation::Refused(why)) if event["reason"] == *why),
            ),
            "already_committed" => {
                self.expect(event, |found, _| matches!(found, Some(Reservation::Committed)))
            }
            "already_released" => self.expect(event, |found, _| matches!(found, Some(Reservation::Released))),
            "unknown_reservation" => self.expect(event, |found, _| found.is_none()),
            "expired" => self.expect(event, |found, event| match found {
                Some(Reservation::Held(hold)) => Some(hold.expires_at_ms) <= event["at_ms"].as_i64(),
                found => matches!(found, Some(Reservation::Expired(_))),
            }),
            "invalid" => check(event["reason"] == "malformed", || {
                "a sensible command is invalid".to_owned()
            }),
            _ => Err("an outcome that no command of this test can have".to_owned()),
        }
    }

    /// Offsets of commands below `end` that no event answers.
    pub fn unanswered(&self, end: usize) -> Vec<usize> {
        (0..end)
            .filter(|offset| self.answered.get(*offset) != Some(&true))
            .collect()
    }

    fn answer(&mut self, event: &Value, commands: &[Option<String>]) -> Result<(), String> {
        let Some(offset) = event.get("command_offset") else {
            return check(event["type"] == "reservation_expired", || {
                "answers no command".to_owned()
            });
        };
        let offset = offset.as_u64().ok_or("command_offset is no number")? as usize;
        let asked = commands
            .get(offset)
            .ok_or_else(|| format!("answers command {offset}, which is not there"))?;
        let nil = "00000000-0000-0000-0000-000000000000";
        let expected = asked.as_deref().unwrap_or(nil);
        check(event["command"] == expected, || {
            format!("command {offset} has id {expected}")
        })?;
        if self.answered.len() <= offset {
            self.answered.resize(offset + 1, false);
        }
        check(!self.answered[offset], || {
            format!("command {offset} is answered twice")
        })?;
        self.answered[offset] = true;
        Ok(())
    }

    fn received(&mut self, event: &Value) -> Result<(), String> {
        let fresh = self.receipts.insert(text(event, "command")?);
        check(fresh, || "the same goods arrive twice".to_owned())?;
        let quantity = event["quantity"].as_u64().ok_or("no quantity")?;
        self.stock.entry(text(event, "sku")?).or_default().received += quantity;
        Ok(())
    }

    fn policy_set(&mut self, event: &Value) -> Result<(), String> {
        self.stock.entry(text(event, "sku")?).or_default().limit = event["limit_per_customer"].as_u64();
        Ok(())
    }

    fn reserved(&mut self, event: &Value) -> Result<(), String> {
        let id = text(event, "reservation")?;
        check(!self.reservations.contains_key(&id), || {
            "a known reservation is granted anew".to_owned()
        })?;
        let customer = text(event, "customer")?;
        let lines = event["lines"].as_array().ok_or("no lines")?;
        let line = |line: &Value| Some((line["sku"].as_str()?.to_owned(), line["quantity"].as_u64()?));
        let lines: Vec<(String, u64)> = lines
            .iter()
            .map(line)
            .collect::<Option<_>>()
            .ok_or("a bad line")?;
        let expires_at_ms = event["expires_at_ms"].as_i64().ok_or("no expires_at_ms")?;
        let hold = Hold {
            customer,
            lines,
            expires_at_ms,
        };
        self.take(&hold)?;
        self.reservations.insert(id, Reservation::Held(hold));
        Ok(())
    }

    /// Holds the units of a cart.
    fn take(&mut self, hold: &Hold) -> Result<(), String> {
        let customer = &hold.customer;
        for (sku, quantity) in &hold.lines {
            let units = self.units.entry((customer.clone(), sku.clone())).or_default();
            *units += quantity;
            let stock = self
                .stock
                .get_mut(sku)
                .ok_or_else(|| format!("{sku} never arrived"))?;
            stock.held += quantity;
            let taken = stock.held + stock.sold;
            check(taken <= stock.received, || {
                format!("{sku} is OVERSOLD: {taken} of {}", stock.received)
            })?;
            let limit = stock.limit.unwrap_or(u64::MAX);
            check(*units <= limit, || {
                format!("{customer} has {units} of {sku}, the limit is {limit}")
            })?;
        }
        Ok(())
    }

    fn exists(&mut self, event: &Value) -> Result<(), String> {
        if event.get("reservation").is_none() {
            let known = self
                .receipts
                .contains(event["command"].as_str().unwrap_or_default());
            return check(known, || "goods are said to have arrived that did not".to_owned());
        }
        self.expect(event, |found, event| match found {
            Some(Reservation::Held(hold)) => event["expires_at_ms"] == hold.expires_at_ms,
            _ => false,
        })
    }

    fn extended(&mut self, event: &Value) -> Result<(), String> {
        let until_ms = event["expires_at_ms"].as_i64().ok_or("no expires_at_ms")?;
        match self.reservations.get_mut(&text(event, "reservation")?) {
            Some(Reservation::Held(hold)) if until_ms >= hold.expires_at_ms => {
                hold.expires_at_ms = until_ms;
                Ok(())
            }
            found => Err(format!("extends {found:?}")),
        }
    }

    /// Sells a cart: one that is held, or one whose time is over if its units are still there.
    fn committed(&mut self, event: &Value) -> Result<(), String> {
        let before = self
            .reservations
            .insert(text(event, "reservation")?, Reservation::Committed);
        let hold = match before {
            Some(Reservation::Held(hold)) => hold,
            Some(Reservation::Expired(hold)) => {
                self.take(&hold)?;
                hold
            }
            before => return Err(format!("sells what is {before:?}")),
        };
        for (sku, quantity) in hold.lines {
            let stock = self.stock.get_mut(&sku).ok_or("held goods that never arrived")?;
            stock.held -= quantity;
            stock.sold += quantity;
        }
        Ok(())
    }

    /// Gives the units of a held cart back.
    fn ended(&mut self, event: &Value, how: impl Fn(Hold) -> Reservation) -> Result<(), String> {
        let id = text(event, "reservation")?;
        let before = self.reservations.remove(&id);
        let Some(Reservation::Held(hold)) = before else {
            return Err(format!("ends what is {before:?}"));
        };
        let how = how(hold.clone());
        let expired = matches!(how, Reservation::Expired(_));
        check(expired == (hold.expires_at_ms <= self.at_ms), || {
            format!("too early or too late for {hold:?}")
        })?;
        self.reservations.insert(id, how);
        for (sku, quantity) in hold.lines {
            let stock = self.stock.get_mut(&sku).ok_or("held goods that never arrived")?;
            stock.held -= quantity;
            if let Some(units) = self.units.get_mut(&(hold.customer.clone(), sku)) {
                *units -= quantity;
            }
        }
        Ok(())
    }

    fn refused(&mut self, event: &Value, kind: &str) -> Result<(), String> {
        let why = REFUSALS
            .into_iter()
            .find(|refusal| *refusal == kind)
            .ok_or("no refusal")?;
        let id = text(event, "reservation")?;
        check(!self.reservations.contains_key(&id), || {
            "a known reservation is refused anew".to_owned()
        })?;
        self.reservations.insert(id, Reservation::Refused(why));
        let stock = self.stock.get(event["sku"].as_str().unwrap_or_default());
        match (kind, stock) {
            ("sold_out", Some(stock)) => {
                let available = stock.received - stock.held - stock.sold;
                check(event["available"] == available, || {
                    format!("{available} are available")
                })
            }
            ("unknown_sku", None) | ("customer_limit", Some(_)) => Ok(()),
            _ => Err("refused for an article that is known, or is not".to_owned()),
        }
    }

    fn expect(&self, event: &Value, is: impl Fn(Option<&Reservation>, &Value) -> bool) -> Result<(), String> {
        let found = self.reservations.get(&text(event, "reservation")?);
        check(is(found, event), || format!("but the reservation is {found:?}"))
    }
}

fn text(event: &Value, field: &str) -> Result<String, String> {
    event[field]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("no {field}"))
}

fn check(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn received(offset: u64, quantity: u64) -> Value {
        json!({"type": "received", "sku": "tv", "quantity": quantity, "command": "r", "command_offset": offset, "at_ms": 0})
    }

    fn reserved(offset: u64, reservation: &str) -> Value {
        json!({
            "type": "reserved", "customer": "c", "lines": [{"sku": "tv", "quantity": 1}], "expires_at_ms": 100,
            "command": "r", "reservation": reservation, "command_offset": offset, "at_ms": 1,
        })
    }

    fn ended(kind: &str, offset: Option<u64>, reservation: &str, at_ms: i64) -> Value {
        let mut event = json!({"type": kind, "command": "r", "reservation": reservation, "at_ms": at_ms});
        if let Some(offset) = offset {
            event["command_offset"] = json!(offset);
        }
        event
    }

    /// Counts the events; the fault of the last one, the others must have none.
    fn fault_of_last(events: &[Value]) -> Option<String> {
        let commands = vec![Some("r".to_owned()); 10];
        let mut recount = Recount::default();
        let (last, rest) = events.split_last().expect("events");
        for event in rest {
            recount.count(event, &commands).expect("no fault yet");
        }
        recount.count(last, &commands).err()
    }

    #[track_caller]
    fn assert_noticed(events: &[Value], fault: &str) {
        let found = fault_of_last(events).expect("a fault");
        assert!(found.contains(fault), "{found}");
    }

    #[test]
    fn a_sale_that_is_right_passes() {
        let committed = ended("committed", Some(2), "a", 50);
        assert_eq!(
            fault_of_last(&[received(0, 1), reserved(1, "a"), committed]),
            None
        );
        let expired = ended("reservation_expired", None, "a", 100);
        let again = reserved(2, "b");
        let mut again_later = again;
        again_later["at_ms"] = json!(100);
        assert_eq!(
            fault_of_last(&[received(0, 1), reserved(1, "a"), expired.clone(), again_later]),
            None
        );
        let late = ended("committed", Some(2), "a", 101);
        assert_eq!(
            fault_of_last(&[received(0, 1), reserved(1, "a"), late.clone()]),
            None
        );
        assert_eq!(
            fault_of_last(&[received(0, 1), reserved(1, "a"), expired, late]),
            None
        );
    }

    #[test]
    fn what_must_not_happen_is_noticed() {
        assert_noticed(&[received(0, 1), reserved(1, "a"), reserved(2, "b")], "OVERSOLD");
        assert_noticed(
            &[received(0, 2), reserved(1, "a"), reserved(2, "a")],
            "granted anew",
        );
        assert_noticed(
            &[received(0, 2), reserved(1, "a"), reserved(1, "b")],
            "answered twice",
        );
        assert_noticed(&[received(0, 2), received(1, 2)], "arrive twice");
        let early = ended("reservation_expired", None, "a", 99);
        assert_noticed(&[received(0, 1), reserved(1, "a"), early], "too early");
        let late = ended("released", Some(2), "a", 100);
        assert_noticed(&[received(0, 1), reserved(1, "a"), late], "too late");
        let expired = ended("reservation_expired", None, "a", 100);
        let mut resold = reserved(2, "b");
        resold["at_ms"] = json!(100);
        let late = ended("committed", Some(3), "a", 101);
        assert_noticed(
            &[received(0, 1), reserved(1, "a"), expired, resold, late],
            "OVERSOLD",
        );
        let commit = |offset| ended("committed", Some(offset), "a", 50);
        assert_noticed(
            &[received(0, 1), reserved(1, "a"), commit(2), commit(3)],
            "sells what is",
        );
        let release = |offset| ended("released", Some(offset), "a", 50);
        assert_noticed(
            &[received(0, 1), reserved(1, "a"), release(2), release(3)],
            "ends what is",
        );
        assert_noticed(&[reserved(10, "a")], "which is not there");
        assert_noticed(&[ended("released", None, "a", 50)], "answers no command");
    }
}
