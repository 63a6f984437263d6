//! parapet-ingest
fn main() {}
