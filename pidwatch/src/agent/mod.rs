//! `pidwatch agent`: the node under watch for as long as it is up, told over HTTP.
//!
//! In: the node's updates. Out: metrics, the node as it is and what happens by `http`, an event log on
//! standard output, and the stream of events in the flight recorder. All of it is on one thread. The
//! watch waits for nobody: what a reader does not take, a disk has no room for or a log nobody reads is
//! lost there, counted, and nowhere else. Only a disk that hangs, and does not fail, is waited for.

mod board;
mod control;
mod event_log;
mod events;
mod flight;
mod http;
mod kubernetes;
mod night;
mod overview;
mod room;
mod shared;
mod sink;
mod state_dir;
mod supervisor;

use std::{io, net::SocketAddr, rc::Rc};

use tracing::level_filters::LevelFilter;

use self::{
    kubernetes::{Api, Kubernetes},
    shared::Shared,
    sink::Agent,
};
use crate::{
    cli::args::AgentArgs,
    node::{
        ControlQueue,
        watch::{self, WatchError},
    },
    runtime::{
        descriptors::{self, TooFewDescriptors},
        diagnostics,
        private::PrivateFolder,
    },
};

/// File descriptors that the agent may use at once: some 70 for BPF, the runtime and logs (`ls /proc/PID/fd`), 64
/// connections, 256 charges that stay open, and files that are read.
const DESCRIPTORS: u64 = 512;

/// The agent could not begin, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nothing can be served there.
    #[error("cannot listen on {address}: {error}{}", advice(.error))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The cause.
        error: io::Error,
    },
    /// Clients would find no room.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The node cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another agent or program has that port: end it, or choose another one with --listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this machine has that address: choose another one with --listen"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// Watches and serves until SIGINT or SIGTERM.
///
/// # Errors
/// When the address cannot be listened on or the node cannot be watched.
pub fn run(mut args: AgentArgs) -> Result<(), AgentError> {
    // It runs for long: also what is good to know.
    diagnostics::init(args.node.kernel_log, LevelFilter::INFO);
    args.node.polls_idle = true;
    args.node.brake = Some(args.brake.clone());
    let requests = Rc::new(ControlQueue::default());
    args.node.requests = Some(requests.clone());
    let lease_dir = args.node.roots.lease_dir.clone();
    descriptors::raise_limit(DESCRIPTORS)?;
    let address = args.listen;
    let fail = |error| AgentError::Listen { address, error };
    // Before anything that takes time: who asks meanwhile waits, and is answered.
    let listener = http::bind(address).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let state = Rc::new(PrivateFolder::new(&args.state_dir));
    state_dir::prepare(&state, &args.node.roots.proc_root);
    if args.node.state_file.is_none() {
        args.node.state_file = Some(args.state_dir.join(state_dir::INCIDENTS));
        args.node.state_folder = Some(state.clone());
    }
    let api = args.kubernetes_events.then(Api::find);
    tracing::info!("listening on http://{address}");
    let make = || {
        let shared = Rc::new(Shared::new(args.node.window));
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::task::spawn_local(http::serve(listener, shared.clone()));
        tokio::task::spawn_local(supervisor::feed(shared.clone()));
        tokio::task::spawn_local(control::serve(lease_dir, requests));
        let kubernetes = api.map(|api| Kubernetes::begin(api?, &shared.name));
        let kubernetes = kubernetes.transpose().unwrap_or_else(|error| {
            tracing::error!("{error}; watching on");
            None
        });
        Agent::new(shared, state, kubernetes, &args)
    };
    let agent = watch::run(&args.node, None, make)?;
    agent.end();
    Ok(())
}

#[cfg(test)]
mod tests;
