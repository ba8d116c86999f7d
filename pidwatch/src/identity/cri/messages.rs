//! The few messages of CRI v1 that pidwatch needs, by hand, so that no `protoc` is needed to build:
//! numbers and types as in k8s.io/cri-api, pkg/apis/runtime/v1/api.proto. What is not here (most
//! labels, annotations: the runtime's clients may put megabytes there) is passed over.

use bytes::{Buf, Bytes};
use hashbrown::HashMap;
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// `VersionRequest`.
#[derive(Message)]
pub struct VersionRequest {
    #[prost(string, tag = "1")]
    pub version: String,
}

/// `VersionResponse`.
#[derive(Message)]
pub struct VersionResponse {
    #[prost(string, tag = "2")]
    pub runtime_name: String,
}

/// `Container`, one of `ListContainersResponse.containers`.
#[derive(Message)]
pub struct CriContainer {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "4")]
    pub image: Option<ImageSpec>,
    /// Nanoseconds of the wall clock.
    #[prost(int64, tag = "7")]
    pub created_at: i64,
}

/// `ContainerMetadata`.
#[derive(Message)]
pub struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `ImageSpec`.
#[derive(Message)]
pub struct ImageSpec {
    /// What the container was made from: a name, or (by the kubelet) the image's id.
    #[prost(string, tag = "1")]
    pub image: String,
    /// What the pod's author wrote (Kubernetes 1.29).
    #[prost(string, tag = "18")]
    pub user_specified_image: String,
}

/// `PodSandbox`, one of `ListPodSandboxResponse.items`.
#[derive(Message)]
pub struct PodSandbox {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// Nanoseconds of the wall clock.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
}

/// `PodSandboxMetadata`.
#[derive(Message)]
pub struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub uid: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
}

/// Number of the field `labels` of `PodSandbox`: a map of strings.
const LABELS: u32 = 5;

/// `PodSandbox.labels`, one of them.
#[derive(Message)]
struct Label {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// Those of a sandbox's labels that are wanted; the others are passed over.
pub fn wanted_labels(
    mut sandbox: Bytes,
    wanted: &[&'static str],
) -> Result<HashMap<&'static str, String>, DecodeError> {
    let mut labels = HashMap::new();
    while sandbox.has_remaining() {
        let (tag, wire) = decode_key(&mut sandbox)?;
        if tag != LABELS || wire != WireType::LengthDelimited {
            skip_field(wire, tag, &mut sandbox, DecodeContext::default())?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut sandbox)?).unwrap_or(usize::MAX);
        // The whole message was decoded before, so that this is within it.
        let label = Label::decode(sandbox.split_to(length.min(sandbox.remaining())))?;
        if let Some(key) = wanted.iter().find(|key| **key == label.key) {
            labels.insert(*key, label.value);
        }
    }
    Ok(labels)
}

/// `Image`, one of `ListImagesResponse.images`.
#[derive(Message)]
pub struct Image {
    #[prost(string, tag = "1")]
    pub id: String,
    /// `repo_tags`, of which the last is taken.
    #[prost(string, tag = "2")]
    pub repo_tag: String,
    /// `repo_digests`, of which the last is taken.
    #[prost(string, tag = "3")]
    pub repo_digest: String,
}

/// The items of a list (field 1 of every list response), one after the other: decoded all at once,
/// an answer of a few megabytes of empty items would take a hundred times its size.
pub struct Items {
    response: Bytes,
    count: usize,
}

/// Most items of a list: a node has some hundreds.
const MAX_ITEMS: usize = 64 * 1024;

impl Items {
    /// Of a whole response.
    pub fn of(response: Bytes) -> Self {
        Self { response, count: 0 }
    }

    fn next_item(&mut self) -> Result<Option<Bytes>, NoList> {
        let rest = &mut self.response;
        while rest.has_remaining() {
            self.count += 1;
            let (tag, wire) = decode_key(rest)?;
            if tag != 1 || wire != WireType::LengthDelimited {
                skip_field(wire, tag, rest, DecodeContext::default())?;
                continue;
            }
            let len = usize::try_from(decode_varint(rest)?).unwrap_or(usize::MAX);
            if len > rest.remaining() || self.count > MAX_ITEMS {
                return Err(NoList);
            }
            return Ok(Some(rest.split_to(len)));
        }
        Ok(None)
    }
}

/// A list that is cut, or longer than any node's.
#[derive(Debug, thiserror::Error)]
#[error("its list is cut, or no list, or has more than {MAX_ITEMS} items")]
pub struct NoList;

impl From<DecodeError> for NoList {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

impl Iterator for Items {
    type Item = Result<Bytes, NoList>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.next_item().transpose();
        if matches!(item, Some(Err(_))) {
            self.response.clear();
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&[u8]]) -> Bytes {
        let mut bytes = Vec::new();
        for item in items {
            bytes.push(0x0a);
            prost::encoding::encode_varint(item.len() as u64, &mut bytes);
            bytes.extend_from_slice(item);
        }
        bytes.into()
    }

    #[test]
    fn a_container_is_read_and_its_labels_are_not() {
        // id "ab", labels {k: v} (field 8), created_at 7.
        let item = [
            &[0x0a, 2, b'a', b'b'][..],
            &[0x42, 6, 0x0a, 1, b'k', 0x12, 1, b'v'],
            &[0x38, 7],
        ]
        .concat();
        let items: Vec<_> = Items::of(list(&[&item, &[]])).map(Result::unwrap).collect();
        assert_eq!(items.len(), 2);
        let container = CriContainer::decode(items[0].clone()).unwrap();
        assert_eq!((&*container.id, container.created_at), ("ab", 7));
        assert_eq!(CriContainer::decode(items[1].clone()).unwrap().id, "");
    }

    #[test]
    fn garbage_is_an_error_and_ends_the_list() {
        for garbage in [
            &b"\x0a\xff\xff\xff\xff\x0fshort"[..],
            b"\x0a\x7fshort",
            b"\xff",
            b"\x07\x07",
        ] {
            let items: Vec<_> = Items::of(garbage.to_vec().into()).take(9).collect();
            assert!(matches!(items[..], [Err(_)]), "{garbage:?}: {items:?}");
        }
    }
}
