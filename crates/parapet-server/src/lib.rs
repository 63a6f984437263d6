//! parapet-server

pub mod store;
