//! What is stored on the visitor's device.

use rewardscope_eval::JournalSummary;
use rewardscope_store::Shelf;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::bridge::{sentence, to_js};
use crate::session::Session;

/// What is stored on the visitor's device.
#[derive(Serialize, tsify::Tsify)]
pub struct Storage {
    /// Whether this browser keeps anything here.
    pub is_available: bool,
    /// Whether the browser promised not to remove it on its own.
    pub is_persisted: bool,
    /// Bytes that this site uses.
    pub usage_bytes: u64,
    /// Bytes that this site may use.
    pub quota_bytes: u64,
    /// Files of models and datasets, largest first.
    pub files: Vec<StoredFile>,
    /// Runs that were begun.
    pub runs: Vec<StoredRun>,
}

/// A file of a model or dataset.
#[derive(Serialize, tsify::Tsify)]
pub struct StoredFile {
    /// What removes it.
    pub key: String,
    /// The repository that it is of.
    pub of: String,
    /// Its name there.
    pub name: String,
    /// Its whole size.
    pub bytes: u64,
    /// What of it is here.
    pub stored_bytes: u64,
    /// Whether it is whole.
    pub is_complete: bool,
}

/// A run's journal.
#[derive(Serialize, tsify::Tsify)]
pub struct StoredRun {
    /// What removes it.
    pub key: String,
    /// Which run it is and how far; none where the journal cannot be read.
    pub summary: Option<JournalSummary>,
}

#[wasm_bindgen]
impl Session {
    /// What is stored on the visitor's device.
    #[wasm_bindgen(unchecked_return_type = "Storage")]
    pub async fn storage(&self) -> Result<JsValue, JsError> {
        let shelf = Shelf::new(true);
        let found = shelf.report().await.map_err(sentence)?;
        let mut runs = Vec::with_capacity(found.logs.len());
        for (key, _) in found.logs {
            let text = shelf.log_text(&key).await.unwrap_or_default();
            runs.push(StoredRun { summary: JournalSummary::of(&text), key });
        }
        let file = |file: rewardscope_store::StoredFile| StoredFile {
            key: file.key,
            of: file.of,
            name: file.name,
            bytes: file.bytes,
            stored_bytes: file.stored_bytes,
            is_complete: file.is_complete,
        };
        to_js(&Storage {
            is_available: found.is_available,
            is_persisted: found.is_persisted,
            usage_bytes: found.usage_bytes,
            quota_bytes: found.quota_bytes,
            files: found.files.into_iter().map(file).collect(),
            runs,
        })
    }

    /// Removes a stored file.
    #[wasm_bindgen(js_name = removeFile)]
    pub async fn remove_file(&self, key: String) -> Result<(), JsError> {
        Shelf::new(true).remove_file(&key).await.map_err(sentence)
    }

    /// Removes a run's journal; whether it was the open one's.
    #[wasm_bindgen(js_name = removeRun)]
    pub async fn remove_run(&self, key: String) -> Result<bool, JsError> {
        let is_open = self.journal.borrow().as_ref().is_some_and(|journal| journal.name() == key);
        if is_open {
            self.close_run();
        }
        Shelf::new(true).remove_log(&key).await.map_err(sentence)?;
        Ok(is_open)
    }
}
