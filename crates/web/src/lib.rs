//! What the page's worker calls. No logic: a [`Session`] holds the opened model, dataset and run,
//! and hands calls on to `engine` and `eval`. Reports are declared to TypeScript by `tsify`.

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
    // The worker is thrown away after a panic; its last words go to the console and, through the
    // worker's error event, to the page.
    std::panic::set_hook(Box::new(|info| report_panic(&info.to_string())));
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn report_panic(message: &str);
}
