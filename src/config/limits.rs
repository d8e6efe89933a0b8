//! `limits:` — every bound that can be set, with the default that the part it belongs to states.

use std::ops::RangeInclusive;

use super::section::Section;
use crate::channel::transport::TransportLimits;
use crate::dispatch::DispatchSettings;
use crate::domain::allowance::Allowance;
use crate::http::callbacks::CallbackLimits;
use crate::http::limits::HttpLimits;
use crate::http::streams::StreamLimits;
use crate::intake::IntakeLimits;
use crate::messages::SendLimits;
use crate::replies::ReplyLimits;
use crate::shadow::ShadowLimits;
use crate::store::PAGE_LIMIT_MAX;
use crate::wecom::limits::ReadLimits;

/// All bounds, by the part that keeps them.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Connections and requests.
    pub http: HttpLimits,
    /// One callback.
    pub callback: CallbackLimits,
    /// Accepted callbacks on their way to the database.
    pub intake: IntakeLimits,
    /// The sender.
    pub dispatch: DispatchSettings,
    /// One attempt to send.
    pub attempt: TransportLimits,
    /// How fast is sent.
    pub pace: Allowance,
    /// Requests to send.
    pub messages: SendLimits,
    /// Asking what to say to a callback.
    pub reply: ReplyLimits,
    /// Callbacks on their way to old addresses.
    pub shadow: ShadowLimits,
    /// Streams of events.
    pub stream: StreamLimits,
}

pub(super) fn read(section: &mut Section<'_, '_>) -> LimitsConfig {
    let http = section.section("http", http);
    let body_bytes_max = http.body_bytes_max;
    let limits = LimitsConfig {
        http,
        callback: section.section("callback", |section| callback(section, body_bytes_max)),
        intake: section.section("intake", intake),
        dispatch: section.section("dispatch", dispatch),
        attempt: section.section("attempt", attempt),
        pace: section.section("pace", pace),
        messages: section.section("messages", messages),
        reply: section.section("reply", reply),
        shadow: section.section("shadow", shadow),
        stream: section.section("stream", stream),
    };
    check_lease(section, &limits);
    limits
}

/// An app's attempt may take two requests, and a lease is renewed when a third of it has gone: what is left then must
/// be long enough, or nothing would ever be sent.
fn check_lease(section: &mut Section<'_, '_>, limits: &LimitsConfig) {
    let needed_ms = i64::try_from(limits.attempt.attempt_timeout_ms).unwrap_or(i64::MAX).saturating_mul(3);
    if limits.dispatch.lease_ms < needed_ms {
        let what = format!("should be at least {needed_ms}, three times attempt.attempt_timeout_ms");
        section.wrong("dispatch.lease_ms", section.place(), what);
    }
}

fn http(section: &mut Section<'_, '_>) -> HttpLimits {
    let of = HttpLimits::default();
    HttpLimits {
        connections_max: section.number("connections_max", COUNT, of.connections_max),
        connections_per_address_max: section.number(
            "connections_per_address_max",
            COUNT,
            of.connections_per_address_max,
        ),
        head_timeout_ms: section.number("head_timeout_ms", TIMEOUT_MS, of.head_timeout_ms),
        body_timeout_ms: section.number("body_timeout_ms", TIMEOUT_MS, of.body_timeout_ms),
        idle_timeout_ms: section.number("idle_timeout_ms", TIMEOUT_MS, of.idle_timeout_ms),
        write_timeout_ms: section.number("write_timeout_ms", TIMEOUT_MS, of.write_timeout_ms),
        handling_timeout_ms: section.number("handling_timeout_ms", TIMEOUT_MS, of.handling_timeout_ms),
        stop_timeout_ms: section.number("stop_timeout_ms", TIMEOUT_MS, of.stop_timeout_ms),
        stop_notice_ms: section.number("stop_notice_ms", 0..=60_000, of.stop_notice_ms),
        head_bytes_max: section.number("head_bytes_max", 8 * KIB..=256 * KIB, of.head_bytes_max),
        headers_max: section.number("headers_max", 8..=1000, of.headers_max),
        uri_bytes_max: section.number("uri_bytes_max", KIB..=64 * KIB, of.uri_bytes_max),
        body_bytes_max: section.number("body_bytes_max", BODY_BYTES, of.body_bytes_max),
        api_body_bytes_max: section.number("api_body_bytes_max", BODY_BYTES, of.api_body_bytes_max),
        send_body_bytes_max: section.number("send_body_bytes_max", BODY_BYTES, of.send_body_bytes_max),
        upload_bytes_max: section.number("upload_bytes_max", KIB..=32 * MIB, of.upload_bytes_max),
        bodies_in_flight_bytes_max: section.number(
            "bodies_in_flight_bytes_max",
            16 * MIB..=1024 * MIB,
            of.bodies_in_flight_bytes_max,
        ),
        rate_per_address_per_s: section.number("rate_per_address_per_s", RATE, of.rate_per_address_per_s),
        rate_burst: section.number("rate_burst", BURST, of.rate_burst),
        api_rate_per_address_per_s: section.number(
            "api_rate_per_address_per_s",
            RATE,
            of.api_rate_per_address_per_s,
        ),
        api_rate_burst: section.number("api_rate_burst", BURST, of.api_rate_burst),
        wrong_keys_per_address_per_minute: section.number(
            "wrong_keys_per_address_per_minute",
            RATE,
            of.wrong_keys_per_address_per_minute,
        ),
        strangers_rows_per_s_max: section.number(
            "strangers_rows_per_s_max",
            2..=10_000,
            of.strangers_rows_per_s_max,
        ),
        page_rows_default: section.number("page_rows_default", PAGE_ROWS, of.page_rows_default),
        page_rows_max: section.number("page_rows_max", PAGE_ROWS, of.page_rows_max),
        erase_timeout_ms: section.number("erase_timeout_ms", TIMEOUT_MS, of.erase_timeout_ms),
        answer_wait_ms: section.number("answer_wait_ms", TIMEOUT_MS, of.answer_wait_ms),
    }
}

