//! parapet-launcher
fn main() {}
