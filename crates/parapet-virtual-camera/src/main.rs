//! parapet-virtual-camera
fn main() {}
