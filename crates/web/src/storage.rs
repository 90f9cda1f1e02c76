//! The files and runs stored on the visitor's device.

use rewardscope_eval::JournalSummary;
use rewardscope_store::Shelf;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::bridge::{sentence, to_js};
use crate::session::Session;

/// The files and runs stored on the visitor's device.
#[derive(Serialize, tsify::Tsify)]
pub struct Storage {
    /// Whether this browser gives the site private files.
    pub is_available: bool,
    /// Whether the browser has promised not to remove the files on its own.
    pub is_persisted: bool,
    /// Bytes that this site uses.
    pub usage_bytes: u64,
    /// Bytes that this site may use.
    pub quota_bytes: u64,
    /// Stored files of models and datasets, largest first.
    pub files: Vec<StoredFile>,
    /// Runs that were started, finished or not.
    pub runs: Vec<StoredRun>,
}

/// A stored file of a model or dataset.
#[derive(Serialize, tsify::Tsify)]
pub struct StoredFile {
    /// Key for `removeFile`.
    pub key: String,
    /// Name of the repository that the file belongs to.
    pub of: String,
    /// Name of the file in that repository.
    pub name: String,
    /// Size of the whole file, in bytes.
    pub bytes: u64,
    /// Bytes that are stored here.
    pub stored_bytes: u64,
    /// Whether the whole file is stored.
    pub is_complete: bool,
}

/// The stored journal of a run.
#[derive(Serialize, tsify::Tsify)]
pub struct StoredRun {
    /// Key for `removeRun`.
    pub key: String,
    /// The run's identity and progress; absent where the journal cannot be read.
    pub summary: Option<JournalSummary>,
}

#[wasm_bindgen]
impl Session {
    /// Lists the files and runs stored on the visitor's device, and the room that they take.
    #[wasm_bindgen(unchecked_return_type = "Storage")]
    pub async fn storage(&self) -> Result<JsValue, JsError> {
        let shelf = Shelf::new(true);
        let found = shelf.report().await.map_err(sentence)?;
        let mut runs = Vec::with_capacity(found.logs.len());
        // An empty one is left of a run for which there was no room.
        for (key, _) in found.logs.into_iter().filter(|(_, bytes)| *bytes > 0) {
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

    /// Removes a stored file by its key.
    #[wasm_bindgen(js_name = removeFile)]
    pub async fn remove_file(&self, key: String) -> Result<(), JsError> {
        Shelf::new(true).remove_file(&key).await.map_err(sentence)
    }

    /// Removes a stored run by its key. Returns whether that was the current run, which is then closed.
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
