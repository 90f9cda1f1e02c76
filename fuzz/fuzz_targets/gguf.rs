#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/rows.rs"]
mod rows;
#[path = "../src/gguf.rs"]
mod target;

fuzz_target!(|bytes: &[u8]| target::run(bytes));
