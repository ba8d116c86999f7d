//! What the node is called.

use rustix::system::uname;

/// The node's name: Kubernetes' where it is given, otherwise the host's.
pub fn node_name() -> String {
    std::env::var("NODE_NAME")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| uname().nodename().to_string_lossy().into_owned())
}
