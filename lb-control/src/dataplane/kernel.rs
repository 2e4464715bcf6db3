//! The tables in the kernel's maps.

use super::{Dataplane, Error, Lease, Pins, Renew as _, Tables, bpf};
use aya::Pod as AyaPod;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use bytemuck::{Pod, Zeroable};
use lb_ebpf::abi::{
    Addr, Backend, BackendId, Flow, FlowKey, IsVip, Reverse, ReverseKey, Service, ServiceId,
    ServiceKey, Slot, Traffic,
};
use memmap2::{MmapOptions, MmapRaw};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};

/// Plain old data, for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Raw<T>(T);

// SAFETY: bytemuck's `Pod` promises the same and more: any bytes are a valid value, no padding.
unsafe impl<T: Pod> AyaPod for Raw<T> {}

/// The maps of the loaded program.
pub struct Kernel {
    services: Hash<ServiceKey, Service>,
    /// The addresses in `services`.
    vips: Hash<Addr, IsVip>,
    reverse: Hash<ReverseKey, Reverse>,
    backends: Array<MapData, Raw<Backend>>,
    flows: Hash<FlowKey, Flow>,
    backend_traffic: PerCpuArray<MapData, Raw<Traffic>>,
    retired_traffic: Array<MapData, Raw<Traffic>>,
    reasons: PerCpuArray<MapData, u64>,
    tracking: PerCpuArray<MapData, u64>,
    slots: Slots,
    lease: Lease,
}

impl Kernel {
    /// Opens the maps that [`super::load`] pinned. For the owner of the tables only: what follows
    /// from what they hold is put right.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let mut kernel = Self {
            services: Hash::open(pins, "SERVICES")?,
            vips: Hash::open(pins, "VIPS")?,
            reverse: Hash::open(pins, "REVERSE")?,
            backends: open(pins, "BACKENDS")?,
            flows: Hash::open(pins, "FLOWS")?,
            backend_traffic: open(pins, "BACKEND_TRAFFIC")?,
            retired_traffic: open(pins, "RETIRED_TRAFFIC")?,
            reasons: open(pins, "REASONS")?,
            tracking: open(pins, "TRACKING")?,
            slots: Slots::open(pins)?,
            lease: Lease::open(pins)?,
        };
        kernel.mend_vips()?;
        Ok(kernel)
    }

    /// Makes `VIPS` what follows from `SERVICES`, where an earlier daemon was interrupted.
    fn mend_vips(&mut self) -> Result<(), Error> {
        let services = self.services.all()?;
        let wanted: BTreeSet<Addr> = services.iter().map(|(key, _)| key.vip).collect();
        for (vip, _) in self.vips.all()? {
            if !wanted.contains(&vip) {
                self.vips.set(&vip, None)?;
            }
        }
        wanted
            .iter()
            .try_for_each(|vip| self.vips.set(vip, Some(&1)))
    }
}

/// Opens a pinned map as the type it is.
pub(super) fn open<T>(pins: &Pins, name: &str) -> Result<T, Error>
where
    T: TryFrom<Map, Error = MapError>,
{
    MapData::from_pin(pins.map(name))
        .and_then(Map::from_map_data)
        .and_then(T::try_from)
        .map_err(|error| Error::new(format!("open the map {name}"), error))
}

/// `SLOTS`, mapped into our memory: reading and writing a slot is a load and a store.
struct Slots {
    memory: MmapRaw,
    count: u32,
}

impl Slots {
    fn open(pins: &Pins) -> Result<Self, Error> {
        let fail = |error: &dyn std::error::Error| Error::new("map SLOTS", error.to_string());
        let map = MapData::from_pin(pins.map("SLOTS")).map_err(|error| fail(&error))?;
        let pairs = map.info().map_err(|error| fail(&error))?.max_entries();
        let length = pairs as usize * size_of::<[Slot; 2]>();
        let fd = map.fd().as_fd();
        let memory = MmapOptions::new()
            .len(length)
            .map_raw(&fd)
            .map_err(|error| fail(&error))?;
        Ok(Self {
            memory,
            count: pairs * 2,
        })
    }

