//! The project's task runner: `cargo xtask serve`, `dev`, `dist`, `test`, `deny`, `bench`, `head`, `oracle`,
//! `differential`.

mod bench;
mod browsers;
mod clients;
mod dist;
mod fuzz;
mod head;
mod licences;
mod oracle;
mod packages;
mod parts;
mod python;
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
    /// Build everything and serve the page on localhost
    Serve {
        /// Port to listen on; if it is in use, another free port is taken
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
    /// Build everything and serve the page with hot reload
    Dev,
    /// Build a folder that any static host can serve, at any address
    Dist {
        /// Folder to write to; a folder built earlier is replaced
        #[arg(long, default_value = "dist")]
        out: PathBuf,
        /// Dataset to bundle
        #[arg(long)]
        with: Option<dist::Dataset>,
    },
    /// Build everything and run every check
    Test {
        /// Also run the checks that take long, with every case in every browser
        #[arg(long)]
        all: bool,
    },
    /// Check the licences and sources of the crates that Cargo.lock names
    Deny,
    /// Build everything and print sizes, times and memory, compared with peers
    Bench {
        /// Run only these parts: rows, cpu, workers, ties, wllama, webgpu
        parts: Vec<String>,
        /// Time on this machine's GPU, with programs that were built beforehand
        #[arg(long, conflicts_with = "parts")]
        gpu: bool,
    },
    /// Fit the site's own reward head again
    ///
    /// Takes half an hour on two cores.
    Head,
    /// Compute the tests' expected values again, with pinned Python packages
    ///
    /// Takes minutes, and gigabytes of disk space.
    Oracle,
    /// Change model folders at random and compare the scores of transformers and this project
    ///
    /// Runs thousands of cases per hour.
    Differential {
        /// Number of cases
        #[arg(long, default_value_t = 1000)]
        cases: u32,
        /// Seed of the changes
        #[arg(long, default_value_t = 1)]
        seed: u32,
        /// Make only these kinds of changes
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
        Command::Deny => test::deny(),
        Command::Bench { gpu: true, .. } => bench::gpu(),
        Command::Bench { parts, .. } => bench::run(&parts),
        Command::Head => head::run(),
        Command::Oracle => oracle::run(),
        Command::Differential { cases, seed, kinds } => oracle::differential(cases, seed, &kinds),
    }
}
