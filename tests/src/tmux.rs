//! A real terminal: a program in a tmux of its own, its keys and its screen.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How long anything may take that is expected on the screen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// A terminal with a shell in it; ends with what runs in it.
#[derive(Debug)]
pub struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    /// Starts a shell with job control.
    pub fn start(columns: u16, rows: u16) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pidwatch-tmux-{}-{n}", std::process::id());
        let tmux = Self {
            socket: std::env::temp_dir().join(name),
        };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        // Neither the person's tmux configuration nor the shell's, and nothing that was remembered.
        tmux.run(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            "-e",
            "LC_ALL=C.UTF-8",
            "-e",
            "XDG_STATE_HOME=/dev/null",
            "env -u NO_COLOR -u ENV sh -i",
        ])?;
        // `$` or, as root, `#`.
        tmux.wait_until("a prompt", |screen| !screen.trim().is_empty())?;
        Ok(tmux)
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S")
            .arg(&self.socket)
            .args(arguments)
            .env_remove("TMUX");
        let output = tmux
            .stdin(Stdio::null())
            .output()
            .context("cannot start tmux")?;
        ensure!(
            output.status.success(),
            "tmux {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Presses keys, by tmux's names: `Enter`, `C-z`, `q`.
    pub fn keys(&self, keys: &[&str]) -> Result<()> {
        self.run(&[&["send-keys"], keys].concat()).map(|_| ())
    }

    /// Types a command into the shell.
    pub fn command(&self, command: &str) -> Result<()> {
        self.run(&["send-keys", "-l", command])?;
        self.keys(&["Enter"])
    }

    /// Sends bytes as the terminal would: what no key has a name for.
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex: Vec<&str> = hex.iter().map(String::as_str).collect();
        self.run(&[&["send-keys", "-H"], &hex[..]].concat())
            .map(|_| ())
    }

    /// What is on the screen.
    pub fn screen(&self) -> Result<String> {
        self.run(&["capture-pane", "-p"])
    }

    /// Makes it larger or smaller.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.run(&["resize-window", "-x", &columns, "-y", &rows])
            .map(|_| ())
    }

    /// Something that tmux knows of the terminal: `alternate_on`, `cursor_flag`, `mouse_any_flag`.
    pub fn flag(&self, name: &str) -> Result<String> {
        let format = format!("#{{{name}}}");
        let value = self.run(&["display-message", "-p", &format])?;
        Ok(value.trim().to_owned())
    }

    /// Waits until the screen is as it should be; what it is then.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen()?;
            if is_so(&screen) {
                return Ok(screen);
            }
            if Instant::now() >= until {
                bail!("not on the screen: {what}\n{screen}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for a text.
    pub fn wait(&self, text: &str) -> Result<String> {
        self.wait_until(text, |screen| screen.contains(text))
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // What runs in it gets SIGHUP.
        let _ = self.run(&["kill-server"]);
        let _ = std::fs::remove_file(&self.socket);
    }
}
