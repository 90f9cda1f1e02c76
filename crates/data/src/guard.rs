//! Readers of others that trust their bytes: where they panic on damaged ones, that is an error of the file.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread will be an error: a program's hook need not print it.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

/// Does work that may panic on bytes that contradict each other. Where panics end the program, as in WebAssembly, they
/// do so still.
///
/// # Errors
/// A sentence, where it panicked. What it worked on is not to be used again.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, &'static str> {
    let before = IS_GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(before);
    done.map_err(|_| "bytes that contradict each other")
}
