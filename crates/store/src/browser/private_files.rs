//! The origin's private file system, below one folder of this project.

use js_sys::{Array, AsyncIterator, Function, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions, FileSystemGetFileOptions,
    FileSystemHandle, FileSystemHandleKind, FileSystemReadWriteOptions, FileSystemRemoveOptions,
    FileSystemSyncAccessHandle, StorageManager,
};

use super::{kind, said, scope};

const ROOT: &str = "rewardscope";

/// The browser's storage; `None` in private windows and on insecure pages, which have none.
pub(super) fn storage() -> Option<StorageManager> {
    let navigator = scope().ok()?.navigator();
    let storage = Reflect::get(&navigator, &"storage".into()).ok()?;
    let has = |name: &str| Reflect::get(&storage, &name.into()).is_ok_and(|found| found.is_function());
    (storage.is_object() && has("getDirectory")).then(|| storage.unchecked_into())
}

/// A folder below [`ROOT`], made where it is missing. `None` when the browser gives no private files.
pub(super) async fn made(name: &str) -> Result<Option<FileSystemDirectoryHandle>, JsValue> {
    let Some(storage) = storage() else {
        return Ok(None);
    };
    let mut folder: FileSystemDirectoryHandle = match JsFuture::from(storage.get_directory()).await {
        Ok(root) => root.unchecked_into(),
        // Private windows refuse with this error.
        Err(error) if kind(&error) == "SecurityError" => return Ok(None),
        Err(error) => return Err(error),
    };
    for part in [ROOT].into_iter().chain(name.split('/')) {
        match below(&folder, part, true).await? {
            Some(below) => folder = below,
            None => return Ok(None),
        }
    }
    Ok(Some(folder))
}

/// As [`made`], for reading only: an error counts as no folder.
pub(super) async fn folder(name: &str) -> Option<FileSystemDirectoryHandle> {
    made(name).await.ok()?
}

/// A folder directly in another; `None` where it is missing and `create` is false.
pub(super) async fn below(
    folder: &FileSystemDirectoryHandle,
    name: &str,
    create: bool,
) -> Result<Option<FileSystemDirectoryHandle>, JsValue> {
    let options = FileSystemGetDirectoryOptions::new();
    options.set_create(create);
    found(JsFuture::from(folder.get_directory_handle_with_options(name, &options)).await)
}

/// A file directly in a folder; `None` where it is missing and `create` is false.
pub(super) async fn file(
    folder: &FileSystemDirectoryHandle,
    name: &str,
    create: bool,
) -> Result<Option<FileSystemFileHandle>, JsValue> {
    let options = FileSystemGetFileOptions::new();
    options.set_create(create);
    found(JsFuture::from(folder.get_file_handle_with_options(name, &options)).await)
}

/// The handle of a file or folder; `None` where it is missing.
fn found<T: JsCast>(handle: Result<JsValue, JsValue>) -> Result<Option<T>, JsValue> {
    match handle {
        Ok(handle) => Ok(Some(handle.unchecked_into())),
        Err(error) if kind(&error) == "NotFoundError" => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file's bytes as they are now.
pub(super) async fn blob(folder: &FileSystemDirectoryHandle, name: &str) -> Result<Option<Blob>, JsValue> {
    match file(folder, name, false).await? {
        Some(handle) => Ok(Some(JsFuture::from(handle.get_file()).await?.unchecked_into())),
        None => Ok(None),
    }
}

/// A file that is open for reading only, which other tabs may read too. Bytes read through a blob come
/// from another process, which takes ten times as long.
pub(super) struct Reading(FileSystemSyncAccessHandle);

impl Reading {
    const MODE: &str = "read-only";

    /// Opens a file for reading; `None` where the browser would lock it, or where it is open for writing.
    pub(super) async fn open(folder: &FileSystemDirectoryHandle, name: &str) -> Option<Self> {
        let file = file(folder, name, false).await.ok()??;
        let open: Function = Reflect::get(&file, &"createSyncAccessHandle".into()).ok()?.dyn_into().ok()?;
        let options = Object::new();
        Reflect::set(&options, &"mode".into(), &Self::MODE.into()).ok()?;
        let handle: Promise = open.call1(&file, &options).ok()?.dyn_into().ok()?;
        let handle = Self(JsFuture::from(handle).await.ok()?.unchecked_into());
        // A browser that knows no modes opens the file for this worker only: drop it, so that others can open it.
        let mode = Reflect::get(&handle.0, &"mode".into()).ok()?.as_string();
        (mode.as_deref() == Some(Self::MODE)).then_some(handle)
    }

    pub(super) fn read(&self, bytes: &mut [u8], start: u64) -> Result<usize, String> {
        self.0.read_with_u8_array_and_options(bytes, &at(start)).map(|read| read as usize).map_err(said)
    }

    pub(super) fn read_into(&self, bytes: &Uint8Array, start: u64) -> Result<usize, String> {
        self.0.read_with_js_u8_array_and_options(bytes, &at(start)).map(|read| read as usize).map_err(said)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The options for reading or writing from byte `start` on.
pub(super) fn at(start: u64) -> FileSystemReadWriteOptions {
    let options = FileSystemReadWriteOptions::new();
    options.set_at_f64(start as f64);
    options
}

/// A small file's text.
pub(super) async fn text(folder: &FileSystemDirectoryHandle, name: &str) -> Option<String> {
    let blob = blob(folder, name).await.ok()??;
    JsFuture::from(blob.text()).await.ok()?.as_string()
}

/// Everything directly in a folder: names, and whether each is a folder.
pub(super) async fn entries(folder: &FileSystemDirectoryHandle) -> Result<Vec<(String, bool)>, JsValue> {
    let entries: AsyncIterator = folder.entries();
    let mut names = Vec::new();
    loop {
        let next = JsFuture::from(entries.next()?).await?;
        if Reflect::get(&next, &"done".into())?.is_truthy() {
            return Ok(names);
        }
        let entry: Array = Reflect::get(&next, &"value".into())?.unchecked_into();
        let handle: FileSystemHandle = entry.get(1).unchecked_into();
        names.push((entry.get(0).as_string().unwrap_or_default(), handle.kind() == FileSystemHandleKind::Directory));
    }
}

/// Removes a file, or a folder with everything in it. A missing one is no error.
pub(super) async fn remove(folder: &FileSystemDirectoryHandle, name: &str) -> Result<(), JsValue> {
    let options = FileSystemRemoveOptions::new();
    options.set_recursive(true);
    match JsFuture::from(folder.remove_entry_with_options(name, &options)).await {
        Err(error) if kind(&error) != "NotFoundError" => Err(error),
        _ => Ok(()),
    }
}
