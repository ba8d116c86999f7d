//! How a container is asked of a runtime (CRI v1): its command, mounts and rights. Numbers as in
//! k8s.io/cri-api, pkg/apis/runtime/v1/api.proto.

use prost::Message;

/// `NamespaceMode.CONTAINER`: its own.
pub const OWN: i32 = 1;
/// `NamespaceMode.NODE`: the node's.
pub const NODE: i32 = 2;
/// `MountPropagation.PROPAGATION_HOST_TO_CONTAINER`.
pub const HOST_TO_CONTAINER: i32 = 1;

/// `ContainerMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerMetadata {
    /// The container's name in its pod.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `ImageSpec`.
#[derive(Clone, PartialEq, Message)]
pub struct ImageSpec {
    /// A name or an id.
    #[prost(string, tag = "1")]
    pub image: String,
}

/// `NamespaceOption`.
#[derive(Clone, PartialEq, Message)]
pub struct NamespaceOption {
    /// Of the network.
    #[prost(int32, tag = "1")]
    pub network: i32,
    /// Of PIDs.
    #[prost(int32, tag = "2")]
    pub pid: i32,
}

/// `Capability`: names without `CAP_`.
#[derive(Clone, PartialEq, Message)]
pub struct Capabilities {
    /// Given.
    #[prost(string, repeated, tag = "1")]
    pub add: Vec<String>,
    /// Taken away; `ALL` for those that every container has.
    #[prost(string, repeated, tag = "2")]
    pub drop: Vec<String>,
}

/// `Int64Value`.
#[derive(Clone, PartialEq, Message)]
pub struct Number {
    /// The number.
    #[prost(int64, tag = "1")]
    pub value: i64,
}

/// `SecurityProfile`.
#[derive(Clone, PartialEq, Message)]
pub struct SecurityProfile {
    /// 0: the runtime's default, 1: none, 2: a file.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// The file.
    #[prost(string, tag = "2")]
    pub file: String,
}

/// `LinuxContainerSecurityContext`.
#[derive(Clone, PartialEq, Message)]
pub struct Security {
    /// Of root.
    #[prost(message, optional, tag = "1")]
    pub capabilities: Option<Capabilities>,
    /// Namespaces.
    #[prost(message, optional, tag = "3")]
    pub namespaces: Option<NamespaceOption>,
    /// User id.
    #[prost(message, optional, tag = "5")]
    pub user: Option<Number>,
    /// Whether its root file system is.
    #[prost(bool, tag = "7")]
    pub read_only_root: bool,
    /// Whether no privilege can be gained by exec.
    #[prost(bool, tag = "11")]
    pub no_new_privileges: bool,
    /// System calls.
    #[prost(message, optional, tag = "15")]
    pub seccomp: Option<SecurityProfile>,
}

impl Security {
    /// As containers have it by default, with these namespaces.
    pub fn with_namespaces(network: i32, pid: i32) -> Self {
        Self {
            namespaces: Some(NamespaceOption { network, pid }),
            ..Self::default()
        }
    }
}

/// `LinuxContainerConfig`.
#[derive(Clone, PartialEq, Message)]
pub struct Linux {
    /// Rights.
    #[prost(message, optional, tag = "2")]
    pub security: Option<Security>,
}

/// `KeyValue`.
#[derive(Clone, PartialEq, Message)]
pub struct Variable {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `Mount`.
#[derive(Clone, PartialEq, Message)]
pub struct Mount {
    /// Where in the container.
    #[prost(string, tag = "1")]
    pub container_path: String,
    /// What of the host.
    #[prost(string, tag = "2")]
    pub host_path: String,
    /// Whether it may be written to.
    #[prost(bool, tag = "3")]
    pub read_only: bool,
    /// Whether what is mounted later is seen.
    #[prost(int32, tag = "5")]
    pub propagation: i32,
}

/// `ContainerConfig`.
#[derive(Clone, PartialEq, Message)]
pub struct Config {
    /// Name.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    /// Image.
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    /// Instead of the image's entrypoint, unless it is empty.
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    /// Instead of the image's arguments.
    #[prost(string, repeated, tag = "4")]
    pub args: Vec<String>,
    /// Variables.
    #[prost(message, repeated, tag = "6")]
    pub variables: Vec<Variable>,
    /// Mounts.
    #[prost(message, repeated, tag = "7")]
    pub mounts: Vec<Mount>,
    /// File of its output, in the pod's folder of logs.
    #[prost(string, tag = "11")]
    pub log: String,
    /// Rights.
    #[prost(message, optional, tag = "15")]
    pub linux: Option<Linux>,
}
