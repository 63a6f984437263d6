//! Where the input under way is kept, so that no end of the process loses it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use crate::now;

/// The file of one run, in a directory that no other run has.
#[derive(Debug)]
pub(crate) struct Trace {
    file: File,
    length: usize,
    pub(crate) path: PathBuf,
}

impl Trace {
    /// An empty one.
    pub(crate) fn new(target: &str) -> io::Result<Self> {
        let unique = format!("parapet-fuzz-{}-{:x}", std::process::id(), now());
        let directory = std::env::temp_dir().join(unique);
        // Fails where it is there already, rather than share it.
        fs::create_dir(&directory)?;
        let path = directory.join(target);
        Ok(Self {
            file: File::create_new(&path)?,
            length: 0,
            path,
        })
    }

    /// Keeps an input in the place of the one before. It is not synced: a process may end without
    /// warning, the machine does not.
    pub(crate) fn keep(&mut self, input: &[u8]) -> io::Result<()> {
        self.file.write_all_at(input, 0)?;
        if input.len() < self.length {
            self.file.set_len(input.len() as u64)?;
        }
        self.length = input.len();
        Ok(())
    }

    /// Nothing was found.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        self.path.parent().map_or(Ok(()), fs::remove_dir)
    }
}
