//! parapet-codec
