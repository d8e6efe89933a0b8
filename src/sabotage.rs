//! Protections that a test build can switch off, one at a time.
//!
//! A test that cannot see a fault proves nothing. Built with the feature `sabotage`, the protection named by the
//! environment variable `WECOM_GATEWAY_SABOTAGE` is removed, and the test that guards it has to fail. Without the
//! feature every question here is a constant `false`.

/// One protection that can be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// The signature is compared before anything is decrypted.
    Signature,
    /// Timestamp, nonce and base64 have a strict form, each parameter stands once.
    StrictSyntax,
    /// The receive id behind the message is compared.
    ReceiveId,
    /// A POST timestamp outside the window is refused.
    ReplayWindow,
    /// A DTD in the plaintext makes it unreadable.
    NoDtd,
    /// The answer waits for the commit.
    CommitBeforeAnswer,
    /// SQLite flushes each commit (`synchronous=FULL`).
    Flush,
    /// Unsafe durability settings of the database are refused at start.
    DurabilityCheck,
    /// Equal callbacks become one row.
    Deduplication,
    /// A commit goes on when its client hangs up.
    CancelProof,
    /// Bodies have a size limit.
    BodyLimit,
    /// Head and body of a request have a time limit.
    RequestTimeout,
    /// A client address has a request budget.
    RateLimit,
    /// Lists of addresses that may come are kept to.
    AddressList,
    /// Where management has a listener of its own, the other one does not have it.
    ManagementApart,
    /// Management routes ask for a key.
    ApiKey,
    /// A stop drains what was accepted.
    GracefulStop,
    /// An at-most-once send found started after a crash is not sent again.
    StartedMark,
    /// Robot sends keep to 20 a minute.
    Pace,
    /// A member is not sent more than the platform delivers.
    MemberPace,
    /// A channel halts when the platform says that somebody has to mend it.
    ChannelHalt,
    /// An app is not sent through to more people a day than the platform takes.
    DayQuota,
    /// A refused secret is not asked about again at once.
    TokenBreaker,
    /// A send whose answer was lost is repeated only while the platform knows the repetition.
    DuplicateWindow,
    /// Secrets print as `***`.
    Redaction,
    /// Control characters in logs are escaped.
    LogEscaping,
    /// Error answers have a fixed text.
    FixedErrors,
    /// Callbacks go to the local disk while the database is away.
    Spool,
    /// Both keys are accepted while they are exchanged.
    PreviousKeys,
    /// An endpoint that fails is left alone for a while.
    Breaker,
    /// Addresses that must not be called are refused.
    OutboundGuard,
    /// A stream has an event when it says so.
    PublishAck,
    /// Redirects of business systems are not followed.
    NoRedirects,
    /// The deliveries of an event are in its own transaction.
    RoutedInTransaction,
    /// Deliveries of one key keep their order.
    KeyOrder,
    /// Answers of business systems are read up to a limit.
    AnswerLimit,
    /// A business system is asked once what to say to a callback, however often that is repeated.
    ReplyOnce,
    /// A smart robot's callback is answered through its address once.
    ResponseOnce,
    /// Events that are committed late are noted for those who read forward.
    LateNotes,
    /// Who no longer owns a target writes no result of it.
    Fencing,
    /// A disk that takes no writes is noticed.
    DiskCheck,
    /// Redis is waited for a moment only.
    RedisTimeout,
    /// A wall clock that jumps makes nothing old and turns nobody away.
    ClockJumps,
    /// Replicas share the budgets of addresses.
    SharedBudget,
    /// What people said is sealed in the rows, where a key is set.
    SealedAtRest,
    /// A sealed value opens in its own row only.
    SealBinding,
}

/// Whether `protection` is switched off in this process. Always `false` without the feature `sabotage`.
#[cfg(not(feature = "sabotage"))]
pub const fn off(_protection: Protection) -> bool {
    false
}

/// Whether `protection` is switched off in this process: `WECOM_GATEWAY_SABOTAGE` names it, for example
/// `ReplayWindow`.
#[cfg(feature = "sabotage")]
pub fn off(protection: Protection) -> bool {
    static CHOSEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("WECOM_GATEWAY_SABOTAGE").unwrap_or_default());
    !chosen.is_empty() && *chosen == format!("{protection:?}")
}
