//! Tells systemd how the agent does (sd_notify(3)); nothing where it is not the supervisor.

use std::{rc::Rc, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep};

use super::shared::{Health, Shared};
use crate::stream::NodeWindow;

/// The line that `systemctl status` shows is made anew this often.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Feeds the watchdog, where there is one, as long as the watch goes on: windows may be longer than the
/// watchdog waits.
pub async fn feed(shared: Rc<Shared>) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    loop {
        if matches!(shared.health(), Health::Good) {
            // Whoever does not listen any more is no reason to end.
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        sleep(patience / 3).await;
    }
}

/// The supervisor.
pub struct Supervisor {
    is_there: bool,
    is_ready: bool,
    told: Option<Instant>,
}

impl Supervisor {
    /// As the environment tells.
    pub fn find() -> Self {
        Self {
            is_there: std::env::var_os("NOTIFY_SOCKET").is_some(),
            is_ready: false,
            told: None,
        }
    }

    /// A window was closed: the agent is ready.
    pub fn alive(&mut self, node: &NodeWindow) {
        if !self.is_there {
            return;
        }
        let mut states = Vec::new();
        if !std::mem::replace(&mut self.is_ready, true) {
            states.push(NotifyState::Ready);
        }
        let status;
        if self.told.is_none_or(|told| told.elapsed() >= STATUS_EVERY) {
            self.told = Some(Instant::now());
            status = Self::status(node);
            states.push(NotifyState::Status(&status));
        }
        if !states.is_empty() {
            // Whoever does not listen any more is no reason to end.
            let _ = sd_notify::notify(&states);
        }
    }

    fn status(node: &NodeWindow) -> String {
        let tasks = node.tasks;
        let tasks = tasks.map_or_else(|| "?".to_owned(), |tasks| tasks.to_string());
        match node.incidents.len() {
            0 => format!("watching {tasks} tasks, no incident"),
            1 => format!("watching {tasks} tasks, 1 incident open"),
            n => format!("watching {tasks} tasks, {n} incidents open"),
        }
    }

    /// The agent ends.
    pub fn ending(&self) {
        if self.is_there {
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
        }
    }
}
