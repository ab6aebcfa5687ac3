//! Debian packages: as root, by sudo, or not at all.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// Whether a package is installed.
pub(crate) fn is_installed(package: &str) -> bool {
    let mut command = Command::new("dpkg-query");
    command
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(std::process::Stdio::null());
    command.output().is_ok_and(|output| output.stdout == b"installed")
}

/// Installs packages, and says so first.
///
/// # Errors
/// Without root and without sudo, or where there is no apt: the message has the command to run.
pub(super) fn install(what: &str, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if process::find("apt-get").is_none() {
        bail!("{what} is missing; this machine has no apt-get, so install what Debian calls: {list}");
    }
    let root = process::capture(Command::new("id").arg("-u"))?.trim() == "0";
    if !root && !process::succeeds(Command::new("sudo").args(["--non-interactive", "true"])) {
        bail!(
            "{what} is missing, and installing it needs root. Run this, then try again:\n  \
             sudo apt-get update && sudo apt-get install --no-install-recommends {list}"
        );
    }
    super::announce(&format!("Debian packages for {what}: {list}"));
    for arguments in [
        &["update", "-qq"][..],
        &[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat(),
    ] {
        let mut command = if root {
            Command::new("env")
        } else {
            Command::new("sudo")
        };
        // Another package manager may be at work: it is waited for.
        command.args([
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "-o",
            "DPkg::Lock::Timeout=300",
        ]);
        process::run(command.args(arguments))?;
    }
    Ok(())
}
