//! parapet-agent
