//! The servers behind the load balancer: static files and the gateway, the application, and its
//! way to the database.

pub mod app;
mod args;
pub mod db;
mod echo;
pub mod log;
pub mod metrics;
pub mod server;
pub mod tls;
pub mod web;
