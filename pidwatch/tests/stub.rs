//! Built without the kernel side, as an editor or `cargo check` does without a BPF toolchain: the
//! program says so and how to get it. `cargo xtask test` builds this with `PIDWATCH_BPF_STUB=1`.
#![cfg(stub)]

use std::process::Command;

#[test]
fn without_the_kernel_side_it_says_how_to_build_it() {
    let run = Command::new(env!("CARGO_BIN_EXE_pidwatch"))
        .arg("trace")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("cargo xtask build"), "{said}");
}

#[test]
fn check_needs_no_kernel_side() {
    let run = Command::new(env!("CARGO_BIN_EXE_pidwatch"))
        .args(["check", "-o", "json"])
        .output()
        .expect("it starts");
    assert_eq!(run.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&run.stdout).contains("kernel.pid_max"));
}
