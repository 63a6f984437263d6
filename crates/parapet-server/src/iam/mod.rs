//! The service `iam`: for now the names of its resources.

pub mod arn;
pub(crate) mod managed;
