//! The calls of the page's worker. There is no logic here: a [`Session`](session::Session) holds the opened model,
//! dataset and runs, and passes calls on to the crates `engine`, `eval` and `fit`. `tsify` declares the reported types
//! to TypeScript.

mod bridge;
mod constructors;
mod dataset;
mod explore;
mod heads;
mod models;
mod open_runs;
mod opened;
mod published;
mod run;
mod scoring;
mod session;
mod storage;

use wasm_bindgen::prelude::*;

/// Runs once, when the module is instantiated.
#[wasm_bindgen(start)]
fn start() {
    constructors::call_once();
    // The page replaces the worker after a panic. The panic's message goes to the console and, through the worker's
    // error event, to the page.
    std::panic::set_hook(Box::new(|info| report_panic(&info.to_string())));
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn report_panic(message: &str);
}
