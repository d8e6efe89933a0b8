//! Reading a request's body within its limits: size, time, and the budget over all bodies.
//!
//! The time limit is kept by the connection (`progress.rs`); here a late body is seen as an error of the body.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use crate::http::budget::{ByteBudget, Share};
use crate::http::problem::Problem;
use crate::http::wire::BodyOverdue;
use crate::sabotage::{self, Protection};

/// A body that was read to its end. Its bytes count against the budget until it is dropped.
#[derive(Debug)]
pub struct ReceivedBody {
    /// The bytes, as they came.
    pub bytes: Bytes,
    _share: Share,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyRefusal {
    /// Larger than its route takes.
    #[error("the body is too large")]
    TooLarge,
    /// It did not come in time.
    #[error("the body did not come in time")]
    Overdue,
    /// Too many bytes of other bodies are in flight.
    #[error("too many bodies are in flight")]
    Busy,
    /// The client went away, or its framing is wrong.
    #[error("the body broke off")]
    Broken,
}

impl From<BodyRefusal> for Problem {
    fn from(refusal: BodyRefusal) -> Self {
        match refusal {
            BodyRefusal::TooLarge => Self::too_large(),
            BodyRefusal::Overdue => Self::timed_out(),
            BodyRefusal::Busy => Self::busy(refusal.to_string()),
            BodyRefusal::Broken => Self::bad_request("body", "the body broke off"),
        }
    }
}

/// Reads `body` to its end: at most `bytes_max` bytes, as far as `budget` has room.
pub async fn receive(
    mut body: Body,
    bytes_max: usize,
    budget: &ByteBudget,
) -> Result<ReceivedBody, BodyRefusal> {
    let bytes_max = if sabotage::off(Protection::BodyLimit) { usize::MAX } else { bytes_max };
    if usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > bytes_max {
        return Err(BodyRefusal::TooLarge);
    }
    // Only what has come is counted: a promise in Content-Length takes no room from others.
    let mut share = budget.share();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(classify)?.into_data() else { continue };
        if first.len() + rest.len() + chunk.len() > bytes_max {
            return Err(BodyRefusal::TooLarge);
        }
        if !share.grow(chunk.len()) {
            return Err(BodyRefusal::Busy);
        }
        if first.is_empty() {
            first = chunk;
        } else {
            rest.extend_from_slice(&chunk);
        }
    }
    let bytes = if rest.is_empty() { first } else { [first, rest.freeze()].concat().into() };
    Ok(ReceivedBody { bytes, _share: share })
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn classify(error: axum::Error) -> BodyRefusal {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if error.is::<BodyOverdue>() {
            return BodyRefusal::Overdue;
        }
        cause = error.source();
    }
    BodyRefusal::Broken
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    /// A body of unknown length.
    struct Chunks(VecDeque<&'static str>);

    impl hyper::body::Body for Chunks {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(Bytes::from(chunk)))))
        }
    }

    fn chunks(chunks: &[&'static str]) -> Body {
        Body::new(Chunks(chunks.iter().copied().collect()))
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit_and_not_beyond() {
        let budget = ByteBudget::new(1_000);
        for (body, expected) in [
            (Body::empty(), Ok("")),
            (Body::from("12345678"), Ok("12345678")),
            (Body::from("123456789"), Err(BodyRefusal::TooLarge)),
            (chunks(&["123", "45", "678"]), Ok("12345678")),
            (chunks(&["123", "45", "6789"]), Err(BodyRefusal::TooLarge)),
            (chunks(&[]), Ok("")),
        ] {
            let received = receive(body, 8, &budget).await.map(|body| body.bytes);
            assert_eq!(received, expected.map(Bytes::from));
        }
        assert_eq!(budget.taken(), 0);
    }

    #[tokio::test]
    async fn the_budget_covers_all_bodies_at_once() {
        let budget = ByteBudget::new(10);
        let first = receive(chunks(&["123", "456"]), 8, &budget).await.unwrap();
        assert_eq!(budget.taken(), 6);
        assert_eq!(receive(Body::from("12345"), 8, &budget).await.map(|b| b.bytes), Err(BodyRefusal::Busy));
        assert_eq!(budget.taken(), 6);
        drop(first);
        assert!(receive(Body::from("12345"), 8, &budget).await.is_ok());
    }
}
