//! Reads `[[ha.group]]`.

use super::ha::{addresses, priority, vrid};
use super::{Fault, judge, judge_or, raw, values};
use crate::config::model::{Group, Ha, Name, Service};
use std::collections::{BTreeMap, BTreeSet};

/// Reads the groups beside the main one, but for their services, which are not read yet.
pub(super) fn read(
    raw: &[raw::Group],
    main: &Ha,
    interfaces: &[String],
) -> Result<Vec<Group>, Fault> {
    let mut groups: Vec<Group> = Vec::new();
    for raw in raw {
        let name: Name = judge(&raw.name, |text| {
            let name: Name = text.parse().map_err(|error| format!("{error}"))?;
            if groups.iter().any(|group| group.name == name) {
                return Err(format!("there is a group {name} already"));
            }
            Ok(name)
        })?;
        let vrid = judge(&raw.vrid, |number| {
            let vrid = vrid(*number)?;
            let mut taken = groups.iter().map(|group| group.vrid);
            if vrid == main.vrid || taken.any(|taken| taken == vrid) {
                return Err(format!(
                    "vrid {vrid} is taken: each group has its own, the same on both hosts"
                ));
            }
            Ok(vrid)
        })?;
        let mut taken = main.addresses.clone();
        taken.extend(groups.iter().flat_map(|group| group.addresses.clone()));
        groups.push(Group {
            name,
            vrid,
            priority: judge_or(raw.priority.as_ref(), main.priority, |it| priority(*it))?,
            addresses: addresses(&raw.addresses, &main.interface, interfaces, taken)?,
            services: BTreeSet::new(),
        });
    }
    Ok(groups)
}

/// Reads which services each group has.
pub(super) fn read_services(
    raw: &[raw::Group],
    groups: &mut [Group],
    services: &BTreeMap<Name, Service>,
) -> Result<(), Fault> {
    // Whose the virtual addresses are.
    let mut owners = BTreeMap::new();
    for (raw, group) in raw.iter().zip(groups) {
        for raw in &raw.services {
            let (name, service) = judge(raw, |text| known(text, services))?;
            judge(raw, |_| {
                let vip = service.vip.ip();
                let owner = owners.entry(vip).or_insert_with(|| group.name.clone());
                if *owner != group.name {
                    return Err(format!("{vip} of service {name} belongs to group {owner}"));
                }
                if !group.services.insert(name.clone()) {
                    return Err(format!("service {name} is named twice: once is enough"));
                }
                Ok(())
            })?;
        }
        judge(&raw.name, |name| {
            if group.services.is_empty() && group.addresses.is_empty() {
                return Err(format!(
                    "group {name} has nothing to share: name services, or addresses"
                ));
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A service of the file.
pub(super) fn known<'a>(
    text: &str,
    services: &'a BTreeMap<Name, Service>,
) -> Result<(&'a Name, &'a Service), String> {
    let mut named = services.iter().filter(|(name, _)| name.as_str() == text);
    named.next().ok_or_else(|| {
        let suggestion = values::did_you_mean(text, services.keys().map(Name::as_str));
        format!("there is no service {text:?} in this file{suggestion}")
    })
}
