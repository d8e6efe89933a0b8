//! The status of a message, and which of two is the later truth.

/// What is known about a message, or about one of its recipients.
///
/// PMC's seven and `uncertain`. WeCom gives no delivery and no read receipt: `delivered` and `read` only come from
/// evidence of another kind (see [`crate::domain::evidence`]). The variants stand in rising rank, and compare so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Taken over by the gateway, not yet sent.
    Pending,
    /// `expires_at` passed before it was sent.
    Expired,
    /// An at-most-once send whose answer was lost: perhaps sent.
    Uncertain,
    /// The platform took it.
    Sent,
    /// Refused for good, by the platform or for this recipient.
    Failed,
    /// It arrived, as another system reports.
    Delivered,
    /// A person opened, clicked or confirmed it.
    Read,
    /// Taken back after it was sent.
    Recalled,
}

impl Status {
    /// Every status, in rising rank.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Expired,
        Self::Uncertain,
        Self::Sent,
        Self::Failed,
        Self::Delivered,
        Self::Read,
        Self::Recalled,
    ];

    /// The word in tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Expired => "expired",
            Self::Uncertain => "uncertain",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Recalled => "recalled",
        }
    }

    /// Reads [`Status::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The place in the order; of two statuses of one recipient the higher holds, whatever came first.
    pub fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Expired => 1,
            Self::Uncertain => 2,
            Self::Sent => 3,
            Self::Failed => 4,
            Self::Delivered => 5,
            Self::Read => 6,
            Self::Recalled => 7,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_and_ranks_rise() {
        for pair in Status::ALL.windows(2) {
            assert!(pair[0].rank() < pair[1].rank());
            assert!(pair[0] < pair[1]);
        }
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("accepted"), None);
    }
}
