//! On a terminal of our own: a child takes it and ends badly, and it is as before.

use std::{
    io::Read as _,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Command, Stdio},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::LocalModes,
};

use super::*;

/// Set in the child: how it is to end.
const ENDING: &str = "PIDWATCH_TEST_ENDING";

/// What the child does; in a run of all tests it does nothing.
#[test]
fn child() {
    let Ok(ending) = std::env::var(ENDING) else {
        return;
    };
    let runtime = crate::runtime::single_threaded().unwrap();
    runtime.block_on(async {
        let mut term = Term::take().unwrap();
        // Whoever has the other end of this terminal answers no question.
        term.resize().unwrap();
        term.draw(|buffer| {
            buffer.set_string(0, 0, "hello", ratatui::style::Style::new());
        })
        .unwrap();
        term.flush().await.unwrap();
        assert!(!is_as_before(&term.fd), "the child has the terminal");
        assert_ne!(ending, "panic", "as asked for");
    });
}

fn is_as_before(terminal: &OwnedFd) -> bool {
    let modes = tcgetattr(terminal).unwrap().local_modes;
    modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
}

/// Runs the child on a new terminal; what it wrote there.
fn run(ending: &str) -> (OwnedFd, String) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let open = || {
        let path = name.to_str().unwrap();
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap()
    };
    let terminal: OwnedFd = open().into();
    assert!(is_as_before(&terminal));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "tui::term::tests::child", "--nocapture"])
        .env(ENDING, ending)
        .stdin(open())
        .stdout(open())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = command.spawn().unwrap();
    // It has the terminal open too, and the reader waits until nobody has.
    drop(command);
    let reader = std::thread::spawn({
        let mut ours = std::fs::File::from(ours.try_clone().unwrap());
        move || {
            let mut written = Vec::new();
            let mut bytes = [0; 4096];
            // Ends with EIO, when nobody has the terminal open.
            while let Ok(n) = ours.read(&mut bytes) {
                written.extend(&bytes[..n]);
            }
            String::from_utf8_lossy(&written).into_owned()
        }
    });
    child.wait().unwrap();
    assert!(is_as_before(&terminal), "after {ending}");
    drop(terminal);
    (ours, reader.join().unwrap())
}

#[test]
fn the_terminal_is_given_back_at_the_end_and_after_a_panic() {
    for ending in ["end", "panic"] {
        let (_ours, written) = run(ending);
        let place = |bytes: &[u8]| written.find(std::str::from_utf8(bytes).unwrap());
        let (taken, drawn, given) = (place(ENTER), written.find("hello"), place(LEAVE));
        assert!(
            taken.is_some() && taken < drawn && drawn < given,
            "{ending}: {written:?}"
        );
    }
}
