//! parapet
fn main() {}
