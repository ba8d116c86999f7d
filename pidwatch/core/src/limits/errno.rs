//! The names of the errors that a failed creation returns.

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
        libc::EPERM => "EPERM".into(),
        libc::EBADF => "EBADF".into(),
        libc::EACCES => "EACCES".into(),
        libc::EBUSY => "EBUSY".into(),
        libc::EINVAL => "EINVAL".into(),
        _ => format!("errno {errno}"),
    }
}
