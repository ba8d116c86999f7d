//! What the kubelet is told about PIDs: its configuration file
//! (`KubeletConfiguration`, kubelet.config.k8s.io/v1beta1).

use std::{collections::BTreeMap, io};

use serde::Deserialize;

/// What it says of PIDs; what it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kubelet {
    /// Most PIDs of a pod; -1 for as many as the node has.
    pub pod_pids_limit: Option<i64>,
    eviction_hard: BTreeMap<String, String>,
    kube_reserved: BTreeMap<String, String>,
    system_reserved: BTreeMap<String, String>,
}

impl Kubelet {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// When it is no configuration.
    pub fn parse(text: &str) -> io::Result<Self> {
        serde_saphyr::from_str(text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }

    /// PIDs that are kept free of pods, for the kubelet and for the system.
    pub fn reserved(&self) -> Option<u64> {
        let of = |reserved: &BTreeMap<String, String>| reserved.get("pid")?.parse::<u64>().ok();
        match (of(&self.kube_reserved), of(&self.system_reserved)) {
            (None, None) => None,
            (kube, system) => Some(kube.unwrap_or(0) + system.unwrap_or(0)),
        }
    }

    /// Fewer PIDs than this available, of so many, and the kubelet evicts pods: `pid.available`, a
    /// number or a part of the whole.
    pub fn eviction_threshold(&self, of: u64) -> Option<u64> {
        let text = self.eviction_hard.get("pid.available")?;
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().ok()?;
                Some((of as f64 * percent / 100.0) as u64)
            }
            None => text.trim().parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_pids_is_found_among_all_the_rest() {
        let kubelet = Kubelet::parse(
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
             authentication: {anonymous: {enabled: false}}\npodPidsLimit: 4096\n\
             evictionHard:\n  memory.available: 100Mi\n  pid.available: \"10%\"\n\
             kubeReserved:\n  cpu: 200m\n  pid: \"1000\"\n",
        )
        .unwrap();
        assert_eq!(kubelet.pod_pids_limit, Some(4096));
        assert_eq!(kubelet.reserved(), Some(1000));
        assert_eq!(kubelet.eviction_threshold(32_768), Some(3276));
    }

    #[test]
    fn what_is_not_said_is_unknown() {
        let kubelet = Kubelet::parse("kind: KubeletConfiguration\n").unwrap();
        assert_eq!(kubelet, Kubelet::default());
        assert_eq!(kubelet.eviction_threshold(1), None);
        assert_eq!(kubelet.reserved(), None);
        assert!(Kubelet::parse("podPidsLimit: many").is_err());
    }
}
