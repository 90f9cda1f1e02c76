//! Opening the device. Graphics drivers, and the layers that come with them, write lines of their own to standard
//! error, which belongs to this command: they are kept off it.

use rewardscope_engine::{DeviceChoice, EngineError, OpenDevice, device};

/// The device of a choice.
///
/// # Errors
/// When there is no such device.
pub async fn open(choice: DeviceChoice) -> Result<OpenDevice, EngineError> {
    let _aside = Aside::begin();
    device::open(choice).await
}

/// Standard error, put aside until this is dropped: what is written meanwhile goes to a file.
#[cfg(unix)]
struct Aside {
    stderr: std::os::fd::OwnedFd,
    written: std::fs::File,
}

#[cfg(unix)]
impl Aside {
    /// None where the system does not let it: then the lines are seen.
    fn begin() -> Option<Self> {
        use std::os::fd::AsFd;
        let written = tempfile::tempfile().ok()?;
        let stderr = std::io::stderr().as_fd().try_clone_to_owned().ok()?;
        rustix::stdio::dup2_stderr(&written).ok()?;
        Some(Self { stderr, written })
    }
}

#[cfg(unix)]
impl Drop for Aside {
    fn drop(&mut self) {
        use std::io::Seek;
        // Where this fails there is nowhere left to say so.
        let _ = rustix::stdio::dup2_stderr(&self.stderr);
        // A panic's message is ours.
        if std::thread::panicking() && self.written.rewind().is_ok() {
            let _ = std::io::copy(&mut self.written, &mut std::io::stderr());
        }
    }
}

/// Elsewhere drivers write nothing.
#[cfg(not(unix))]
struct Aside;

#[cfg(not(unix))]
impl Aside {
    fn begin() -> Self {
        Self
    }
}
