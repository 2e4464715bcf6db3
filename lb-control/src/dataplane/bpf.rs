//! The few bpf(2) commands that aya does not wrap.

use super::Error;
use bytemuck::{Pod, Zeroable};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_MAP_DELETE_BATCH: libc::c_long = 27;

/// Elements handed over at once.
const BATCH: usize = 16_384;

/// The part of `union bpf_attr` that the batch commands use.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The part of `union bpf_attr` that a test run uses.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// `struct xdp_md`, as far as a test run may set it.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct XdpMd {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// The part of `union bpf_attr` that opening a pin uses.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ObjectAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The part of `union bpf_attr` that asking about an object uses.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_link_info`, of a link to an XDP program.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program_id: u32,
    pad: u32,
    ifindex: u32,
    rest: [u32; 3],
}

/// What a program did with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What it returned: an XDP action.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// How long it took, in nanoseconds, as the kernel measured it.
    pub duration_ns: u32,
}

/// The index of the interface that a pinned link leads to; 0 if it leads nowhere any more.
pub(super) fn link_ifindex(pin: &Path) -> io::Result<u32> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr {
        pathname: path.as_ptr() as u64,
        ..ObjectAttr::zeroed()
    };
    let fd = bpf(BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = LinkInfo::default();
    let mut attr = InfoAttr {
        bpf_fd: link.as_raw_fd().cast_unsigned(),
        info_len: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info.ifindex)
}

fn bpf<T: Pod>(command: libc::c_long, attr: &mut T) -> io::Result<RawFd> {
    // SAFETY: `attr` is as long as said, and its pointers are to live buffers of its makers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        // A descriptor, where the command makes one: those fit.
        Ok(result as RawFd)
    }
}

/// Runs a loaded XDP program once on `frame`, as if it had come in by `ingress` (0: by loopback).
pub fn test_run(program: BorrowedFd<'_>, frame: &[u8], ingress: u32) -> Result<TestRun, Error> {
    let mut out = vec![0u8; frame.len() + 512];
    let context = XdpMd {
        data_end: u32::try_from(frame.len()).unwrap_or(u32::MAX),
        ingress_ifindex: ingress,
        ..XdpMd::default()
    };
    let mut attr = TestRunAttr {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        data_size_in: context.data_end,
        data_size_out: u32::try_from(out.len()).unwrap_or(u32::MAX),
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        ..TestRunAttr::zeroed()
    };
    if ingress != 0 {
        attr.ctx_in = (&raw const context) as u64;
        attr.ctx_size_in = size_of::<XdpMd>() as u32;
    }
    bpf(BPF_PROG_TEST_RUN, &mut attr).map_err(|error| Error::new("test-run the program", error))?;
    out.truncate(attr.data_size_out as usize);
    Ok(TestRun {
        action: attr.retval,
        frame: out,
        duration_ns: attr.duration,
    })
}

/// All entries of a hash map.
pub(super) fn entries<K: Pod, V: Pod>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let mut keys = vec![K::zeroed(); BATCH];
    let mut values = vec![V::zeroed(); BATCH];
    let mut all = Vec::new();
    // A hash map's position is a bucket number.
    let mut position = 0u32;
    let mut first = true;
    loop {
        let mut next = 0u32;
        let mut attr = BatchAttr {
            in_batch: if first {
                0
            } else {
                (&raw const position) as u64
            },
            out_batch: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH as u32,
            map_fd: map.as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        let result = bpf(BPF_MAP_LOOKUP_BATCH, &mut attr);
        let end = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        let count = attr.count as usize;
        all.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if end {
            return Ok(all);
        }
        position = next;
        first = false;
    }
}

/// Enters entries into a hash map, or replaces them. Returns for how many there was no room.
pub(super) fn insert<K: Pod, V: Pod>(map: BorrowedFd<'_>, entries: &[(K, V)]) -> io::Result<usize> {
    let mut refused = 0;
    for entries in entries.chunks(BATCH) {
        let (keys, values): (Vec<K>, Vec<V>) = entries.iter().copied().unzip();
        refused += write(BPF_MAP_UPDATE_BATCH, map, (&keys, &values), libc::E2BIG)?;
    }
    Ok(refused)
}

/// Removes entries from a hash map, where they are there.
pub(super) fn remove<K: Pod>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    for keys in keys.chunks(BATCH) {
        write::<K, u8>(BPF_MAP_DELETE_BATCH, map, (keys, &[]), libc::ENOENT)?;
    }
    Ok(())
}

/// Runs a command for all keys. It stops at the first that it fails for: where it did so with the
/// error `expected`, it is run for those after that. Returns how often that was.
fn write<K: Pod, V: Pod>(
    command: libc::c_long,
    map: BorrowedFd<'_>,
    (mut keys, mut values): (&[K], &[V]),
    expected: i32,
) -> io::Result<usize> {
    let mut failed = 0;
    while !keys.is_empty() {
        let mut attr = BatchAttr {
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: keys.len() as u32,
            map_fd: map.as_raw_fd().cast_unsigned(),
            ..BatchAttr::zeroed()
        };
        match bpf(command, &mut attr) {
            Ok(_) => break,
            Err(error) if error.raw_os_error() == Some(expected) => failed += 1,
            Err(error) => return Err(error),
        }
        let rest = attr.count as usize + 1;
        keys = keys.get(rest..).unwrap_or_default();
        values = values.get(rest..).unwrap_or_default();
    }
    Ok(failed)
}
