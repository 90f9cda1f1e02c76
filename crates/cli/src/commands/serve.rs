//! `rewardscope serve`: a built site on localhost, without a network.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::output::say;
use clap::Args;
use rewardscope_serve::Site;

#[derive(Args)]
#[command(after_help = "Examples:
  rewardscope serve dist
  rewardscope serve dist --port 8080")]
pub struct Arguments {
    /// A folder as `cargo xtask dist` makes it.
    folder: PathBuf,
    /// The port; another free one is taken when it is in use.
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let serving = Site::folder(&arguments.folder)?.serve(arguments.port)?;
    say!("Rewardscope is at http://localhost:{}/ (Ctrl-C stops it)", serving.port)?;
    serving.wait();
    Ok(ExitCode::SUCCESS)
}
