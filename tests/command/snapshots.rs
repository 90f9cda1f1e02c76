//! The command's help, tables and sentences, word for word. After a change that is meant, read what it became:
//! `TRYCMD=overwrite cargo test -p rewardscope-tests --test snapshots`, then `git diff`.

use rewardscope_tests::program;

#[test]
fn help_tables_and_sentences_stay_as_they_were_read() {
    let cases = trycmd::TestCases::new();
    cases.register_bin("rewardscope", program("rewardscope"));
    // The width that help is wrapped to.
    cases.env("COLUMNS", "100");
    cases.case("command/snapshots/*.trycmd");
}
