//! parapet-server