fn callback(section: &mut Section<'_, '_>, body_bytes_max: usize) -> CallbackLimits {
    let of = CallbackLimits::default();
    // The platform gives up after 5 s, so an answer has to leave before.
    let (default, widest) = (of.read, ReadLimits::WIDEST);
    CallbackLimits {
        deadline_ms: section.number("deadline_ms", 100..=4900, of.deadline_ms),
        body_bytes_max,
        read: ReadLimits {
            query_bytes_max: section.number(
                "query_bytes_max",
                KIB..=widest.query_bytes_max,
                default.query_bytes_max,
            ),
            parameters_max: section.number(
                "parameters_max",
                8..=widest.parameters_max,
                default.parameters_max,
            ),
            xml_depth_max: section.number("xml_depth_max", 8..=widest.xml_depth_max, default.xml_depth_max),
            xml_pieces_max: section.number(
                "xml_pieces_max",
                1_000..=widest.xml_pieces_max,
                default.xml_pieces_max,
            ),
            json_depth_max: section.number(
                "json_depth_max",
                8..=widest.json_depth_max,
                default.json_depth_max,
            ),
            json_values_max: section.number(
                "json_values_max",
                1_000..=widest.json_values_max,
                default.json_values_max,
            ),
        },
    }
}

fn intake(section: &mut Section<'_, '_>) -> IntakeLimits {
    let of = IntakeLimits::default();
    IntakeLimits {
        queue_rows_max: section.number("queue_rows_max", 1..=1_000_000, of.queue_rows_max),
        queue_bytes_max: section.number("queue_bytes_max", MIB..=1024 * MIB, of.queue_bytes_max),
        group_rows_max: section.number("group_rows_max", 1..=1000, of.group_rows_max),
        group_bytes_max: section.number("group_bytes_max", 64 * KIB..=16 * MIB, of.group_bytes_max),
    }
}

fn dispatch(section: &mut Section<'_, '_>) -> DispatchSettings {
    let of = DispatchSettings::default();
    DispatchSettings {
        lease_ms: section.number("lease_ms", LEASE_MS_MIN..=600_000, of.lease_ms),
        scan_ms: section.number("scan_ms", 100..=60_000, of.scan_ms),
        attempts_in_flight_max: section.number(
            "attempts_in_flight_max",
            1..=10_000,
            of.attempts_in_flight_max,
        ),
        app_in_flight_max: section.number("app_in_flight_max", 1..=1_000, of.app_in_flight_max),
        forwards_in_flight_max: section.number(
            "forwards_in_flight_max",
            1..=100_000,
            of.forwards_in_flight_max,
        ),
        queue_rows_max: section.number("queue_rows_max", 16..=100_000, of.queue_rows_max),
        app_queue_rows_max: section.number("app_queue_rows_max", 16..=100_000, of.app_queue_rows_max),
        rebuilt_sends_max: section.number("rebuilt_sends_max", 1_000..=10_000_000, of.rebuilt_sends_max),
    }
}