    fn cell(&self, index: u32) -> Option<&AtomicU32> {
        if index >= self.count {
            return None;
        }
        // SAFETY: the index is inside of the mapping, which is aligned to pages and lives as long
        // as `self`. The kernel and we access it by whole words only.
        Some(unsafe {
            AtomicU32::from_ptr(self.memory.as_mut_ptr().cast::<u32>().add(index as usize))
        })
    }

    fn get(&self, index: u32) -> Slot {
        self.cell(index).map_or(Slot::EMPTY, |cell| {
            bytemuck::cast(cell.load(Ordering::Relaxed))
        })
    }

    fn set(&self, index: u32, slot: Slot) -> Result<(), Error> {
        let cell = self.cell(index).ok_or_else(|| {
            Error::new(
                format!("write slot {index}"),
                format!("there are {}", self.count),
            )
        })?;
        cell.store(bytemuck::cast(slot), Ordering::Relaxed);
        Ok(())
    }
}

/// A hash map. aya gives access to single entries; the second handle is for many at once.
struct Hash<K, V> {
    name: &'static str,
    entries: HashMap<MapData, Raw<K>, Raw<V>>,
    data: MapData,
}

impl<K: Pod, V: Pod> Hash<K, V> {
    fn open(pins: &Pins, name: &'static str) -> Result<Self, Error> {
        let data = MapData::from_pin(pins.map(name))
            .map_err(|error| Error::new(format!("open the map {name}"), error))?;
        Ok(Self {
            name,
            entries: open(pins, name)?,
            data,
        })
    }

    fn all(&self) -> Result<Vec<(K, V)>, Error> {
        bpf::entries(self.data.fd().as_fd())
            .map_err(|error| Error::new(format!("read the map {}", self.name), error))
    }

    /// Sets entries. Returns for how many there was no room.
    fn set_all(&mut self, entries: &[(K, V)]) -> Result<usize, Error> {
        bpf::insert(self.data.fd().as_fd(), entries)
            .map_err(|error| Error::new(format!("write the map {}", self.name), error))
    }

    /// Removes entries, where they are there.
    fn remove_all(&mut self, keys: &[K]) -> Result<(), Error> {
        bpf::remove(self.data.fd().as_fd(), keys)
            .map_err(|error| Error::new(format!("write the map {}", self.name), error))
    }

    /// Sets an entry, or removes it if it is there.
    fn set(&mut self, key: &K, value: Option<&V>) -> Result<(), Error> {
        let result = match value {
            Some(value) => self.entries.insert(Raw(*key), Raw(*value), 0),
            None => match self.entries.remove(&Raw(*key)) {
                Err(MapError::SyscallError(error))
                    if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
                {
                    Ok(())
                }
                other => other,
            },
        };
        result.map_err(|error| Error::new(format!("write the map {}", self.name), error))
    }
}

fn sum(values: &PerCpuValues<u64>) -> u64 {
    values.iter().fold(0, |sum, value| sum.wrapping_add(*value))
}

fn sums(map: &PerCpuArray<MapData, u64>, name: &str) -> Result<Vec<u64>, Error> {
    map.iter()
        .map(|values| Ok(sum(&values?)))
        .collect::<Result<_, MapError>>()
        .map_err(|error| Error::new(format!("read the map {name}"), error))
}

impl Dataplane for Kernel {
    fn read(&self) -> Result<Tables, Error> {
        let services: BTreeMap<_, _> = self.services.all()?.into_iter().collect();
        let slots = services
            .values()
            .map(|service| {
                let range = service.first_slot..service.first_slot + service.slot_count;
                (
                    service.id,
                    range.map(|index| self.slots.get(index)).collect(),
                )
            })
            .collect();
        let mut backends = BTreeMap::new();
        for (id, backend) in self.backends.iter().enumerate() {
            let Raw(backend) =
                backend.map_err(|error| Error::new("read the map BACKENDS", error))?;
            if backend != Backend::zeroed() {
                backends.insert(id as BackendId, backend);
            }
        }
        let reverse = self.reverse.all()?.into_iter().collect();
        Ok(Tables {
            services,
            backends,
            reverse,
            slots,
        })
    }

