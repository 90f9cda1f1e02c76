//! The command's help, tables and sentences, word for word. After a change that is meant, read what it became:
//! `TRYCMD=overwrite cargo test -p rewardscope-tests --test snapshots`, then `git diff`.

use rewardscope_tests::{fixture, program};

#[test]
fn help_tables_and_sentences_stay_as_they_were_read() {
    let cases = trycmd::TestCases::new();
    cases.register_bin("rewardscope", program("rewardscope"));
    cases.env("MODEL", fixture("parity/llama_plain").display().to_string());
    cases.case("command/snapshots/*.trycmd");
}
