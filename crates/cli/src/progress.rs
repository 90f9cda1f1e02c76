//! Progress bars on standard error.

use indicatif::{ProgressBar, ProgressStyle};
use rewardscope_store::{FetchProgress, FetchStage};

/// Updates a bar for bytes that are downloaded or checked, and prints network trouble above it.
pub fn bytes_bar(bar: &ProgressBar, now: &FetchProgress) {
    bar.set_length(now.bytes_total);
    bar.set_position(now.bytes_done);
    bar.set_message(match now.stage {
        FetchStage::Downloading => "fetching",
        FetchStage::Checking => "checking",
    });
    if let Some(trouble) = &now.trouble {
        bar.suspend(|| eprintln!("{trouble}"));
    }
}

/// The style of a bar that counts bytes.
pub fn bytes_style() -> anyhow::Result<ProgressStyle> {
    style("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left")
}

/// A style from a template in indicatif's syntax.
pub fn style(template: &str) -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template(template)?)
}
