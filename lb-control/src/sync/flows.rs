//! Recorded flows, as they are sent. Clocks of two hosts differ: what is sent is for how long a flow
//! was silent.

use bytes::{Buf, BufMut};
use lb_ebpf::abi::{Addr, Flow, FlowKey};

/// Bytes of a flow.
const FLOW: usize = 28;
/// Bytes of a key.
const KEY: usize = 20;

/// How many flows are sent at a time.
pub const AT_ONCE: usize = 32_768;

/// A frame does not hold whole flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was sent of the flows is cut off")]
pub struct Cut;

/// Writes flows, as they are at `now_ms` of the program's clock.
pub fn encode(flows: &[(FlowKey, Flow)], now_ms: u32, to: &mut impl BufMut) {
    for (key, flow) in flows {
        encode_key(key, to);
        to.put_u32(flow.idle_ms(now_ms));
        to.put_u16(flow.backend);
        to.put_u16(flow.phase);
    }
}

/// Reads flows, at `now_ms` of this host's program.
pub fn decode(from: &[u8], now_ms: u32) -> Result<Vec<(FlowKey, Flow)>, Cut> {
    let (chunks, []) = from.as_chunks::<FLOW>() else {
        return Err(Cut);
    };
    let flow = |chunk: &[u8; FLOW]| {
        let mut chunk = &chunk[..];
        let key = decode_key(&mut chunk)?;
        let idle_ms = chunk.try_get_u32().map_err(|_| Cut)?;
        let flow = Flow {
            last_seen_ms: now_ms,
            backend: chunk.try_get_u16().map_err(|_| Cut)?,
            phase: chunk.try_get_u16().map_err(|_| Cut)?,
        };
        Ok((key, flow.with_idle_ms(idle_ms, now_ms)))
    };
    chunks.iter().map(flow).collect()
}

/// Writes the keys of flows that are no more.
pub fn encode_keys(keys: &[FlowKey], to: &mut impl BufMut) {
    keys.iter().for_each(|key| encode_key(key, to));
}

/// Reads keys.
pub fn decode_keys(from: &[u8]) -> Result<Vec<FlowKey>, Cut> {
    let (chunks, []) = from.as_chunks::<KEY>() else {
        return Err(Cut);
    };
    let keys = chunks.iter().map(|chunk| decode_key(&mut &chunk[..]));
    keys.collect()
}

fn encode_key(key: &FlowKey, to: &mut impl BufMut) {
    to.put_slice(&key.client.octets());
    to.put_slice(&key.client_port);
    to.put_u16(key.service);
}

fn decode_key(from: &mut &[u8]) -> Result<FlowKey, Cut> {
    let (mut client, mut port) = ([0; 16], [0; 2]);
    from.try_copy_to_slice(&mut client).map_err(|_| Cut)?;
    from.try_copy_to_slice(&mut port).map_err(|_| Cut)?;
    let service = from.try_get_u16().map_err(|_| Cut)?;
    Ok(FlowKey::new(Addr::v6(client), port, service))
}
