//! A folder of static files on localhost, by range: for a visitor of one's own, without a network.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tiny_http::{Header, Request, Response, Server, StatusCode};

/// Connections served at once: a browser opens six.
const THREADS: usize = 8;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no port to be had.
    #[error("opening a port on localhost: {0}")]
    Port(String),
    /// What is to be served is no site.
    #[error("serving {folder}: a folder with an index.html was expected, none was found there")]
    NoSite {
        /// The folder.
        folder: PathBuf,
    },
}

/// Folders under the addresses that begin so; the first that fits is taken.
#[derive(Debug, Clone)]
pub struct Site {
    mounts: Vec<(String, PathBuf)>,
    headers: Vec<(&'static str, &'static str)>,
}

/// A site that is being served.
pub struct Serving {
    /// Its port on localhost.
    pub port: u16,
    workers: Vec<std::thread::JoinHandle<()>>,
}

impl Serving {
    /// Serves until the process ends.
    pub fn wait(self) {
        for worker in self.workers {
            let _ = worker.join();
        }
    }
}

impl Site {
    /// Several folders, each under its prefix, such as `("/models/", folder)`; longer prefixes
    /// first.
    pub fn new(mounts: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        Self { mounts: mounts.into_iter().collect(), headers: Vec::new() }
    }

    /// The same site with these headers, ASCII, on every file.
    #[must_use]
    pub fn with_headers(mut self, headers: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// One folder as a whole site.
    ///
    /// # Errors
    /// When it has no `index.html`.
    pub fn folder(folder: &Path) -> Result<Self, ServeError> {
        if !folder.join("index.html").is_file() {
            return Err(ServeError::NoSite { folder: folder.to_owned() });
        }
        Ok(Self::new([("/".to_owned(), folder.to_owned())]))
    }

    /// Serves in the background, on another free port where this one is in use.
    ///
    /// # Errors
    /// When no port can be opened.
    pub fn serve(self, port: u16) -> Result<Serving, ServeError> {
        let server = Server::http(("127.0.0.1", port)).or_else(|_| Server::http(("127.0.0.1", 0)));
        let server = Arc::new(server.map_err(|e| ServeError::Port(e.to_string()))?);
        let port = server.server_addr().to_ip().map_or(port, |address| address.port());
        let site = Arc::new(self);
        let workers = (0..THREADS).map(|_| {
            let (server, site) = (server.clone(), site.clone());
            std::thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    // A visitor who went away is no error of ours.
                    let _ = answer(&site, request);
                }
            })
        });
        Ok(Serving { port, workers: workers.collect() })
    }

    fn file_for(&self, url: &str) -> Option<PathBuf> {
        let path = url.split(['?', '#']).next()?;
        let (prefix, folder) = self.mounts.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()))?;
        let rest = path.strip_prefix(prefix.as_str())?;
        let rest = Path::new(if rest.is_empty() { "index.html" } else { rest });
        // Nothing but plain names: no way up, no absolute path.
        rest.components().all(|part| matches!(part, Component::Normal(_))).then(|| folder.join(rest))
    }
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript",
        Some("css") => "text/css",
        Some("wasm") => "application/wasm",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).unwrap_or_else(|()| unreachable!("headers here are ASCII"))
}

fn answer(site: &Site, request: Request) -> std::io::Result<()> {
    let opened = site.file_for(request.url()).and_then(|path| Some((File::open(&path).ok()?, path)));
    let Some((mut file, path)) = opened else {
        return request.respond(Response::from_string("not found").with_status_code(404));
    };
    let bytes = file.metadata()?.len();
    let own = site.headers.iter().map(|(name, value)| header(name, value));
    let mut headers: Vec<Header> = own.chain([header("Content-Type", content_type(&path))]).collect();
    let range =
        request.headers().iter().find(|header| header.field.equiv("Range")).map(|header| header.value.to_string());
    match range.as_deref().map(|range| parse_range(range, bytes)) {
        None => {
            headers.extend([header("Accept-Ranges", "bytes"), header("Cache-Control", "no-cache")]);
            request.respond(Response::new(StatusCode(200), headers, file, Some(bytes as usize), None))
        }
        Some(Some((start, end))) => {
            file.seek(SeekFrom::Start(start))?;
            headers.push(header("Content-Range", &format!("bytes {start}-{}/{bytes}", end - 1)));
            let len = end - start;
            request.respond(Response::new(StatusCode(206), headers, file.take(len), Some(len as usize), None))
        }
        Some(None) => {
            let headers = vec![header("Content-Range", &format!("bytes */{bytes}"))];
            request.respond(Response::new(StatusCode(416), headers, std::io::empty(), Some(0), None))
        }
    }
}

/// `bytes=START-END` or `bytes=START-` as a half-open range inside the file.
fn parse_range(range: &str, bytes: u64) -> Option<(u64, u64)> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start: u64 = start.parse().ok()?;
    let end = if end.is_empty() { bytes } else { end.parse::<u64>().ok()?.checked_add(1)?.min(bytes) };
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_inside_the_file() {
        assert_eq!(parse_range("bytes=0-0", 10), Some((0, 1)));
        assert_eq!(parse_range("bytes=4-", 10), Some((4, 10)));
        assert_eq!(parse_range("bytes=4-99", 10), Some((4, 10)));
        assert_eq!(parse_range("bytes=10-11", 10), None);
        assert_eq!(parse_range("items=1-2", 10), None);
    }

    #[test]
    fn addresses_stay_inside_their_folders() {
        let site =
            Site::new([("/models/", "m"), ("/", "s")].map(|(prefix, folder)| (prefix.to_owned(), folder.into())));
        assert_eq!(site.file_for("/"), Some(Path::new("s").join("index.html")));
        assert_eq!(site.file_for("/models/a.gguf?x"), Some(Path::new("m").join("a.gguf")));
        assert_eq!(site.file_for("/../Cargo.toml"), None);
        assert_eq!(site.file_for("/models/../Cargo.toml"), None);
    }
}