    fn set_service(&mut self, key: &ServiceKey, service: Option<&Service>) -> Result<(), Error> {
        if service.is_some() {
            self.vips.set(&key.vip, Some(&1))?;
        }
        self.services.set(key, service)?;
        let services = self.services.all()?;
        if services.iter().all(|(other, _)| other.vip != key.vip) {
            self.vips.set(&key.vip, None)?;
        }
        Ok(())
    }

    fn set_backend(&mut self, id: BackendId, backend: Option<&Backend>) -> Result<(), Error> {
        let backend = backend.copied().unwrap_or_default();
        self.backends
            .set(u32::from(id), Raw(backend), 0)
            .map_err(|error| Error::new("write the map BACKENDS", error))
    }

    fn set_reverse(&mut self, key: &ReverseKey, reverse: Option<&Reverse>) -> Result<(), Error> {
        self.reverse.set(key, reverse)
    }

    fn set_slot(&mut self, index: u32, slot: Slot) -> Result<(), Error> {
        self.slots.set(index, slot)
    }

    fn renew_lease(&mut self, until: u64) -> Result<(), Error> {
        self.lease.renew(until);
        Ok(())
    }

    fn flows(&self) -> Result<Vec<(FlowKey, Flow)>, Error> {
        self.flows.all()
    }

    fn set_flows(&mut self, flows: &[(FlowKey, Flow)]) -> Result<(), Error> {
        match self.flows.set_all(flows)? {
            0 => Ok(()),
            refused => Err(Error::no_room(refused, flows.len())),
        }
    }

    fn remove_flows(&mut self, keys: &[FlowKey]) -> Result<(), Error> {
        self.flows.remove_all(keys)
    }

    fn traffic(&self, backend: BackendId) -> Result<Traffic, Error> {
        let values = self
            .backend_traffic
            .get(&u32::from(backend), 0)
            .map_err(|error| Error::new("read the map BACKEND_TRAFFIC", error))?;
        let mut sum = Traffic::default();
        for Raw(value) in values.iter() {
            sum += *value;
        }
        Ok(sum)
    }

    fn retired(&self, service: ServiceId) -> Result<Traffic, Error> {
        self.retired_traffic
            .get(&u32::from(service), 0)
            .map(|Raw(traffic)| traffic)
            .map_err(|error| Error::new("read the map RETIRED_TRAFFIC", error))
    }

    fn retire(&mut self, backend: BackendId, service: Option<ServiceId>) -> Result<(), Error> {
        if let Some(service) = service {
            let mut total = self.retired(service)?;
            total += self.traffic(backend)?;
            self.retired_traffic
                .set(u32::from(service), Raw(total), 0)
                .map_err(|error| Error::new("write the map RETIRED_TRAFFIC", error))?;
        }
        let fail = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new("write the map BACKEND_TRAFFIC", error)
        };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| fail(error.into()))?;
        let zeros = PerCpuValues::try_from(vec![Raw(Traffic::default()); cpus])
            .map_err(|error| fail(error.into()))?;
        self.backend_traffic
            .set(u32::from(backend), zeros, 0)
            .map_err(|error| fail(error.into()))
    }

    fn forget_retired(&mut self, service: ServiceId) -> Result<(), Error> {
        self.retired_traffic
            .set(u32::from(service), Raw(Traffic::default()), 0)
            .map_err(|error| Error::new("write the map RETIRED_TRAFFIC", error))
    }

    fn reasons(&self) -> Result<Vec<u64>, Error> {
        sums(&self.reasons, "REASONS")
    }

    fn tracking(&self) -> Result<Vec<u64>, Error> {
        sums(&self.tracking, "TRACKING")
    }
}
