//! parapet-testkit
