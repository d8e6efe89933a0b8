//! `limits:` — every bound that can be set, with the default that the part it belongs to states.

use std::ops::RangeInclusive;

use super::section::Section;
use crate::channel::transport::TransportLimits;
use crate::dispatch::DispatchSettings;
use crate::http::callbacks::CallbackLimits;
use crate::http::limits::HttpLimits;
use crate::intake::IntakeLimits;

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
}

pub(super) fn read(section: &mut Section<'_, '_>) -> LimitsConfig {
    let http = section.section("http", http);
    let body_bytes_max = http.body_bytes_max;
    LimitsConfig {
        http,
        callback: section.section("callback", |section| callback(section, body_bytes_max)),
        intake: section.section("intake", intake),
        dispatch: section.section("dispatch", dispatch),
        attempt: section.section("attempt", attempt),
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
    }
}

fn callback(section: &mut Section<'_, '_>, body_bytes_max: usize) -> CallbackLimits {
    let of = CallbackLimits::default();
    // The platform gives up after 5 s, so an answer has to leave before.
    CallbackLimits { deadline_ms: section.number("deadline_ms", 100..=4900, of.deadline_ms), body_bytes_max }
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

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const COUNT: RangeInclusive<usize> = 1..=100_000;
const BODY_BYTES: RangeInclusive<usize> = KIB..=16 * MIB;
const TIMEOUT_MS: RangeInclusive<u64> = 100..=600_000;
const RATE: RangeInclusive<u32> = 0..=1_000_000;
const BURST: RangeInclusive<u32> = 1..=1_000_000;
/// A lease outlives the longest attempt, or two replicas could send the same message.
const LEASE_MS_MIN: i64 = 20_000;
const ATTEMPT_MS: RangeInclusive<u64> = 100..=15_000;
