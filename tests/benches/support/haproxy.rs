//! HAProxy in TCP mode, in Headgate's place.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};
use kit::lab::Lab;
use kit::layout::Balancer;

use super::installed;

/// Starts it on a balancer with these proxies, and as many threads as there are processors, which is
/// the default. Its files and its log have this name.
pub(crate) fn start(lab: &Lab, balancer: Balancer, name: &str, proxies: &str) -> Result<Child> {
    let config = format!(
        "global\n    maxconn 4000\n\
         defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\
         {proxies}"
    );
    let path = lab.layout().run_dir().join(format!("{name}.cfg"));
    fs::write(&path, config).with_context(|| format!("failed to write {}", path.display()))?;
    let output = fs::File::options()
        .create(true)
        .append(true)
        .open(lab.layout().log(name))?;
    lab.balancer(balancer)
        .command(installed("haproxy")?)?
        // Without -D it stays in the foreground; -q leaves out the greeting.
        .args(["-q", "-f"])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .context("failed to start haproxy")
}
