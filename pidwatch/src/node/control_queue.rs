//! The queue of requests to brake or release owners, between the agent's socket and the node.

use std::{cell::RefCell, collections::VecDeque};

use tokio::sync::{Notify, oneshot};

use crate::brake::{ControlRequest, ControlResponse};

/// Requests that wait for their turn.
#[derive(Debug, Default)]
pub struct ControlQueue {
    waiting: RefCell<VecDeque<QueuedRequest>>,
    came: Notify,
}

/// A request, and who waits for its response.
#[derive(Debug)]
pub struct QueuedRequest {
    /// What is asked for.
    pub request: ControlRequest,
    /// The process that gave it.
    pub process: u32,
    /// Where the response goes.
    pub response: oneshot::Sender<ControlResponse>,
}

impl ControlQueue {
    /// Hands over the request of a process, and waits for the response.
    pub async fn send(&self, request: ControlRequest, process: u32) -> ControlResponse {
        let (response, answered) = oneshot::channel();
        self.waiting.borrow_mut().push_back(QueuedRequest {
            request,
            process,
            response,
        });
        self.came.notify_one();
        let ended = |_| ControlResponse::Unable("it ends".to_owned());
        answered.await.unwrap_or_else(ended)
    }

    /// Waits for a request; without a queue, forever.
    pub async fn wait(requests: Option<&Self>) {
        match requests {
            Some(requests) => requests.came.notified().await,
            None => std::future::pending().await,
        }
    }

    /// The one that waits for longest.
    pub fn take(&self) -> Option<QueuedRequest> {
        self.waiting.borrow_mut().pop_front()
    }
}
