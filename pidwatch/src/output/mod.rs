//! Forms of output. Each reads the same updates and snapshots.

pub mod check;
pub mod json;
pub mod stdout;
pub mod text;

use std::io::{self, Write};

use crate::node::{Node, Update};

/// A stream of lines.
pub trait Lines {
    /// The stream begins.
    ///
    /// # Errors
    /// Those of the writer.
    fn started(&mut self, out: &mut dyn Write, node: &Node) -> io::Result<()>;

    /// Something to show.
    ///
    /// # Errors
    /// Those of the writer.
    fn update(&mut self, out: &mut dyn Write, update: &Update) -> io::Result<()>;
}

/// An error number by the name that the kernel's headers give it.
pub fn errno_name(errno: u32) -> String {
    match errno as i32 {
        libc::EAGAIN => "EAGAIN".into(),
        libc::ENOMEM => "ENOMEM".into(),
        libc::ENOSPC => "ENOSPC".into(),
        libc::EUSERS => "EUSERS".into(),
        _ => format!("errno {errno}"),
    }
}
