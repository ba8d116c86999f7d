//! The DaemonSet as it is deployed, as what a runtime is asked for: the part of the kubelet.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cri_container::{
    Capabilities, Config, HOST_TO_CONTAINER, Linux, Mount, NODE, NamespaceOption, Number, OWN,
    Security, SecurityProfile, Variable,
};
use crate::cri_container::{ContainerMetadata, ImageSpec};

/// The pod of the deployed DaemonSet.
#[derive(Debug)]
pub struct Manifest {
    pod: Value,
}

/// Places of this machine that stand for the node's.
#[derive(Debug)]
pub struct Node<'a> {
    /// Folders of the host by the names of volumes; others are where the manifest says.
    pub folders: &'a [(&'a str, &'a Path)],
    /// Name of the image.
    pub image: &'a str,
}

fn words(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Manifest {
    /// Of a DaemonSet.
    pub fn new(daemon_set: &Value) -> Self {
        Self {
            pod: daemon_set["spec"]["template"]["spec"].clone(),
        }
    }

    /// Namespace of PIDs.
    pub fn pid(&self) -> i32 {
        if self.pod["hostPID"] == true {
            NODE
        } else {
            OWN
        }
    }

    /// Its container on this node, listening at a free port of loopback.
    pub fn container(&self, node: &Node<'_>) -> Result<Config> {
        let container = &self.pod["containers"][0];
        let args = words(&container["args"]).into_iter().map(|word| {
            if word.starts_with("--listen=") {
                "--listen=127.0.0.1:0".to_owned()
            } else {
                word
            }
        });
        let security = &container["securityContext"];
        let flag = |name: &str| security[name].as_bool().context(format!("no {name}"));
        Ok(Config {
            metadata: Some(ContainerMetadata {
                name: "pidwatch".to_owned(),
            }),
            image: Some(ImageSpec {
                image: node.image.to_owned(),
            }),
            args: args.collect(),
            variables: vec![Variable {
                key: "NODE_NAME".to_owned(),
                value: "node-1".to_owned(),
            }],
            mounts: self.mounts(container, node)?,
            log: "pidwatch.log".to_owned(),
            linux: Some(Linux {
                security: Some(Security {
                    capabilities: Some(Capabilities {
                        add: words(&security["capabilities"]["add"]),
                        drop: words(&security["capabilities"]["drop"]),
                    }),
                    namespaces: Some(NamespaceOption {
                        network: NODE,
                        pid: self.pid(),
                    }),
                    user: Some(Number {
                        value: security["runAsUser"].as_i64().context("no user")?,
                    }),
                    read_only_root: flag("readOnlyRootFilesystem")?,
                    no_new_privileges: !flag("allowPrivilegeEscalation")?,
                    seccomp: Some(profile(&security["seccompProfile"])?),
                }),
            }),
            ..Config::default()
        })
    }

    fn mounts(&self, container: &Value, node: &Node<'_>) -> Result<Vec<Mount>> {
        let mut mounts = Vec::new();
        for mount in container["volumeMounts"].as_array().context("no mounts")? {
            let volumes = self.pod["volumes"].as_array().context("no volumes")?;
            let volume = volumes
                .iter()
                .find(|volume| volume["name"] == mount["name"])
                .with_context(|| format!("no volume for {mount}"))?;
            let name = mount["name"].as_str().context("no name")?;
            let own = node.folders.iter().find(|(known, _)| *known == name);
            let host_path = match own {
                Some((_, folder)) => folder.display().to_string(),
                None => volume["hostPath"]["path"]
                    .as_str()
                    .context("no path")?
                    .to_owned(),
            };
            let is_propagated = mount["mountPropagation"] == "HostToContainer";
            mounts.push(Mount {
                container_path: mount["mountPath"].as_str().context("no path")?.to_owned(),
                host_path,
                read_only: mount["readOnly"] == true,
                propagation: if is_propagated { HOST_TO_CONTAINER } else { 0 },
            });
        }
        Ok(mounts)
    }
}

fn profile(profile: &Value) -> Result<SecurityProfile> {
    let kind = match profile["type"].as_str().context("no seccomp profile")? {
        "RuntimeDefault" => 0,
        "Unconfined" => 1,
        _ => 2,
    };
    let file = profile["localhostProfile"].as_str().unwrap_or_default();
    Ok(SecurityProfile {
        kind,
        file: file.to_owned(),
    })
}