fn attempt(section: &mut Section<'_, '_>) -> TransportLimits {
    let of = TransportLimits::default();
    TransportLimits {
        connect_timeout_ms: section.number("connect_timeout_ms", ATTEMPT_MS, of.connect_timeout_ms),
        attempt_timeout_ms: section.number("attempt_timeout_ms", ATTEMPT_MS, of.attempt_timeout_ms),
        answer_bytes_max: section.number("answer_bytes_max", KIB..=MIB, of.answer_bytes_max),
    }
}

fn pace(section: &mut Section<'_, '_>) -> Allowance {
    let of = Allowance::default();
    Allowance {
        robot_per_minute: section.number("robot_per_minute", PER_MINUTE, of.robot_per_minute),
        member_per_minute: section.number("member_per_minute", PER_MINUTE, of.member_per_minute),
        member_per_hour: section.number("member_per_hour", PER_MINUTE, of.member_per_hour),
    }
}

fn messages(section: &mut Section<'_, '_>) -> SendLimits {
    let of = SendLimits::default();
    SendLimits {
        batch_messages_max: section.number("batch_messages_max", 1..=10_000, of.batch_messages_max),
        batch_recipients_max: section.number("batch_recipients_max", 1..=100_000, of.batch_recipients_max),
        send_ahead_ms_max: section.number("send_ahead_ms_max", 0..=SEND_AHEAD_MS, of.send_ahead_ms_max),
        text_parts_max: section.number("text_parts_max", 1..=1_000, of.text_parts_max),
    }
}

fn reply(section: &mut Section<'_, '_>) -> ReplyLimits {
    let of = ReplyLimits::default();
    ReplyLimits {
        asks_in_flight_max: section.number("asks_in_flight_max", 1..=10_000, of.asks_in_flight_max),
        answer_bytes_max: section.number("answer_bytes_max", KIB..=MIB, of.answer_bytes_max),
        remembered_max: section.number("remembered_max", 1..=100_000, of.remembered_max),
        remembered_ms: section.number("remembered_ms", 1_000..=600_000, of.remembered_ms),
    }
}

fn shadow(section: &mut Section<'_, '_>) -> ShadowLimits {
    let of = ShadowLimits::default();
    ShadowLimits {
        queue_max: section.number("queue_max", 1..=100_000, of.queue_max),
        queue_bytes_max: section.number("queue_bytes_max", MIB..=1024 * MIB, of.queue_bytes_max),
        in_flight_max: section.number("in_flight_max", 1..=1_000, of.in_flight_max),
        answer_bytes_max: section.number("answer_bytes_max", KIB..=MIB, of.answer_bytes_max),
        differences_max: section.number("differences_max", 1..=10_000, of.differences_max),
    }
}

fn stream(section: &mut Section<'_, '_>) -> StreamLimits {
    let of = StreamLimits::default();
    StreamLimits {
        streams_max: section.number("streams_max", 1..=1_000, of.streams_max),
        buffer_events: section.number("buffer_events", 1..=10_000, of.buffer_events),
        heartbeat_ms: section.number("heartbeat_ms", 1_000..=60_000, of.heartbeat_ms),
        lifetime_ms: section.number("lifetime_ms", 1_000..=86_400_000, of.lifetime_ms),
        poll_ms: section.number("poll_ms", 50..=10_000, of.poll_ms),
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const COUNT: RangeInclusive<usize> = 1..=100_000;
const BODY_BYTES: RangeInclusive<usize> = KIB..=16 * MIB;
const TIMEOUT_MS: RangeInclusive<u64> = 100..=600_000;
const PAGE_ROWS: RangeInclusive<usize> = 1..=PAGE_LIMIT_MAX;
const PER_MINUTE: RangeInclusive<usize> = 1..=100_000;
/// A year.
const SEND_AHEAD_MS: i64 = 366 * 86_400_000;
const RATE: RangeInclusive<u32> = 0..=1_000_000;
const BURST: RangeInclusive<u32> = 1..=1_000_000;
/// A lease outlives the longest attempt, or two replicas could send the same message.
const LEASE_MS_MIN: i64 = 20_000;
const ATTEMPT_MS: RangeInclusive<u64> = 100..=15_000;
