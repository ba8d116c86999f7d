//! The agent's Unix socket: requests to brake or release an owner, from processes of root on this node.
//!
//! A request is one line of JSON, and so is the response. The socket is a file: nobody reaches it through the network, and
//! using it creates no process.

use std::{
    cell::Cell,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::spawn_local,
    time::{sleep, timeout},
};

use super::shared::CountGuard;
use crate::{
    brake::{ControlRequest, ControlResponse, LONGEST, is_trusted, socket},
    node::ControlQueue,
};

/// Connections at once; only root can make one.
const MOST_CONNECTIONS: usize = 8;
/// A request must arrive within this time, and its response must be taken within it.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Pause where no connection can be taken: the process may be out of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Interval between checks that the socket still exists: a newer agent that replaced it may have ended.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Serves the socket beside the lease folder, for as long as it is polled. The newest agent on the node has it.
pub async fn serve(lease_dir: PathBuf, requests: Rc<ControlQueue>) {
    let mut is_reported = false;
    loop {
        match Control::bind(&lease_dir) {
            Ok(control) => control.serve(&requests).await,
            Err(error) if !is_reported => {
                is_reported = true;
                tracing::info!(
                    "cannot create {}: {error}; `pidwatch brake` acts without this agent",
                    socket(&lease_dir).display()
                );
            }
            Err(_) => {}
        }
        sleep(LOOK_EVERY).await;
    }
}

struct Control {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Control {
    fn bind(lease_dir: &Path) -> io::Result<Self> {
        let path = socket(lease_dir);
        let folder = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        // Renamed into place: one that a killed agent left behind is replaced, and so is a running one's.
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_file(&beside);
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        let inode = fs::symlink_metadata(&beside)?.ino();
        fs::rename(&beside, &path)?;
        Ok(Self {
            listener,
            path,
            inode,
        })
    }

    /// Takes requests until the socket is removed.
    async fn serve(self, requests: &Rc<ControlQueue>) {
        let open: Rc<Cell<usize>> = Rc::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = sleep(LOOK_EVERY) => {
                    if self.path.exists() {
                        continue;
                    }
                    return;
                }
            };
            let Ok((stream, _)) = accepted else {
                sleep(PAUSE).await;
                continue;
            };
            if open.get() >= MOST_CONNECTIONS {
                continue;
            }
            let counted = CountGuard::new(&open);
            let requests = requests.clone();
            spawn_local(async move {
                let _counted = counted;
                if let Err(error) = one(stream, &requests).await {
                    tracing::debug!("a request failed: {error}");
                }
            });
        }
    }
}

/// Removes the socket, unless another agent has it by now.
impl Drop for Control {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn one(mut stream: UnixStream, requests: &ControlQueue) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let process = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    let response = match process.filter(|_| is_trusted(peer.uid())) {
        None => ControlResponse::Refused("only root may brake".to_owned()),
        Some(process) => match read(&mut stream).await? {
            Ok(request) => requests.send(request, process).await,
            Err(error) => ControlResponse::Unable(format!(
                "the agent does not understand the request: {error}"
            )),
        },
    };
    let mut text = serde_json::to_vec(&response)?;
    text.push(b'\n');
    timeout(REQUEST_TIME, stream.write_all(&text)).await?
}

async fn read(stream: &mut UnixStream) -> io::Result<serde_json::Result<ControlRequest>> {
    let mut line = Vec::new();
    let mut lines = BufReader::new(stream.take(LONGEST));
    timeout(REQUEST_TIME, lines.read_until(b'\n', &mut line)).await??;
    Ok(serde_json::from_slice(&line))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Client;

    use super::*;

    #[tokio::test]
    async fn the_newest_agent_has_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let lease_dir = folder.path().join("run/brakes");
        let first = Control::bind(&lease_dir).unwrap();
        let path = socket(&lease_dir);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let second = Control::bind(&lease_dir).unwrap();
        drop(first);
        Client::connect(&path).unwrap();
        drop(second);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn an_unknown_request_is_answered() {
        let (mut client, agent) = UnixStream::pair().unwrap();
        client.write_all(b"{\"stop\":1}\n").await.unwrap();
        one(agent, &ControlQueue::default()).await.unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).await.unwrap();
        let response: ControlResponse = serde_json::from_str(&response).unwrap();
        assert!(
            matches!(response, ControlResponse::Unable(_)),
            "{response:?}"
        );
    }
}
