//! parapet-plan
