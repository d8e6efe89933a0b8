//! How much one request to send may ask for.

/// Bounds of requests to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendLimits {
    /// Most messages in a batch.
    pub batch_messages_max: usize,
    /// Most recipients named in a batch, over all its messages.
    pub batch_recipients_max: usize,
    /// How far ahead `send_at` may be.
    pub send_ahead_ms_max: i64,
    /// Most messages that one long text becomes.
    pub text_parts_max: usize,
}

impl Default for SendLimits {
    fn default() -> Self {
        Self {
            batch_messages_max: 1_000,
            batch_recipients_max: 10_000,
            send_ahead_ms_max: 90 * 86_400_000,
            text_parts_max: 50,
        }
    }
}
