//! Clients: connections that open, speak, pause, and close.

use kit::random::Random;
use lb_ebpf::abi::{Addr, FlowKey};

/// The longest life of a connection.
const LONGEST_LIFE_S: f64 = 1_200.0;

/// Mean pauses between packets: some connections are busy, some are nearly idle.
const PAUSES_S: [f64; 4] = [0.2, 1.0, 5.0, 30.0];

/// A share of new connections, one in so many, that uses the port of an old one again.
const REUSES_ONE_IN: usize = 10;

/// A connection, as its client knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub(crate) flow: FlowKey,
    /// When its client closes it.
    pub(crate) end_ms: u64,
    pause_s: f64,
}

/// Makes connections.
pub(crate) struct Clients {
    random: Random,
    /// Of new connections.
    per_second: f64,
    /// No pause is longer: the idle time-out is there to be kept.
    longest_pause_s: f64,
    count: u32,
    /// Flows that were closed, to be used again.
    closed: Vec<FlowKey>,
}

impl Clients {
    pub(crate) fn new(seed: u64, per_second: f64, longest_pause_s: f64) -> Self {
        Self {
            random: Random::seeded(seed),
            per_second,
            longest_pause_s,
            count: 0,
            closed: Vec::new(),
        }
    }

    /// The time until the next one comes.
    pub(crate) fn next_in_ms(&mut self) -> u64 {
        let mean = 1.0 / self.per_second;
        self.exponential_ms(mean)
    }

    pub(crate) fn connect(&mut self, now_ms: u64) -> Connection {
        let flow = if self.random.below(REUSES_ONE_IN) == 0 && !self.closed.is_empty() {
            let which = self.random.below(self.closed.len());
            self.closed.swap_remove(which)
        } else {
            self.count += 1;
            let client = Addr::v4((0x0b00_0000 + self.count / 50_000).to_be_bytes());
            let port = 1_024 + (self.count % 50_000) as u16;
            FlowKey::new(client, port.to_be_bytes(), 1)
        };
        // Log-normal: a median of 20 s, a mean of 62 s.
        let life_s = (3.0 + 1.5 * self.normal()).exp().min(LONGEST_LIFE_S);
        Connection {
            flow,
            end_ms: now_ms + ms(life_s),
            pause_s: PAUSES_S[self.random.below(PAUSES_S.len())],
        }
    }

    /// The time until the connection's next packet.
    pub(crate) fn pause_ms(&mut self, connection: &Connection) -> u64 {
        self.exponential_ms(connection.pause_s)
            .min(ms(self.longest_pause_s))
    }

    pub(crate) fn closed(&mut self, connection: &Connection) {
        self.closed.push(connection.flow);
    }

    fn exponential_ms(&mut self, mean_s: f64) -> u64 {
        ms(-mean_s * (1.0 - self.random.fraction()).ln())
    }

    /// Box and Muller's way to a normal distribution.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.random.fraction()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.random.fraction()).cos()
    }
}

fn ms(seconds: f64) -> u64 {
    (seconds * 1_000.0) as u64
}
