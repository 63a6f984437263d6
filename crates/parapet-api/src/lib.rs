//! parapet-api
