//! Debian's package tools.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{self, Command};

use anyhow::{Context, Result, bail, ensure};

/// Asked by Debian's packages before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Tells our policy file from one of the machine's owner.
const POLICY_MARK: &str = "# written by Headgate's cargo xtask setup";

const INSTALL_FAILED: &str = "apt-get install failed: if it could not fetch, check the network and \
    the package sources in /etc/apt; if dpkg complained, run `dpkg --configure -a` first";

pub(super) fn require_debian() -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    ensure!(
        is_debian(&release),
        "this is not Debian or a relative of it (see ID and ID_LIKE in /etc/os-release)"
    );
    Ok(())
}

pub(super) fn require_root() -> Result<()> {
    let user = fs::metadata("/proc/self")
        .context("failed to read /proc/self")?
        .uid();
    ensure!(
        user == 0,
        "installing packages needs root: run `sudo -E env PATH=\"$PATH\" cargo xtask setup`"
    );
    Ok(())
}

/// Whether apt knows any package at all; a fresh container image doesn't.
pub(super) fn has_lists() -> bool {
    fs::read_dir("/var/lib/apt/lists")
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

/// Refreshes the package lists. One source out of reach is no reason to stop while others serve.
pub(super) fn update() -> Result<()> {
    let status = apt_get()
        .args(["update", "-q", "-o", "APT::Update::Error-Mode=any"])
        .status()
        .context("failed to start apt-get")?;
    if status.success() {
        return Ok(());
    }
    if !has_lists() {
        bail!(
            "the package lists could not be fetched: check the network and the package sources \
             in /etc/apt"
        );
    }
    println!(
        "setup: not all package lists could be fetched (offline?); going on with what is known"
    );
    Ok(())
}

pub(super) fn has_candidate(package: &str) -> bool {
    let output = Command::new("apt-cache")
        .args(["policy", package])
        .env("LC_ALL", "C")
        .output();
    output.is_ok_and(|output| names_candidate(&String::from_utf8_lossy(&output.stdout)))
}

/// Those of the packages that are not installed.
pub(super) fn missing(packages: Vec<String>) -> Vec<String> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status} ${Package}\n"])
        .args(&packages)
        .output();
    let listed = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let listed = listed.unwrap_or_default();
    let installed: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .collect();
    packages
        .into_iter()
        .filter(|package| !installed.contains(&package.as_str()))
        .collect()
}

/// Packages that bring services, which are not wanted.
const SERVICES: [(&str, &str); 4] = [
    ("haproxy", "haproxy.service"),
    ("keepalived", "keepalived.service"),
    ("mariadb-server", "mariadb.service"),
    ("nginx", "nginx.service"),
];

/// Installs packages and keeps their services from starting.
pub(super) fn install(packages: &[String]) -> Result<()> {
    let policy = HeldServices::hold()?;
    let status = apt_get()
        .args([
            "install",
            "-q",
            "-y",
            "--no-install-recommends",
            "-o",
            "Dpkg::Use-Pty=0",
        ])
        .args(packages)
        .status()
        .context("failed to start apt-get")?;
    drop(policy);
    ensure!(status.success(), INSTALL_FAILED);
    if Path::new("/run/systemd/system").exists() {
        let services = SERVICES.iter();
        let installed = |package: &str| packages.iter().any(|each| each == package);
        for (package, service) in services.filter(|(package, _)| installed(package)) {
            // The lab starts its own; this one would start at the next boot.
            let status = Command::new("systemctl")
                .args(["disable", service])
                .status();
            ensure!(
                status.is_ok_and(|status| status.success()),
                "{package} was installed, but its service could not be disabled: run \
                 `systemctl disable {service}`"
            );
        }
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// While it lives, packages don't start services. An interrupted setup leaves the file behind, so
/// the file itself asks whether the setup still runs.
struct HeldServices {
    ours: bool,
}

impl HeldServices {
    fn hold() -> Result<HeldServices> {
        let path = Path::new(POLICY);
        let present = fs::read_to_string(path).ok();
        if path.exists() && !present.is_some_and(|text| text.contains(POLICY_MARK)) {
            println!("setup: leaving {POLICY} as it is; it decides whether services start");
            return Ok(HeldServices { ours: false });
        }
        let script = format!(
            "#!/bin/sh\n{POLICY_MARK}\nkill -0 {} 2>/dev/null && exit 101\nexit 0\n",
            process::id()
        );
        fs::write(path, script)
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("failed to write {POLICY}, which keeps services stopped"))?;
        Ok(HeldServices { ours: true })
    }
}

impl Drop for HeldServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("setup: failed to remove {POLICY}: {error}; remove it by hand");
        }
    }
}

fn is_debian(os_release: &str) -> bool {
    os_release.lines().any(|line| {
        let value = line
            .strip_prefix("ID=")
            .or_else(|| line.strip_prefix("ID_LIKE="));
        let mut words = value
            .unwrap_or_default()
            .trim_matches(['"', '\''])
            .split_whitespace();
        words.any(|word| word == "debian")
    })
}

fn names_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .any(|candidate| candidate != "(none)")
}

#[cfg(test)]
mod tests {
    use super::{is_debian, names_candidate};

    #[test]
    fn debian_and_its_relatives_are_recognised() {
        assert!(is_debian("NAME=\"Debian\"\nID=debian\n"));
        assert!(is_debian("ID=pop\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian(
            "ID=fedora\nHOME_URL=\"https://example.org/debian\"\n"
        ));
    }

    #[test]
    fn a_package_without_candidate_can_not_be_installed() {
        assert!(names_candidate(
            "x:\n  Installed: (none)\n  Candidate: 1.0\n"
        ));
        assert!(!names_candidate(
            "x:\n  Installed: (none)\n  Candidate: (none)\n"
        ));
        assert!(!names_candidate(""));
    }
}
