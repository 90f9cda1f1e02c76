//! Scores against those of other programs. One program: linking one for each file takes longer than most of them run.

mod folders;
mod implicit;
mod kinds;
mod many_prompts;
mod packed;
mod pairs;
mod prefixes;
mod readers;
mod real;
mod transformers;
