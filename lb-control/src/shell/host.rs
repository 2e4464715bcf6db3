//! What the host must be like for packets to get through.

use network_interface::{NetworkInterface, NetworkInterfaceConfig as _};
use std::collections::BTreeSet;

/// Refuses the name of an interface that does not exist.
pub fn check_interface(name: &str) -> Result<(), String> {
    if nix::net::if_::if_nametoindex(name).is_ok() {
        return Ok(());
    }
    let interfaces = NetworkInterface::show().unwrap_or_default();
    let known: BTreeSet<String> = interfaces.into_iter().map(|each| each.name).collect();
    let known = Vec::from_iter(known).join(", ");
    Err(format!("there is no interface {name} here, but {known}"))
}

/// Settings of the kernel that keep packets from getting through, with what to do about them.
#[must_use]
pub fn warnings(interfaces: &[String]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut expect = |key: String, wanted: &str, why: &str| {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        if let Ok(value) = std::fs::read_to_string(path)
            && value.trim() != wanted
        {
            warnings.push(format!("{why}: `sysctl -w {key}={wanted}`"));
        }
    };
    expect(
        "net.ipv4.ip_forward".to_owned(),
        "1",
        "the kernel does not forward, so answers have no route back to clients",
    );
    for interface in interfaces {
        expect(
            format!("net.ipv4.conf.{interface}.accept_local"),
            "1",
            "answers to clients whose hardware address is not known yet get lost",
        );
    }
    warnings
}
