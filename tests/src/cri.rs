//! The container runtime interface (CRI v1) from both sides: the messages that tests exchange with a
//! runtime, and calls to one. By hand, like pidwatch's own, but with what makes pods as well; numbers
//! as in k8s.io/cri-api, pkg/apis/runtime/v1/api.proto.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::cri_container::{
    Config, ContainerMetadata, ImageSpec, Linux, NODE, NamespaceOption, OWN, Security,
};
use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// `VersionResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct VersionResponse {
    /// The runtime's name.
    #[prost(string, tag = "2")]
    pub runtime_name: String,
}

/// `PodSandboxMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct PodMetadata {
    /// The pod's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its UID.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// Its namespace.
    #[prost(string, tag = "3")]
    pub namespace: String,
}

/// `Container`, in a list.
#[derive(Clone, PartialEq, Message)]
pub struct Container {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its pod's sandbox.
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    /// Its name.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<ContainerMetadata>,
    /// Its image.
    #[prost(message, optional, tag = "4")]
    pub image: Option<ImageSpec>,
    /// When it was made.
    #[prost(int64, tag = "7")]
    pub created_at: i64,
    /// Whatever its makers noted.
    #[prost(map = "string, string", tag = "8")]
    pub labels: HashMap<String, String>,
}

/// `PodSandbox`, in a list.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandbox {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its pod.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodMetadata>,
    /// When it was made.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// Its labels.
    #[prost(map = "string, string", tag = "5")]
    pub labels: HashMap<String, String>,
}

/// `ListContainersResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Containers {
    /// All of them.
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Container>,
}

/// `ListPodSandboxResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxes {
    /// All of them.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxSecurity {
    #[prost(message, optional, tag = "1")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxSandboxConfig {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security_context: Option<SandboxSecurity>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodMetadata>,
    #[prost(string, tag = "3")]
    log_folder: String,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandbox {
    #[prost(message, optional, tag = "1")]
    config: Option<SandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<Config>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<SandboxConfig>,
}

/// Requests and answers that are one id.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSync {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, repeated, tag = "2")]
    cmd: Vec<String>,
    #[prost(int64, tag = "3")]
    timeout: i64,
}

/// What a command in a container came to.
#[derive(Clone, PartialEq, Message)]
pub struct Executed {
    /// What it printed.
    #[prost(bytes = "vec", tag = "1")]
    pub stdout: Vec<u8>,
    /// What it printed as errors.
    #[prost(bytes = "vec", tag = "2")]
    pub stderr: Vec<u8>,
    /// Its exit status.
    #[prost(int32, tag = "3")]
    pub exit_code: i32,
}

/// A gRPC message: not compressed, its length, itself.
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

/// A runtime to be called.
#[derive(Debug, Clone)]
pub struct Cri {
    /// Its socket.
    pub socket: PathBuf,
}

/// How long a call may take: a container starts slowly in an emulated guest.
const PATIENCE: Duration = Duration::from_mins(1);

impl Cri {
    /// Makes a pod and starts it: its sandbox's id.
    pub fn run_pod(&self, pod: &Pod) -> Result<String> {
        let request = RunPodSandbox {
            config: Some(pod.config()),
        };
        let Id { id } = self.call("RunPodSandbox", &request)?;
        Ok(id)
    }

    /// Makes a container in a pod's sandbox: its id.
    pub fn create(&self, pod: &Pod, sandbox: &str, name: &str, command: &[&str]) -> Result<String> {
        let config = Config {
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
            }),
            image: Some(ImageSpec {
                image: pod.image.clone(),
            }),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            linux: Some(Linux {
                security: Some(Security::with_namespaces(NODE, OWN)),
            }),
            ..Config::default()
        };
        self.create_as(pod, sandbox, config)
    }

    /// Makes a container just so.
    pub fn create_as(&self, pod: &Pod, sandbox: &str, config: Config) -> Result<String> {
        let request = CreateContainer {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(pod.config()),
        };
        let Id { id } = self.call("CreateContainer", &request)?;
        Ok(id)
    }

    /// Starts a container.
    pub fn start(&self, container: &str) -> Result<()> {
        self.call_by_id("StartContainer", container)
    }

    /// Removes a container, killing what is in it.
    pub fn remove(&self, container: &str) -> Result<()> {
        self.call_by_id("StopContainer", container)?;
        self.call_by_id("RemoveContainer", container)
    }

    /// Stops and removes a pod with its containers.
    pub fn remove_pod(&self, sandbox: &str) -> Result<()> {
        self.call_by_id("StopPodSandbox", sandbox)?;
        self.call_by_id("RemovePodSandbox", sandbox)
    }

    /// Runs a command in a container, as the kubelet runs an exec probe.
    pub fn exec(&self, container: &str, command: &[&str]) -> Result<Executed> {
        let request = ExecSync {
            container_id: container.to_owned(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: 30,
        };
        self.call("ExecSync", &request)
    }

    /// Whether it answers.
    pub fn version(&self) -> Result<String> {
        let VersionResponse { runtime_name } = self.call("Version", &Id::default())?;
        Ok(runtime_name)
    }

    fn call_by_id(&self, method: &str, id: &str) -> Result<()> {
        let Id { .. } = self.call(method, &Id { id: id.to_owned() })?;
        Ok(())
    }

    fn call<A: Message + Default>(&self, method: &str, request: &impl Message) -> Result<A> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let call = self.exchange(method, framed(&request.encode_to_vec()));
        let answer = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, call).await })
            .with_context(|| format!("{method} took more than {PATIENCE:?}"))?
            .with_context(|| format!("{method} failed"))?;
        Ok(A::decode(answer)?)
    }

    async fn exchange(&self, method: &str, message: Bytes) -> Result<Bytes> {
        let stream = tokio::net::UnixStream::connect(&self.socket).await?;
        let (client, connection) = h2::client::handshake(stream).await?;
        let driver = tokio::spawn(connection);
        let request = http::Request::post(format!(
            "http://localhost/runtime.v1.RuntimeService/{method}"
        ))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
        let (answer, mut body) = client.ready().await?.send_request(request, false)?;
        body.send_data(message, true)?;
        let (head, mut body) = answer.await?.into_parts();
        let mut bytes = BytesMut::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            bytes.extend_from_slice(&part);
        }
        let trailers = body.trailers().await?.unwrap_or(head.headers);
        driver.abort();
        let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
        let status = text("grpc-status").unwrap_or("none");
        ensure!(
            status == "0",
            "status {status}: {}",
            text("grpc-message").unwrap_or_default()
        );
        ensure!(bytes.len() >= 5, "no message");
        bytes.advance(5);
        Ok(bytes.freeze())
    }
}

/// A pod to be made, without a network of its own.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Name, UID and namespace.
    pub metadata: PodMetadata,
    /// Its cgroup.
    pub cgroup: String,
    /// The image of its containers.
    pub image: String,
    /// Folder of its containers' logs.
    pub logs: String,
    /// Namespace of PIDs: [`OWN`] or [`NODE`].
    pub pid: i32,
}

impl Pod {
    fn config(&self) -> SandboxConfig {
        SandboxConfig {
            metadata: Some(self.metadata.clone()),
            log_folder: self.logs.clone(),
            linux: Some(LinuxSandboxConfig {
                cgroup_parent: self.cgroup.clone(),
                security_context: Some(SandboxSecurity {
                    namespace_options: Some(NamespaceOption {
                        network: NODE,
                        pid: self.pid,
                    }),
                }),
            }),
        }
    }
}
