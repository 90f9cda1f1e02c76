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

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;

/// Bytes of a file that are read at once: models are large.
const READ_BYTES: usize = 1 << 20;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No port could be opened.
    #[error("opening a port on localhost: {0}")]
    Port(#[from] std::io::Error),
    /// A header of the site's own is none that HTTP allows.
    #[error("serving the site with the header {name}: {value}: HTTP does not allow it")]
    Header {
        /// The header's name.
        name: &'static str,
        /// The header's value.
        value: &'static str,
    },
    /// The folder to serve is not a site.
    #[error("serving {folder}: a folder with an index.html was expected, none was found there")]
    NoSite {
        /// The folder that was given.
        folder: PathBuf,
    },
}

/// Folders, each with the beginning of the addresses that it serves. The longest that fits an address is taken.
#[derive(Debug, Clone)]
pub struct Site {
    mounts: Vec<(String, PathBuf)>,
    headers: Vec<(&'static str, &'static str)>,
}

/// A site that is being served.
pub struct Serving {
    /// The site's port on localhost.
    pub port: u16,
    server: JoinHandle<()>,
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
        let _ = self.server.join();
    }
}

impl Site {
    /// A site of several folders, each with the beginning of its addresses, such as `("/models/", folder)`. The longest
    /// beginning that fits an address is taken.
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

    /// The site with these headers on every answer.
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
    /// When no port can be opened, or when a header is none that HTTP allows.
    pub fn serve(self, port: u16) -> Result<Serving, ServeError> {
        let at = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let listener = at(port).or_else(|_| at(0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let listener = runtime.block_on(async { tokio::net::TcpListener::from_std(listener) })?;
        let router = self.router()?;
        let server = std::thread::spawn(move || {
            // It ends with the process.
            let _ = runtime.block_on(axum::serve(listener, router).into_future());
        });
        Ok(Serving { port, server })
    }

    fn router(&self) -> Result<Router, ServeError> {
        let mut router = Router::new();
        for (prefix, folder) in &self.mounts {
            let files = ServeDir::new(folder).with_buf_chunk_size(READ_BYTES);
            router = match prefix.trim_end_matches('/') {
                "" => router.fallback_service(files),
                prefix => router.nest_service(prefix, files),
            };
        }
        for &(name, value) in &self.headers {
            let refused = || ServeError::Header { name, value };
            let own = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
            let value = HeaderValue::from_str(value).map_err(|_| refused())?;
            router = router.layer(SetResponseHeaderLayer::overriding(own, value));
        }
        // A browser asks each time whether a file has changed.
        let fresh = HeaderValue::from_static("no-cache");
        Ok(router.layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, fresh)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    /// A site of two folders in a temporary folder.
    fn site() -> (tempfile::TempDir, Serving) {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in [("www/index.html", "the page"), ("www/a.wasm", "0123456789"), ("models/m/part", "model")] {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        std::fs::write(root.path().join("secret"), "secret").expect("a file");
        let mounts = [("/models/", "models"), ("/", "www")];
        let site = Site::new(mounts.map(|(prefix, folder)| (prefix.to_owned(), root.path().join(folder))));
        let serving = site.with_headers([("x-own", "1")]).serve(0).expect("a port");
        (root, serving)
    }

    fn visitor(port: u16) -> TcpStream {
        let visitor = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        visitor.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
        visitor
    }

    /// Head and body of the answer to a request, with its names in lower case.
    fn answer(port: u16, path: &str, headers: &str) -> (String, String) {
        let mut visitor = visitor(port);
        write!(visitor, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").expect("sent");
        let mut all = String::new();
        visitor.read_to_string(&mut all).expect("an answer");
        let (head, body) = all.split_once("\r\n\r\n").expect("a head");
        (head.to_lowercase(), body.to_owned())
    }

    #[test]
    fn files_come_whole_and_by_range() {
        let (_root, serving) = site();
        let (head, body) = answer(serving.port, "/a.wasm", "");
        assert_eq!(body, "0123456789");
        for said in ["200 ok", "content-type: application/wasm", "accept-ranges: bytes", "cache-control: no-cache"] {
            assert!(head.contains(said), "{said} in {head}");
        }
        assert!(head.contains("x-own: 1"), "{head}");
        for (range, status, expected) in
            [("0-0", "206", "0"), ("4-", "206", "456789"), ("4-99", "206", "456789"), ("10-11", "416", "")]
        {
            let (head, body) = answer(serving.port, "/a.wasm", &format!("Range: bytes={range}\r\n"));
            assert!(head.starts_with(&format!("http/1.1 {status}")), "{range}: {head}");
            assert_eq!(body, expected, "{range}");
        }
        assert!(answer(serving.port, "/a.wasm", "Range: bytes=4-5\r\n").0.contains("content-range: bytes 4-5/10"));
    }

    #[test]
    fn addresses_stay_inside_their_folders() {
        let (_root, serving) = site();
        assert_eq!(answer(serving.port, "/", "").1, "the page");
        assert_eq!(answer(serving.port, "/?a=b", "").1, "the page");
        assert_eq!(answer(serving.port, "/models/m/part?x", "").1, "model");
        for path in ["/none", "/models/none", "/../secret", "/models/../../secret", "/%2e%2e/secret", "//secret"] {
            let (head, body) = answer(serving.port, path, "");
            assert!(head.starts_with("http/1.1 404"), "{path}: {head}");
            assert!(!body.contains("secret"), "{path}: {body}");
        }
    }

    /// Browsers open several connections at once, keep them, and open some of which they make no use.
    #[test]
    fn every_open_connection_is_answered() {
        let (_root, serving) = site();
        let _unused: Vec<TcpStream> = (0..16).map(|_| visitor(serving.port)).collect();
        for _ in 0..20 {
            let mut visitors: Vec<TcpStream> = (0..24).map(|_| visitor(serving.port)).collect();
            for visitor in &mut visitors {
                visitor.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
            }
            for visitor in &mut visitors {
                let mut part = [0; 8];
                visitor.read_exact(&mut part).expect("an answer while the others stay open");
                assert_eq!(&part, b"HTTP/1.1");
            }
        }
    }
}
