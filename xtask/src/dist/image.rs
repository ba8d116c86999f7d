//! The image, as an OCI layout in a tar archive: nothing in it but the program and what belongs to it.
//!
//! In: binaries. Out: the archive, which `ctr image import`, `podman load`, `skopeo copy oci-archive:`
//! and `crane push` take. Its documents are three small ones
//! (<https://github.com/opencontainers/image-spec>), written here by hand.

use anyhow::Result;
use serde_json::{Value, json};

use super::archive::{Tar, gzip};
use super::release::{Binary, Release, digest, read};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What lies under `blobs/`, by digest.
#[derive(Default)]
struct Blobs(Vec<(String, Vec<u8>)>);

impl Blobs {
    /// Puts one there; what refers to it.
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let size = bytes.len();
        if !self.0.iter().any(|(known, _)| *known == digest) {
            self.0.push((digest.clone(), bytes));
        }
        json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
    }

    fn add_json(&mut self, media_type: &str, document: &Value) -> Value {
        self.add(media_type, document.to_string().into_bytes())
    }
}

/// The archive.
pub fn layout(release: &Release, binaries: &[Binary]) -> Result<Vec<u8>> {
    let mut blobs = Blobs::default();
    let mut manifests = Vec::new();
    for binary in binaries {
        let mut manifest = manifest(release, binary, &mut blobs)?;
        manifest["platform"] = json!({ "os": "linux", "architecture": binary.arch.oci() });
        manifests.push(manifest);
    }
    let mut index = blobs.add_json(INDEX, &index(&manifests, &annotations(release)));
    index["annotations"] = json!({ "org.opencontainers.image.ref.name": release.version });

    let mut tar = Tar::new(release.time);
    let marker = json!({ "imageLayoutVersion": "1.0.0" }).to_string();
    tar.file("oci-layout", 0o644, marker.as_bytes())?;
    let top = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [index] });
    tar.file("index.json", 0o644, top.to_string().as_bytes())?;
    tar.folder("blobs", 0o755)?;
    tar.folder("blobs/sha256", 0o755)?;
    for (digest, bytes) in blobs.0 {
        tar.file(&format!("blobs/sha256/{digest}"), 0o644, &bytes)?;
    }
    tar.bytes()
}

fn index(manifests: &[Value], annotations: &Value) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": annotations,
    })
}

fn annotations(release: &Release) -> Value {
    json!({
        "org.opencontainers.image.title": "pidwatch",
        "org.opencontainers.image.description":
            "Which container leaks tasks, which limit stops the node and when, and who suffers",
        "org.opencontainers.image.version": release.version,
        "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
    })
}

/// The image of one architecture.
fn manifest(release: &Release, binary: &Binary, blobs: &mut Blobs) -> Result<Value> {
    let layer = layer(release, binary)?;
    let config = json!({
        "architecture": binary.arch.oci(),
        "os": "linux",
        "config": {
            // Root, as BPF and the owner of tracefs want it; what root may is the runtime's to limit.
            "User": "0:0",
            "Entrypoint": ["/pidwatch"],
            "Cmd": ["agent"],
            "WorkingDir": "/",
            "Labels": annotations(release),
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))] },
        "history": [{ "created_by": "cargo xtask dist" }],
    });
    let config = blobs.add_json(CONFIG, &config);
    let layer = blobs.add(LAYER, gzip(&layer)?);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
        "annotations": annotations(release),
    });
    Ok(blobs.add_json(MANIFEST, &manifest))
}

fn layer(release: &Release, binary: &Binary) -> Result<Vec<u8>> {
    let mut tar = Tar::new(release.time);
    tar.file("pidwatch", 0o755, &binary.program)?;
    tar.folder("licenses", 0o755)?;
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        tar.file(&format!("licenses/{name}"), 0o644, &read(name)?)?;
    }
    tar.file(
        "licenses/LICENSES-THIRD-PARTY.txt",
        0o644,
        binary.licences.as_bytes(),
    )?;
    // Where volumes are mounted, as a root that is read-only lets nobody make them.
    for folder in [
        "host",
        "host/proc",
        "host/sys",
        "host/sys/fs",
        "host/sys/fs/cgroup",
        "host/cri",
    ] {
        tar.folder(folder, 0o755)?;
    }
    for folder in ["etc", "etc/pidwatch", "var", "var/lib", "var/lib/pidwatch"] {
        tar.folder(folder, 0o755)?;
    }
    tar.bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Read;

    use super::super::arch::Arch;
    use super::*;

    fn files(archive: &[u8]) -> HashMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn every_reference_leads_to_a_blob_of_that_size_and_digest() {
        let release = Release {
            version: "1.2.3".into(),
            time: 1,
        };
        let binaries = [Arch::X86_64, Arch::Arm64].map(|arch| Binary {
            arch,
            program: arch.name().into(),
            licences: "MIT".into(),
        });
        let files = files(&layout(&release, &binaries).unwrap());
        let blob = |reference: &Value| {
            let digest = reference["digest"].as_str().unwrap();
            let path = format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap());
            let bytes = &files[&path];
            assert_eq!(super::digest(bytes), digest[7..]);
            assert_eq!(reference["size"], bytes.len());
            bytes
        };
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let top = json(&files["index.json"]);
        let name = &top["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
        assert_eq!(name, "1.2.3");
        let index = json(blob(&top["manifests"][0]));
        for (manifest, arch) in index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .zip(["amd64", "arm64"])
        {
            assert_eq!(manifest["platform"]["architecture"], arch);
            let manifest = json(blob(manifest));
            let config = json(blob(&manifest["config"]));
            assert_eq!(config["architecture"], arch);
            let mut layer = Vec::new();
            flate2::read::GzDecoder::new(&blob(&manifest["layers"][0])[..])
                .read_to_end(&mut layer)
                .unwrap();
            let diff_id = format!("sha256:{}", super::digest(&layer));
            assert_eq!(config["rootfs"]["diff_ids"], json!([diff_id]));
            assert!(self::files(&layer).contains_key("pidwatch"));
        }
    }
}
