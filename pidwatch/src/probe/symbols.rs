//! Addresses of the kernel's variables (/proc/kallsyms): only those that no type leads to.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

/// Looks variables up; 0 for one that is not listed (a kernel without CONFIG_KALLSYMS_ALL) or hidden
/// (`kernel.kptr_restrict`).
///
/// # Errors
/// When the list cannot be read.
pub fn addresses<const N: usize>(proc_root: &Path, names: [&str; N]) -> io::Result<[u64; N]> {
    find(
        BufReader::with_capacity(64 * 1024, File::open(proc_root.join("kallsyms"))?),
        names,
    )
}

/// Lines are `ffffffff82a0e0a0 D nr_threads`, modules' symbols with `\t[module]` behind.
fn find<const N: usize>(mut list: impl BufRead, names: [&str; N]) -> io::Result<[u64; N]> {
    let mut addresses = [0; N];
    let mut line = Vec::new();
    while list.read_until(b'\n', &mut line)? > 0 {
        let text = line.trim_ascii_end();
        for (name, address) in names.iter().zip(&mut addresses) {
            if let Some(before) = text.strip_suffix(name.as_bytes())
                && let [address_text @ .., b' ', kind, b' '] = before
                && kind.is_ascii_alphabetic()
            {
                *address = std::str::from_utf8(address_text)
                    .ok()
                    .and_then(|text| u64::from_str_radix(text, 16).ok())
                    .unwrap_or(0);
            }
        }
        line.clear();
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn variables_are_found_by_their_whole_name() {
        let list = b"ffffffff81000000 T my_nr_threads\n\
            ffffffff82a0e0a0 D nr_threads\n\
            ffffffffc0000000 d pid_max\t[module]\n\
            ffffffff82a0e0b0 d max_threads";
        let found = find(&list[..], ["nr_threads", "max_threads", "pid_max"]).unwrap();
        assert_eq!(found, [0xffff_ffff_82a0_e0a0, 0xffff_ffff_82a0_e0b0, 0]);
    }
}
