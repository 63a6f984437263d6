//! parapet-infer
fn main() {}
