//! The application: accounts, sessions and posts, as pages and as a JSON API.
//!
//! It serves the web tier alone, which shows a certificate of the private authority; what that
//! says of a client is believed. What people write goes to the primary of the [`crate::db`]; what
//! they read comes from a server that has what they wrote last.

mod acts;
mod api;
mod assets;
mod attempts;
mod call;
mod cookies;
mod form;
mod grant;
mod health;
mod input;
mod origin;
mod pages;
mod paging;
mod passwords;
mod ready;
mod refusal;
mod routes;
mod secret;
mod serve;
mod servers;
mod shut;
mod site;
mod store;
mod written;

#[cfg(test)]
mod tests;

pub use grant::{Args as GrantArgs, run as grant};
pub use serve::{Args, run};
