//! parapet-virtual-camera
