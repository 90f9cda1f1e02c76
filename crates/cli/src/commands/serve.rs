//! `rewardscope serve` serves a built site on localhost. It needs no network.

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
    /// Folder to serve, as built by `cargo xtask dist`
    folder: PathBuf,
    /// Port to listen on; if it is in use, another free port is taken
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let serving = Site::folder(&arguments.folder)?.serve(arguments.port)?;
    say!("Rewardscope is at http://localhost:{}/ (Ctrl-C stops it)", serving.port)?;
    serving.wait();
    Ok(ExitCode::SUCCESS)
}
