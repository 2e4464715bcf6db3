//! The whole application over real databases, asked as the web tier asks it.

mod api;
mod kit;
mod people;
mod posts;
mod sessions;
mod trouble;
