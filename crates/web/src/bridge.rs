//! What crosses between JavaScript and Rust: values, error sentences, the clock and progress.

use js_sys::Function;
use rewardscope_engine::{Clock, EngineError};
use rewardscope_fit::FitError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

/// An error for the page, with the sentence that describes it as the message.
pub(crate) fn sentence(error: impl std::fmt::Display) -> JsError {
    JsError::new(&error.to_string())
}

/// As [`sentence`]. A failed device makes an error named `DeviceFailed`, because a new worker may succeed.
pub(crate) fn engine_sentence(error: EngineError) -> JsValue {
    let said = js_sys::Error::new(&error.to_string());
    if matches!(error, EngineError::DeviceFailed { .. }) {
        said.set_name("DeviceFailed");
    }
    said.into()
}

/// As [`engine_sentence`], for errors of a fit.
pub(crate) fn fit_sentence(error: FitError) -> JsValue {
    match error {
        FitError::Engine(error) => engine_sentence(error),
        other => sentence(other).into(),
    }
}

pub(crate) fn to_js(value: &impl Serialize) -> Result<JsValue, JsError> {
    serde_wasm_bindgen::to_value(value).map_err(sentence)
}

pub(crate) fn from_js<T: DeserializeOwned>(value: JsValue) -> Result<T, JsError> {
    serde_wasm_bindgen::from_value(value).map_err(sentence)
}

/// The visitor's local time, for chat templates that write the date.
pub(crate) fn clock() -> Clock {
    let now = js_sys::Date::new_0();
    Clock::from_local_seconds((now.get_time() / 1e3 - now.get_timezone_offset() * 60.0) as i64)
}

pub(crate) fn tell(callback: &Function, value: &impl Serialize) {
    if let Ok(value) = to_js(value) {
        let _ = callback.call1(&JsValue::NULL, &value);
    }
}

/// The browser's user agent.
pub(crate) fn host() -> String {
    let get = |of: &JsValue, name: &str| js_sys::Reflect::get(of, &name.into()).unwrap_or(JsValue::UNDEFINED);
    get(&get(&js_sys::global(), "navigator"), "userAgent").as_string().unwrap_or_else(|| "a browser".to_owned())
}
