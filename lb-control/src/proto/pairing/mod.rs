//! How two hosts that know nothing of each other come to trust each other's certificates.
//!
//! One of them invites: an [`Invitation`] is open for some minutes, and a [`Token`] says how to
//! reach it, by which certificate it is known, and with which secret to ask. The operator carries
//! the token to the other host, over a way that is trusted already. That host connects, by TLS with
//! that certificate as the only one trusted, and sends a [`Request`]; the first has an [`Answer`].

mod invitation;
mod message;
mod secret;
#[cfg(test)]
mod tests;
mod token;

pub use invitation::{Invitation, LIFETIME, Refusal};
pub use message::{Answer, MessageError, Request};
pub use secret::{OneTimeSecret, PairSecret};
pub use token::{Token, TokenError};
