//! When a backend is up or down.
