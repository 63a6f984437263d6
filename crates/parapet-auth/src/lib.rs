//! parapet-auth
