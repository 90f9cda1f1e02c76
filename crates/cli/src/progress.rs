//! Bars of progress on standard error.

use indicatif::{ProgressBar, ProgressStyle};
use rewardscope_store::{FetchProgress, FetchStage};

/// A bar for bytes that come over the network or are checked, with what goes wrong above it.
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

pub fn bytes_style() -> anyhow::Result<ProgressStyle> {
    style("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left")
}

pub fn style(template: &str) -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template(template)?)
}
