//! Forms of output. Each reads the same updates and snapshots.

pub mod check;
pub mod json;
pub mod prometheus;
pub mod stdout;
pub mod text;

use std::io::{self, Write};

use crate::{node::Update, stream::Started};

/// A stream of lines.
pub trait Lines {
    /// The stream begins.
    ///
    /// # Errors
    /// Those of the writer.
    fn started(&mut self, out: &mut dyn Write, started: &Started) -> io::Result<()>;

    /// Something to show.
    ///
    /// # Errors
    /// Those of the writer.
    fn update(&mut self, out: &mut dyn Write, update: &Update) -> io::Result<()>;
}

/// The number of an error by [`errno_name`]; 0 if that is not one.
pub fn errno_of(name: &str) -> u32 {
    let known = [libc::EAGAIN, libc::ENOMEM, libc::ENOSPC, libc::EUSERS];
    let mut known = known.into_iter().map(|errno| errno as u32);
    known
        .find(|errno| errno_name(*errno) == name)
        .unwrap_or_else(|| {
            let number = name.strip_prefix("errno ").unwrap_or_default();
            number.parse().unwrap_or(0)
        })
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
