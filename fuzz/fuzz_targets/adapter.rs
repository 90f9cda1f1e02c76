//! Fuzzes the reader of adapter_config.json.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rewardscope_weights::adapter;

fuzz_target!(|bytes: &[u8]| {
    let _ = adapter::check_config(bytes);
});
