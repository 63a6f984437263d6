//! The kernel's door: processes in namespaces, and the sockets that reach into them.
//!
//! Owns [`channel`] (packets with descriptors between the agent and what it starts), [`launch`]
//! (the typed requests that the launcher answers), [`launcher_process`] (how the agent starts the
//! launcher and gives up root), [`split`] (how both meet as two services), [`remove`] (how a
//! directory that others wrote goes), [`zones`] (which port is whose, and the rules that follow),
//! [`namespace`] (networks as handles), [`programs`] (`ip`, `nft` and their like), [`fscrypt`]
//! (directories that the file system encrypts), [`oci`] (applications by a runtime of the
//! operator's choice), [`gateway`] (an application's way out), [`cgroup`] (what a
//! process may use), [`examine`] (how `parapet doctor` looks at the host), [`inherited`] (how what
//! is started finds its channel) and [`failure`] (how it says why it ends).
//! Holds no policy of its own and parses nothing that a camera, a package or a network peer wrote.

pub mod bare;
pub mod cgroup;
pub mod channel;
pub mod confine;
pub mod examine;
pub mod failure;
pub mod fscrypt;
pub mod gateway;
pub mod inherited;
mod init;
mod kernel;
mod landlock;
pub mod launch;
pub mod launcher_process;
pub mod namespace;
pub mod oci;
pub mod programs;
pub mod remove;
pub mod root;
mod seccomp;
pub mod setup;
pub mod spawn;
pub mod split;
pub mod zones;
