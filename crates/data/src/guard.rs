//! Turns panics of decoders into errors of the file. Decoders from other crates may panic on damaged bytes.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread becomes an error. A program's panic hook need not print such a panic.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

/// Runs work that may panic on damaged bytes, and catches the panic. Where a panic ends the program, as in WebAssembly,
/// it still does.
///
/// # Errors
/// When the work panicked, with a sentence. What it worked on must not be used again.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, &'static str> {
    let before = IS_GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(before);
    done.map_err(|_| "bytes that contradict each other")
}
