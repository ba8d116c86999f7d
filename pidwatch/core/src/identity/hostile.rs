//! For tests: names that somebody who may make cgroups would choose to be taken for somebody else.

/// A pseudo-random number below `below` (xorshift, Marsaglia 2003).
pub fn draw(random: &mut u64, below: u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random % below
}

/// A way down from a cgroup, or none: `/` and a name, again and again, up to a path's 1,023 bytes and beyond.
/// `pod` and `container` are those of whom it wants to be.
pub fn way(random: &mut u64, pod: &str, container: &str) -> Vec<u8> {
    let mut way = Vec::new();
    while way.len() < 1023 && draw(random, 5) != 0 {
        way.push(b'/');
        way.extend(name(random, pod, container));
    }
    way
}

fn name(random: &mut u64, pod: &str, container: &str) -> Vec<u8> {
    let known = [
        "kubepods",
        "burstable",
        "kubepods.slice",
        "pod{U}",
        "pod0c1d2e3f405162738495a6b7c8d9eafb",
        "kubepods-burstable-pod{W}.slice",
        "kubepods-burstable-pod{W}.slice:cri-containerd:{I}",
        "{I}",
        "docker",
        "docker-{I}.scope",
        "crio-{I}.scope",
        "crio-conmon-{I}.scope",
        "cri-containerd-{I}.scope",
        "libpod-{I}",
        "lxc.payload.web",
        "lxc",
        "system.slice",
        "containerd.service",
        "user@0.service",
        "machine.slice",
        "systemd-nspawn@web.service",
        "nomad",
        "{U}.web.scope",
        "0c1d2e3f405162738495a6b7c8d9eafb-0000000001",
    ];
    match draw(random, 8) {
        0 => (0..=draw(random, 255))
            .map(|_| 1 + draw(random, 255) as u8)
            .map(|byte| if byte == b'/' { b'_' } else { byte })
            .collect(),
        1 => vec![b'x'; 1 + draw(random, 254) as usize],
        _ => known[draw(random, known.len() as u64) as usize]
            .replace("{I}", container)
            .replace("{U}", pod)
            .replace("{W}", &pod.replace('-', "_"))
            .into_bytes(),
    }
}
