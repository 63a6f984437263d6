//! Keys at rest against a TPM in software and a file system of their own.

mod directory;
mod keys;
mod swtpm;
