//! Names from outside, of bounded length.

/// Longest name, in bytes: a Kubernetes name has at most 253 (RFC 1123 subdomain), a reference of an
/// image 255 and its tag.
pub const MAX_NAME: usize = 256;

/// A name from outside, cut to [`MAX_NAME`]; `None` when it is empty.
pub fn bounded(name: &str) -> Option<Box<str>> {
    let cut = &name[..name.floor_char_boundary(MAX_NAME)];
    (!cut.is_empty()).then(|| cut.into())
}
