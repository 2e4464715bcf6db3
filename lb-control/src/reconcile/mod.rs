//! From what the tables hold to what they should hold: a pure difference, in an order in which
//! every step leaves the tables fit for packets.

use crate::dataplane::{Dataplane, Error, Tables};
use lb_ebpf::abi::{Backend, BackendId, Reverse, ReverseKey, Service, ServiceKey, Slot};

#[cfg(test)]
mod tests;

/// One write to the tables.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A backend, before any slot names it.
    SetBackend(BackendId, Backend),
    /// The way back, before there is a way there.
    SetReverse(ReverseKey, Reverse),
    /// One slot, counted over all services.
    SetSlot(u32, Slot),
    /// A service, once its slots are filled.
    SetService(ServiceKey, Service),
    /// A service, before its slots go.
    RemoveService(ServiceKey),
    /// The way back of a backend that is gone.
    RemoveReverse(ReverseKey),
    /// A backend, once nothing names it.
    RemoveBackend(BackendId),
}

/// The steps from `now` to `desired`.
#[must_use]
pub fn plan(now: &Tables, desired: &Tables) -> Vec<Step> {
    let mut steps = Vec::new();
    for key in now
        .services
        .keys()
        .filter(|key| !desired.services.contains_key(key))
    {
        steps.push(Step::RemoveService(*key));
    }
    for (id, backend) in &desired.backends {
        if now.backends.get(id) != Some(backend) {
            steps.push(Step::SetBackend(*id, *backend));
        }
    }
    for (key, reverse) in &desired.reverse {
        if now.reverse.get(key) != Some(reverse) {
            steps.push(Step::SetReverse(*key, *reverse));
        }
    }
    for (key, service) in &desired.services {
        let before = now.services.get(key).filter(|before| *before == service);
        plan_slots(&mut steps, before, service, now, desired);
        if before.is_none() {
            steps.push(Step::SetService(*key, *service));
        }
    }
    for key in now
        .reverse
        .keys()
        .filter(|key| !desired.reverse.contains_key(key))
    {
        steps.push(Step::RemoveReverse(*key));
    }
    for id in now
        .backends
        .keys()
        .filter(|id| !desired.backends.contains_key(id))
    {
        steps.push(Step::RemoveBackend(*id));
    }
    steps
}

/// The slots that change; all of them where there was no such service before, because the range
/// may have been another's.
fn plan_slots(
    steps: &mut Vec<Step>,
    before: Option<&Service>,
    service: &Service,
    now: &Tables,
    desired: &Tables,
) {
    let Some(wanted) = desired.slots.get(&service.id) else {
        return;
    };
    let old = before.and_then(|_| now.slots.get(&service.id));
    for (index, slot) in (0u32..).zip(wanted) {
        if old.and_then(|old| old.get(index as usize)) != Some(slot) {
            steps.push(Step::SetSlot(service.first_slot + index, *slot));
        }
    }
}

/// Takes the steps. After an error the tables are between two fit states; plan again from what
/// they hold.
pub fn apply(dataplane: &mut impl Dataplane, steps: &[Step]) -> Result<(), Error> {
    for step in steps {
        match step {
            Step::SetBackend(id, backend) => dataplane.set_backend(*id, Some(backend))?,
            Step::SetReverse(key, reverse) => dataplane.set_reverse(key, Some(reverse))?,
            Step::SetSlot(index, slot) => dataplane.set_slot(*index, *slot)?,
            Step::SetService(key, service) => dataplane.set_service(key, Some(service))?,
            Step::RemoveService(key) => dataplane.set_service(key, None)?,
            Step::RemoveReverse(key) => dataplane.set_reverse(key, None)?,
            Step::RemoveBackend(id) => dataplane.set_backend(*id, None)?,
        }
    }
    Ok(())
}
