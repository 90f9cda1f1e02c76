//! Serves folders of static files on localhost, by range: for one's own browser, without a network.
//!
//! ```
//! use std::io::{Read, Write};
//!
//! let folder = std::env::temp_dir().join(format!("rewardscope-site-{}", std::process::id()));
//! std::fs::create_dir_all(&folder)?;
//! std::fs::write(folder.join("index.html"), "<h1>Hello</h1>")?;
//! let serving = rewardscope_serve::Site::folder(&folder)?.serve(0)?;
//! let mut visitor = std::net::TcpStream::connect(("127.0.0.1", serving.port))?;
//! visitor.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
//! let mut answer = String::new();
//! visitor.read_to_string(&mut answer)?;
//! assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("<h1>Hello</h1>"), "{answer}");
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tiny_http::{Header, Request, Response, Server, StatusCode};

/// Requests answered at once: a browser opens six connections.
const THREADS: usize = 8;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No port could be opened; the field says why.
    #[error("opening a port on localhost: {0}")]
    Port(String),
    /// The folder to serve is not a site.
    #[error("serving {folder}: a folder with an index.html was expected, none was found there")]
    NoSite {
        /// The folder that was given.
        folder: PathBuf,
    },
}

/// Folders, each with the beginning of the addresses that it serves. The first that fits an address is taken.
#[derive(Debug, Clone)]
pub struct Site {
    mounts: Vec<(String, PathBuf)>,
    headers: Vec<(&'static str, &'static str)>,
}

/// A site that is being served.
pub struct Serving {
    /// The site's port on localhost.
    pub port: u16,
    workers: Vec<std::thread::JoinHandle<()>>,
}

impl Serving {
    /// Waits while the site is served, until the process ends.
    ///
    /// ```no_run
    /// use std::path::Path;
    ///
    /// let serving = rewardscope_serve::Site::folder(Path::new("www/dist"))?.serve(8000)?;
    /// println!("http://localhost:{}", serving.port);
    /// serving.wait();
    /// # Ok::<(), rewardscope_serve::ServeError>(())
    /// ```
    pub fn wait(self) {
        for worker in self.workers {
            let _ = worker.join();
        }
    }
}

impl Site {
    /// A site of several folders, each with the beginning of its addresses, such as `("/models/", folder)`. Give longer
    /// beginnings first.
    ///
    /// ```
    /// use rewardscope_serve::Site;
    ///
    /// let mounts = [("/models/", "models"), ("/", "www")];
    /// let site = Site::new(mounts.map(|(prefix, folder)| (prefix.to_owned(), folder.into())));
    /// let serving = site.with_headers([("Cross-Origin-Opener-Policy", "same-origin")]).serve(0)?;
    /// assert_ne!(serving.port, 0);
    /// # Ok::<(), rewardscope_serve::ServeError>(())
    /// ```
    pub fn new(mounts: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        Self { mounts: mounts.into_iter().collect(), headers: Vec::new() }
    }

    /// The site with these headers on every file. Names and values must be ASCII.
    #[must_use]
    pub fn with_headers(mut self, headers: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// A site of one folder.
    ///
    /// # Errors
    /// When the folder has no `index.html`.
    pub fn folder(folder: &Path) -> Result<Self, ServeError> {
        if !folder.join("index.html").is_file() {
            return Err(ServeError::NoSite { folder: folder.to_owned() });
        }
        Ok(Self::new([("/".to_owned(), folder.to_owned())]))
    }

    /// Serves the site in the background on this port of localhost, or on another free port where it is in use. Port 0
    /// means any free port.
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
                    // A visitor who closed the connection is not an error.
                    let _ = answer(&site, request);
                }
            })
        });
        Ok(Serving { port, workers: workers.collect() })
    }

    /// The file that an address stands for, whether it exists or not.
    fn file_for(&self, url: &str) -> Option<PathBuf> {
        let path = url.split(['?', '#']).next()?;
        let (prefix, folder) = self.mounts.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()))?;
        let rest = path.strip_prefix(prefix.as_str())?;
        let rest = Path::new(if rest.is_empty() { "index.html" } else { rest });
        // Only plain names: no way up, no absolute path.
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

/// Reads `bytes=START-END` or `bytes=START-` as the first byte and one past the last, inside a file of `bytes` bytes.
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
