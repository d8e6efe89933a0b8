#![no_main]

#[path = "../harness.rs"]
#[expect(dead_code, reason = "one function a target")]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::json(data));
