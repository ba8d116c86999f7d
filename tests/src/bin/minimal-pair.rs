//! Loads the benchmark's yardstick (`pidwatch-ebpf/src/bin/minimal.rs`), says `ready`, and keeps
//! it attached until standard input ends.

use std::io::{Read, Write};

use anyhow::{Context, Result};
use aya::{Btf, Ebpf, programs::BtfTracePoint};

fn main() -> Result<()> {
    let object = std::env::args_os()
        .nth(1)
        .context("usage: minimal-pair OBJECT")?;
    let btf = Btf::from_sys_fs()?;
    let mut ebpf = Ebpf::load_file(object)?;
    for (name, tracepoint) in [
        ("created", "sched_process_fork"),
        ("exited", "sched_process_exit"),
    ] {
        let program: &mut BtfTracePoint = ebpf
            .program_mut(name)
            .with_context(|| format!("no program {name}"))?
            .try_into()?;
        program.load(tracepoint, &btf)?;
        program.attach()?;
    }
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
