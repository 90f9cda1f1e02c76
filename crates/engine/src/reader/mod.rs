//! Readers: a verdict read from a few outputs at a few tokens, such as "yes" against "no" after a question. A reader
//! says which rows of the vocabulary's matrix are the head, how a prompt and a completion become the text, where in it
//! the outputs are read, and how they become a score.

pub(crate) mod attach;
pub(crate) mod layout;
pub(crate) mod named;
pub(crate) mod spec;
pub(crate) mod verdict;
