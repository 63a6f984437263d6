//! parapet-manifest
