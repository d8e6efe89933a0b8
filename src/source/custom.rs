//! The open seam: a source of the user's own, in the user's own binary.

use bytes::Bytes;

use crate::source::{Accepted, RawCallback, Refused};
use crate::wecom::refusal::{Refusal, Step};

/// A system other than WeCom that calls us at `/api/v1/webhooks/{kind}/{handler}`.
///
/// What it accepts is kept, deduplicated, shown and delivered like any event. It gets the request within the
/// gateway's limits and must prove it before it says yes: nobody else does.
pub trait CustomSource: Send + Sync {
    /// The source's name in events, lists and logs.
    fn name(&self) -> &str;

    /// The last but one part of its address.
    fn kind(&self) -> &str;

    /// The last part of its address.
    fn handler(&self) -> &str;

    /// Verifies a POST and reads its events. `now_s` is wall time in seconds.
    ///
    /// # Errors
    /// The request is refused, with the status this kind of caller expects.
    fn receive(&self, raw: &RawCallback<'_>, now_s: i64) -> Result<Accepted, Refused>;

    /// Answers a GET at the address, if this kind of caller checks addresses.
    ///
    /// # Errors
    /// The check is refused; by default every one is, as if nobody were there.
    fn handshake(&self, raw: &RawCallback<'_>, now_s: i64) -> Result<Bytes, Refused> {
        let _ = (raw, now_s);
        Err(Refused::new(None, Refusal::new(Step::Route, "this source checks no addresses")))
    }
}
