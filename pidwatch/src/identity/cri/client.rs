//! A connection to a runtime's CRI socket, and the calls that pidwatch makes there.
//!
//! Invariants: a call takes at most [`PATIENCE`] and an answer at most [`MAX_ANSWER`] bytes,
//! whatever the other side does; nothing here starts a thread (no name is resolved, a socket is a
//! path).

use std::{io, path::Path, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::{net::UnixStream, time::timeout};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use super::messages::{Items, NoList, VersionRequest, VersionResponse};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of an answer: the limit that the kubelet has.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// Most bytes of an answer's headers.
const MAX_HEADERS: u32 = 16 * 1024;

/// A runtime could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens.
    #[error("nobody listens there ({0})")]
    NotThere(io::Error),
    /// The socket may not be used.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// It took too long.
    #[error("no answer within {PATIENCE:?}")]
    Silent,
    /// It does not know the call.
    #[error(
        "it does not speak CRI v1 ({0}); containerd has it where the plugin `cri` is not disabled"
    )]
    NotCri(String),
    /// It refused, or what it said makes no sense.
    #[error("{0}")]
    Refused(String),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        // The text is the runtime's: bounded here, escaped where it is shown.
        let text: String = status.message().chars().take(200).collect();
        match status.code() {
            Code::Unimplemented => Self::NotCri(text),
            code => Self::Refused(format!("{code:?}: {text}")),
        }
    }
}

impl From<prost::DecodeError> for CallError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Refused(format!("its answer cannot be read: {error}"))
    }
}

impl From<NoList> for CallError {
    fn from(error: NoList) -> Self {
        Self::Refused(error.to_string())
    }
}

/// A runtime that answers.
pub struct Client {
    grpc: Grpc<Channel>,
    /// Its name for itself.
    pub runtime: String,
}

impl Client {
    /// Connects and asks for the runtime's name.
    pub async fn connect(socket: &Path) -> Result<Self, CallError> {
        // Tried apart: the channel's own errors do not tell why.
        match UnixStream::connect(socket).await {
            Ok(_) => {}
            Err(error) => {
                let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
                return Err(if nobody.contains(&error.kind()) {
                    CallError::NotThere(error)
                } else {
                    CallError::Connect(error)
                });
            }
        }
        let socket = socket.to_owned();
        let connector = service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // A name is needed, and not used.
        let channel = Endpoint::from_static("http://localhost")
            .http2_max_header_list_size(MAX_HEADERS)
            .connect_with_connector_lazy(connector);
        let mut client = Self {
            grpc: Grpc::new(channel).max_decoding_message_size(MAX_ANSWER),
            runtime: String::new(),
        };
        let request = VersionRequest {
            version: "v1".to_owned(),
        };
        let answer = client
            .call(
                "/runtime.v1.RuntimeService/Version",
                request.encode_to_vec().into(),
            )
            .await?;
        client.runtime = VersionResponse::decode(answer)?.runtime_name;
        Ok(client)
    }

    /// All containers, running or not.
    pub async fn containers(&mut self) -> Result<Items, CallError> {
        self.list("/runtime.v1.RuntimeService/ListContainers").await
    }

    /// All sandboxes of pods, ready or not.
    pub async fn sandboxes(&mut self) -> Result<Items, CallError> {
        self.list("/runtime.v1.RuntimeService/ListPodSandbox").await
    }

    /// All images.
    pub async fn images(&mut self) -> Result<Items, CallError> {
        self.list("/runtime.v1.ImageService/ListImages").await
    }

    /// A request without a filter is empty.
    async fn list(&mut self, method: &'static str) -> Result<Items, CallError> {
        Ok(Items::of(self.call(method, Bytes::new()).await?))
    }

    async fn call(&mut self, method: &'static str, request: Bytes) -> Result<Bytes, CallError> {
        let grpc = &mut self.grpc;
        let call = async {
            grpc.ready()
                .await
                .map_err(|error| CallError::Refused(error.to_string()))?;
            let request = Request::new(request);
            let answer = grpc
                .unary(request, PathAndQuery::from_static(method), Raw)
                .await?;
            Ok(answer.into_inner())
        };
        timeout(PATIENCE, call)
            .await
            .unwrap_or(Err(CallError::Silent))
    }
}

/// Messages as bytes: what they hold is looked at piece by piece.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
