//! The kit that tests and demos stand on: a laboratory of network namespaces with a client, a
//! load balancer and web servers, and whatever else a site is made of, and what is needed to use it.
//!
//! It drives `lbd`, `lbctl` and `webapp` as programs and shares no code with them, so what it
//! sees is what an operator would see. The machine's own interfaces are never touched.

pub mod crowd;
pub mod figures;
pub mod held;
pub mod http;
pub mod interrupt;
pub mod lab;
pub mod layout;
pub mod lbd_config;
pub mod mariadb;
pub mod netns;
mod offload;
pub mod outage;
pub mod pki;
pub mod probe;
mod process;
pub mod random;
pub mod raw;
pub mod site;
pub mod tls;
mod topology;
pub mod visitor;
pub mod wait;
