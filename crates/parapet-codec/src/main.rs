//! parapet-codec
fn main() {}
