//! Finds the two browsers and the software GPU that the tests need.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::stage::{call, has};

/// The browsers and the driver that were found.
pub struct Browsers {
    /// Path of Chromium or Chrome.
    pub chromium: String,
    /// Path of Firefox.
    pub firefox: String,
    /// The Vulkan driver file of lavapipe, Mesa's software GPU.
    pub lavapipe: PathBuf,
}

const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const FIREFOX: [&str; 2] = ["firefox-esr", "firefox"];

/// Finds the browsers and the driver. As root on a Debian-family system, installs what is missing.
///
/// # Errors
/// When something is missing and cannot be installed.
pub fn find() -> anyhow::Result<Browsers> {
    if let Some(found) = look() {
        return Ok(found);
    }
    if Path::new("/etc/debian_version").exists() && is_root() {
        call("apt-get", ["update", "-qq"])?;
        let mut install = Command::new("apt-get");
        install.env("DEBIAN_FRONTEND", "noninteractive");
        install.args(["install", "-y", "-qq", "chromium", "firefox-esr", "mesa-vulkan-drivers"]);
        crate::stage::run(&mut install)?;
        if let Some(found) = look() {
            return Ok(found);
        }
    }
    let mut missing = Vec::new();
    if first(&CHROMIUM).is_none() {
        missing.push("Chromium or Chrome");
    }
    if first(&FIREFOX).is_none() {
        missing.push("Firefox");
    }
    if lavapipe().is_none() {
        missing.push("Mesa's lavapipe (package mesa-vulkan-drivers)");
    }
    bail!("missing for the tests: {}; install that and try again", missing.join(", "))
}

fn look() -> Option<Browsers> {
    Some(Browsers { chromium: first(&CHROMIUM)?, firefox: first(&FIREFOX)?, lavapipe: lavapipe()? })
}

fn first(names: &[&str]) -> Option<String> {
    names.iter().find(|name| has(name)).and_then(|name| {
        let found = Command::new("which").arg(name).output().ok()?;
        Some(String::from_utf8_lossy(&found.stdout).trim().to_owned())
    })
}

fn lavapipe() -> Option<PathBuf> {
    let folder = std::fs::read_dir("/usr/share/vulkan/icd.d").ok()?;
    folder.flatten().map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("lvp_icd"))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
