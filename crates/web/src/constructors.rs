//! Runs the wasm module's constructors once.
//!
//! wasm-ld takes a module that never mentions `__wasm_call_ctors` for a command. It then wraps every export so that the
//! constructors run again at each call. Crates under burn register hundreds of items in constructors: encoding a
//! layer's dispatches took seventy times as long. A module that mentions the function calls it itself, and its exports
//! are not wrapped.

unsafe extern "C" {
    /// Runs every registered constructor. The linker makes this function.
    safe fn __wasm_call_ctors();
}

/// Runs the constructors. Only the start function may call this.
pub(crate) fn call_once() {
    __wasm_call_ctors();
}
