//! The `rewardscope` command: the same engine as the page's, natively.

mod commands;
mod dataset;
mod driver;
mod marking;
mod model;
mod output;
mod progress;
mod row_journal;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::{compare, eval, filter, fit, inspect, items, metrics, pack, score, serve};

#[derive(Parser)]
#[command(name = "rewardscope", version, about = "Score completions with open reward models, and mark the models")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Score rows of prompts and completions.
    Score(score::Arguments),
    /// Say what a model is and what it needs.
    Inspect(inspect::Arguments),
    /// Score and mark a benchmark's items.
    Eval(eval::Arguments),
    /// Show rows as they are asked and marked; of a remote file only what is shown is fetched.
    Items(items::Arguments),
    /// Mark scores that exist already.
    Metrics(metrics::Arguments),
    /// Set two runs over the same items beside each other.
    Compare(compare::Arguments),
    /// What picking the best of k completions would get.
    BestOfN(compare::BestOfN),
    /// Keep the rows of a file that a model scores well.
    Filter(filter::Arguments),
    /// Fit a reward head on preferences.
    Fit(fit::Arguments),
    /// Make a folder of a model, packed, that any static host serves.
    Pack(pack::Arguments),
    /// Serve a built site on localhost.
    Serve(serve::Arguments),
}

fn main() -> ExitCode {
    // A damaged file that a reader of others panics on is an error with a sentence.
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !rewardscope_data::is_guarded() {
            before(panic);
        }
    }));
    let done = match Arguments::parse().command {
        Command::Score(arguments) => pollster::block_on(score::run(&arguments)),
        Command::Inspect(arguments) => pollster::block_on(inspect::run(&arguments)),
        Command::Eval(arguments) => pollster::block_on(eval::run(&arguments)),
        Command::Items(arguments) => pollster::block_on(items::run(&arguments)),
        Command::Metrics(arguments) => pollster::block_on(metrics::run(&arguments)),
        Command::Compare(arguments) => pollster::block_on(compare::run(&arguments)),
        Command::BestOfN(arguments) => pollster::block_on(compare::best_of(&arguments)),
        Command::Filter(arguments) => pollster::block_on(filter::run(&arguments)),
        Command::Fit(arguments) => pollster::block_on(fit::run(&arguments)),
        Command::Pack(arguments) => pollster::block_on(pack::run(&arguments)),
        Command::Serve(arguments) => serve::run(&arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) if error.is::<output::Closed>() => ExitCode::SUCCESS,
        Err(error) if error.is::<output::Stopped>() => {
            eprintln!("rewardscope: {error}");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("rewardscope: {error:#}");
            ExitCode::from(2)
        }
    }
}
