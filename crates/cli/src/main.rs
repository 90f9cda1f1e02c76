//! The `rewardscope` command: the page's engine, compiled for this machine.

mod commands;
mod dataset;
mod driver;
mod identity;
mod marking;
mod model;
mod output;
mod progress;
mod reference_first;
mod row_journal;
mod row_out;
mod table;
mod table_journal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::{api, compare, eval, filter, fit, inspect, items, merge, metrics, pack, score, serve};

#[derive(Parser)]
#[command(name = "rewardscope", version, about = "Score completions with open reward models, and evaluate the models")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Score prompts and completions from a file or a pipe
    Score(score::Arguments),
    /// Show what a model is and how much memory it needs
    Inspect(inspect::Arguments),
    /// Evaluate a model on a benchmark: score its items and print the marks
    Eval(eval::Arguments),
    /// Show a dataset's rows as prompts and completions, without a model
    ///
    /// From a remote file only the parts that hold the shown rows are fetched.
    Items(items::Arguments),
    /// Compute a benchmark's marks from existing scores
    Metrics(metrics::Arguments),
    /// Compare two or more runs over the same items
    Compare(compare::Arguments),
    /// Show the expected accuracy of picking the best-scored of k completions
    BestOfN(compare::BestOfN),
    /// Keep the rows of a dataset that a model scores well
    Filter(filter::Arguments),
    /// Join the outputs of `score --shard` in the order of the input
    Merge(merge::Arguments),
    /// Fit a reward head on preference pairs
    Fit(fit::Arguments),
    /// Pack a model into a folder that any static host can serve
    Pack(pack::Arguments),
    /// Serve a model's rewards to other programs
    Api(api::Arguments),
    /// Serve a built site on localhost
    Serve(serve::Arguments),
}

fn main() -> ExitCode {
    // Some third-party readers panic on a damaged file. Such a panic is caught and becomes an error message, so it is
    // not printed here.
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
        Command::Merge(arguments) => pollster::block_on(merge::run(&arguments)),
        Command::Fit(arguments) => pollster::block_on(fit::run(&arguments)),
        Command::Pack(arguments) => pollster::block_on(pack::run(&arguments)),
        Command::Api(arguments) => pollster::block_on(api::run(&arguments)),
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
