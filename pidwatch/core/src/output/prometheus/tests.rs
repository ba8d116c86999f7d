use std::collections::BTreeSet;

use super::*;
use crate::{
    cgroup::LayoutKind,
    stream::{CgroupRef, K8s, ProbeReport, WorkloadRef},
};

const EVIL: &str = "/a\"b\\c\nd\\xff,}";

fn owner(id: u64, path: Option<&str>) -> OwnerRef {
    OwnerRef {
        cgroup: CgroupRef {
            id,
            path: path.map(str::to_owned),
        },
        k8s: None,
        runtime: None,
        unit: None,
    }
}

/// A node with everything that has a sample, in one format.
fn page(format: Format) -> String {
    let node: NodeWindow = serde_json::from_str(
        r#"{"window_s":1.0,"tasks":100,"knows_frees":true,"knows_failures":true,
            "limits":[{"name":"kernel.pid_max","value":32768,"usage":400}],
            "exhaustion":{"limit":"kernel.pid_max","value":32768,"usage":400,"in_s":12.5,
                "in_s_low":1.0}}"#,
    )
    .unwrap();
    let verdict: StateNow = serde_json::from_str(
        r#"{"state":"leaking","since":"2026-11-22T00:00:00Z","growth_per_s":2.5,"why":"",
            "exhaustion":{"limit":"kernel.pid_max","value":32768,"usage":400,"in_s":12.5,
                "in_s_low":1.0}}"#,
    )
    .unwrap();
    let started = Started {
        version: "0.1.0".into(),
        kernel: "6.18 \"odd\"".into(),
        cgroup_layout: LayoutKind::V2.into(),
        cgroups: 1,
        probes: vec![ProbeReport {
            name: "task_newtask".into(),
            mechanism: Some("tp_btf".into()),
            state: ProbeState::Attached.into(),
            error: None,
        }],
    };
    let labels = owner_labels(&owner(1, Some(EVIL)));
    let quiet = owner_labels(&owner(2, None));
    let mut total = Counts::NONE;
    total.failed[Reason::PidMax as usize] = 3;
    (total.rejected, total.rejected_by[0]) = (2, 2);
    let k8s = K8s {
        namespace: Some("shop".into()),
        workload: Some(WorkloadRef {
            kind: "Deployment".into(),
            name: "cart\"".into(),
        }),
        ..K8s::default()
    };
    let mut workloads = Workloads::default();
    workloads.add(Some(&k8s), Some(30), Some(&verdict));
    workloads.add(Some(&k8s), Some(12), None);
    workloads.add(None, Some(7), None);
    let view = MetricsView {
        owners: vec![
            OwnerSample {
                labels: &labels,
                tasks: Some(1),
                processes: Some(1),
                zombies: Some(0),
                limit: Some(10),
                total,
                verdict: Some(&verdict),
                state: Some(State::Leaking),
                brakes: 1,
            },
            OwnerSample {
                labels: &quiet,
                ..OwnerSample::default()
            },
        ],
        folded: 0,
        workloads,
        knows_failures: true,
        failures: total.failed,
        node: &node,
        incidents: vec![("kernel.pid_max", 1, 0)],
        brakes: &BrakeCounts::default(),
        lost: vec![("ring_rate", 7)],
        started: &started,
    };
    text(&view, format)
}

#[test]
fn every_family_has_a_sample_and_every_sample_a_family() {
    let page = page(Format::Classic);
    let families: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(families.len(), FAMILIES.len());
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let samples: BTreeSet<&str> = samples
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    assert_eq!(samples, families);
    let order: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let declared: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(order, declared);
}

#[test]
fn a_sample_has_the_labels_of_its_family() {
    for line in page(Format::Classic).lines() {
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let family = FAMILIES.iter().find(|family| family.name == name).unwrap();
        let mut names: Vec<&str> = Vec::new();
        if family.of_owner {
            names.extend(OWNER_LABELS);
        }
        names.extend(family.labels);
        let mut rest = rest;
        for name in names {
            rest = rest.trim_start_matches(',');
            let value = rest.strip_prefix(&format!("{name}=\"")).unwrap_or_else(|| {
                panic!("no {name} in {line}");
            });
            // To the quote that is not escaped.
            let mut escaped = false;
            let end = value.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            rest = &value[end.unwrap() + 1..];
        }
        assert!(rest.starts_with("} "), "{line}");
    }
}

#[test]
fn labels_are_escaped() {
    let expected = "id=\"/a\\\"b\\\\c\\nd\\\\xff,}\",namespace=\"\"";
    assert!(page(Format::Classic).contains(expected));
    assert_eq!(
        page(Format::Classic).lines().count(),
        page(Format::OpenMetrics).lines().count() - 1,
        "a line break in a name makes no line"
    );
}

#[test]
fn what_is_unknown_has_no_sample() {
    let page = page(Format::Classic);
    let of_quiet: Vec<&str> = page
        .lines()
        .filter(|line| line.contains("cgroup:2"))
        .collect();
    // Counters begin at 0.
    assert_eq!(of_quiet.len(), 4, "{of_quiet:?}");
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(value >= 0.0 && value.is_finite(), "{line}");
    }
}

#[test]
fn openmetrics_names_families_as_it_wants_them_and_ends() {
    let page = page(Format::OpenMetrics);
    for line in [
        "# TYPE pidwatch_container_created counter\n",
        "# TYPE pidwatch_build info\n",
        "pidwatch_build_info{version=\"0.1.0\",kernel=\"6.18 \\\"odd\\\"\"} 1\n",
        "\npidwatch_lost_total{where=\"ring_rate\"} 7\n",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    assert!(page.ends_with("\n# EOF\n"));
    assert_eq!(page.matches("# EOF").count(), 1);
}

#[test]
fn the_cgroups_of_a_workload_are_summed_up() {
    let page = page(Format::Classic);
    let labels = r#"namespace="shop",workload_kind="Deployment",workload="cart\"""#;
    for sample in [
        format!("pidwatch_workload_tasks{{{labels}}} 42\n"),
        format!("pidwatch_workload_growth_tasks_per_second{{{labels}}} 2.5\n"),
        format!("pidwatch_workload_state{{{labels},state=\"leaking\"}} 1\n"),
    ] {
        assert!(page.contains(&sample), "{sample} in {page}");
    }
    assert_eq!(page.matches("pidwatch_workload_tasks{").count(), 1);
}

/// The table of docs/metrics.md is the table of the code.
#[test]
fn the_documentation_has_every_metric_as_it_is() {
    let documented = include_str!("../../../../../docs/metrics.md");
    let documented: Vec<&str> = documented
        .lines()
        .filter(|line| line.starts_with("| `pidwatch_"))
        .collect();
    let expected: Vec<String> = FAMILIES
        .iter()
        .map(|family| {
            let mut labels: Vec<String> = Vec::new();
            if family.of_owner {
                labels.push("owner".into());
            }
            labels.extend(family.labels.iter().map(|label| format!("`{label}`")));
            let labels = if labels.is_empty() {
                "-".to_owned()
            } else {
                labels.join(", ")
            };
            let kind = match family.kind {
                MetricKind::Gauge => "gauge",
                MetricKind::Counter => "counter",
                MetricKind::Info => "info",
            };
            format!(
                "| `{}` | {kind} | {labels} | {} |",
                family.name, family.help
            )
        })
        .collect();
    assert_eq!(documented, expected);
}
