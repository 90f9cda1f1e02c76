//! The command as people call it. One program: linking one for each file takes longer than most of them run.

mod bad_input;
mod implicit;
mod inspect;
mod intake;
mod interrupted;
mod marking;
mod pack;
mod pairs;
mod process;
mod readers;
mod settings;
mod tables;
