#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/hook.rs"]
mod hook;
#[path = "../src/layouts.rs"]
mod target;

fuzz_target!(init: hook::set(), |bytes: &[u8]| target::run(bytes));
