//! Opens the device. Graphics drivers and their layers write lines of their own to standard error; while the device
//! opens, these lines are kept out of the command's output.

use rewardscope_engine::{DeviceChoice, EngineError, OpenDevice, device};

/// Opens the chosen device.
///
/// # Errors
/// When there is no such device.
pub async fn open(choice: DeviceChoice) -> Result<OpenDevice, EngineError> {
    let _aside = Aside::begin();
    device::open(choice).await
}

/// Redirects standard error to a temporary file until this is dropped.
#[cfg(unix)]
struct Aside {
    stderr: std::os::fd::OwnedFd,
    written: std::fs::File,
}

#[cfg(unix)]
impl Aside {
    /// Begins the redirection. `None` where the system refuses: the driver's lines are then shown.
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
        // If this fails, there is no place left to report it.
        let _ = rustix::stdio::dup2_stderr(&self.stderr);
        // A panic's message is not the driver's, so it is shown.
        if std::thread::panicking() && self.written.rewind().is_ok() {
            let _ = std::io::copy(&mut self.written, &mut std::io::stderr());
        }
    }
}

/// On other systems drivers write nothing to standard error.
#[cfg(not(unix))]
struct Aside;

#[cfg(not(unix))]
impl Aside {
    fn begin() -> Self {
        Self
    }
}
