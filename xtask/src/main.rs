//! One runner for everything: `cargo xtask serve`, `dev`, `dist`, `test`, `bench`, `head`, `oracle`.

mod bench;
mod browsers;
mod dist;
mod fuzz;
mod head;
mod licences;
mod oracle;
mod pack;
mod packages;
mod setup;
mod stage;
mod test;
mod wasm;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, serve and check Rewardscope")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set everything up and serve the page on localhost.
    Serve {
        /// The port; another free one is taken when it is in use.
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
    /// Set everything up and serve the page with hot reload.
    Dev,
    /// Make a folder that any static host serves, at any address.
    Dist {
        /// Where to; what was there is replaced.
        #[arg(long, default_value = "dist")]
        out: PathBuf,
        /// A dataset to bundle.
        #[arg(long)]
        with: Option<dist::Dataset>,
    },
    /// Set everything up and run every check.
    Test {
        /// Also what takes long: every browser times every case.
        #[arg(long)]
        all: bool,
    },
    /// Set everything up and print sizes, times and memory, ours and those of our peers.
    Bench {
        /// Only these comparisons with peers: cpu, workers, ties, wllama, webgpu.
        parts: Vec<String>,
        /// What can be timed on this machine's card, by what was built beforehand.
        #[arg(long, conflicts_with = "parts")]
        gpu: bool,
    },
    /// Fit the site's own reward head anew; takes half an hour on two cores.
    Head,
    /// Write expected values anew with pinned Python packages; takes minutes and gigabytes.
    Oracle,
    /// Change model folders at random and compare what transformers and this project give for them; thousands an hour.
    Differential {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        cases: u32,
        /// The same seed makes the same changes.
        #[arg(long, default_value_t = 1)]
        seed: u32,
        /// Only these kinds of changes.
        kinds: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = root.parent().context("finding the project's root: xtask has no parent folder")?;
    std::env::set_current_dir(root).with_context(|| format!("entering {}", root.display()))?;
    match Arguments::parse().command {
        Command::Serve { port } => {
            let mut stages = stage::Stages::default();
            setup::site(&mut stages)?;
            stages.summary();
            let serving = setup::served().serve(port)?;
            println!("Rewardscope is at http://localhost:{}/ (Ctrl-C stops it)", serving.port);
            serving.wait();
            Ok(())
        }
        Command::Dev => setup::develop(&mut stage::Stages::default()),
        Command::Dist { out, with } => dist::run(&out, with),
        Command::Test { all } => test::run(all),
        Command::Bench { gpu: true, .. } => bench::gpu(),
        Command::Bench { parts, .. } => bench::run(&parts),
        Command::Head => head::run(),
        Command::Oracle => oracle::run(),
        Command::Differential { cases, seed, kinds } => oracle::differential(cases, seed, &kinds),
    }
}
