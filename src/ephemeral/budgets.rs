//! Request budgets over all replicas: when each address will have its whole budget again, by Redis's own clock.
//!
//! A replica decides by its own memory and tells every moment what it gave out; the answer is how far the address is
//! ahead of its budget with what the others gave out.

use super::link::{Away, Link};

/// What one address was given since it was last told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Whom it is about.
    pub key: u128,
    /// The time that its requests are worth, µs.
    pub worth_us: i64,
    /// How long ago the first of them was, µs.
    pub since_us: i64,
}

/// For each key: its time is moved on by what was used, from the moment of the first use on if it had its whole
/// budget then; the answer is how far that lies ahead. A key goes by itself when the budget is whole again.
const CHARGE: &str = "local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local ahead = {}
for i, key in ipairs(KEYS) do
  local whole = tonumber(redis.call('GET', key) or '0')
  whole = math.max(whole, now - ARGV[2 * i]) + ARGV[2 * i - 1]
  if whole > now then
    redis.call('SET', key, string.format('%.0f', whole), 'PX', math.ceil((whole - now) / 1000))
  end
  ahead[i] = whole - now
end
return ahead";

/// Charges `uses`; how far each is ahead of its budget, µs.
pub(super) async fn charge(link: &Link, kind: &'static str, uses: &[Use]) -> Option<Vec<i64>> {
    let mut command = redis::cmd("EVAL");
    command.arg(CHARGE).arg(uses.len());
    for one in uses {
        command.arg(link.key(&format!("budget:{kind}:{:032x}", one.key)));
    }
    for one in uses {
        command.arg(one.worth_us).arg(one.since_us);
    }
    let ahead: Result<Vec<i64>, Away> = link.ask(&command).await;
    ahead.ok().filter(|ahead| ahead.len() == uses.len())
}
