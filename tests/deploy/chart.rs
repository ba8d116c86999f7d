//! The chart, through Helm's engine and against the schemas of Kubernetes' releases.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::tools::{output, path, python, text, yaml};

const CHART: &str = "deploy/chart";
/// What people without Helm apply.
const MANIFEST: &str = "deploy/kubernetes/pidwatch.yaml";
/// The oldest release that the chart takes, one between, and the newest that has schemas.
const RELEASES: [&str; 3] = ["1.25", "1.31", "1.37"];

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(python());
    command.arg(path("tests/deploy/chart.py")).args(arguments);
    command
}

const HINT: &str = "run `cargo xtask test`, or install helm-python-sdk and kubernetes-validate by \
    pip and name that Python in PIDWATCH_PYTHON";

fn helm(command: &str, more: &[&str]) -> String {
    let chart = path(CHART).display().to_string();
    output(&mut script(&[&[command, &chart], more].concat()), HINT)
}

/// The objects that the chart makes of these values.
pub fn rendered(values: &Value) -> String {
    rendered_of(&path(CHART).display().to_string(), values)
}

/// The same of a chart elsewhere.
pub fn rendered_of(chart: &str, values: &Value) -> String {
    let arguments = ["render", chart, &values.to_string(), "pidwatch"];
    output(&mut script(&arguments), HINT)
}

fn objects(manifest: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(manifest).expect("YAML")
}

fn object(manifest: &str, kind: &str) -> Value {
    let mut all = objects(manifest).into_iter();
    all.find(|object| object["kind"] == kind)
        .unwrap_or_else(|| panic!("no {kind}"))
}

/// Everything that can be switched on.
fn everything() -> Value {
    json!({
        "agent": { "hostNetwork": true, "ipv6": true, "config": "window = \"2s\"\n",
            "extraArgs": ["--ring-size=4194304"], "extraEnv": [{ "name": "TZ", "value": "UTC" }] },
        "image": { "repository": "registry.example/pidwatch", "digest": format!("sha256:{:064}", 1) },
        "imagePullSecrets": [{ "name": "registry" }],
        "namespace": { "create": true },
        "state": { "hostPath": "", "flightRecorder": "0" },
        "tracefs": { "writable": true },
        "capabilities": { "syslog": true, "sysResource": true, "sysAdmin": true },
        "seccompProfile": { "type": "Localhost", "localhostProfile": "pidwatch.json" },
        "podMonitor": { "enabled": true, "labels": { "release": "prometheus" } },
        "prometheusRule": { "enabled": true, "runbookUrl": "https://docs.example/alerts.md" },
        "dashboard": { "enabled": true },
        "networkPolicy": { "enabled": true },
        "kubernetesEvents": { "enabled": true },
        "brake": { "enabled": true },
        "affinity": { "nodeAffinity": {} },
        "podAnnotations": { "a": "b" },
        "podLabels": { "c": "d" },
    })
}

fn problems(manifest: &str) -> String {
    let mut child = script(&[&["validate"], &RELEASES[..]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect(HINT);
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(manifest.as_bytes()).expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{HINT}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn helm_has_nothing_to_say_against_it() {
    assert_eq!(helm("lint", &[]), "");
}

#[test]
fn every_object_is_valid_in_three_releases_of_kubernetes() {
    for values in [json!({}), everything()] {
        assert_eq!(problems(&rendered(&values)), "");
    }
    let wrong = rendered(&json!({})).replace("hostPID: true", "hostPid: true");
    let found = problems(&wrong);
    for release in RELEASES {
        assert!(found.contains(release), "{found}");
    }
}

/// To write it anew: `PIDWATCH_BLESS=1 cargo test -p pidwatch-tests --test deploy`.
#[test]
fn the_plain_manifest_is_the_chart_s() {
    let head =
        "# Made from deploy/chart with namespace.create=true; a test holds the two together.\n";
    let expected = head.to_owned() + &rendered(&json!({ "namespace": { "create": true } }));
    if std::env::var_os("PIDWATCH_BLESS").is_some() {
        std::fs::write(path(MANIFEST), &expected).expect("written");
    }
    assert_eq!(text(MANIFEST), expected);
    assert_eq!(problems(&expected), "");
}

#[test]
fn wrong_values_are_refused_by_name() {
    for (values, word) in [
        (json!({ "image": { "repo": "a" } }), "repo"),
        (json!({ "agent": { "port": 0 } }), "port"),
        (
            json!({ "state": { "flightRecorder": "much" } }),
            "flightRecorder",
        ),
        (
            json!({ "seccompProfile": { "type": "None" } }),
            "seccompProfile",
        ),
    ] {
        let told = helm("refuse", &[&values.to_string()]);
        assert!(told.contains(word), "{values}: {told:?}");
    }
    assert_eq!(helm("refuse", &[&everything().to_string()]), "");
}

/// Paths of all values that are settings and not free-form.
fn settings(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    const FREE: [&str; 5] = [
        "resources",
        "nodeSelector",
        "updateStrategy",
        "labels",
        "affinity",
    ];
    let name = at.rsplit('.').next().unwrap_or_default();
    match value.as_object() {
        Some(object) if !FREE.contains(&name) && !(object.is_empty()) => {
            for (key, value) in object {
                settings(value, &format!("{at}.{key}"), found);
            }
        }
        _ => {
            found.insert(at.to_owned());
        }
    }
}

#[test]
fn every_value_is_in_the_schema_with_a_description() {
    let schema = yaml("deploy/chart/values.schema.json");
    let mut found = BTreeSet::new();
    settings(&yaml("deploy/chart/values.yaml"), "", &mut found);
    assert!(found.len() > 30);
    for setting in found {
        let mut at = &schema;
        for part in setting.split('.').skip(1) {
            at = &at["properties"][part];
            let description = at["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty(), "{setting} is not described");
        }
    }
}

#[test]
fn the_agent_may_do_what_it_must_and_nothing_else() {
    let daemon_set = object(&rendered(&json!({})), "DaemonSet");
    let pod = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(pod["hostPID"], true);
    assert_eq!(pod["hostNetwork"], Value::Null);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["tolerations"], json!([{ "operator": "Exists" }]));
    let container = &pod["containers"][0];
    assert_eq!(
        container["securityContext"],
        json!({
            "runAsUser": 0, "runAsGroup": 0, "privileged": false,
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["BPF", "PERFMON"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        })
    );
    for mount in container["volumeMounts"].as_array().expect("mounts") {
        let is_state = mount["name"] == "state";
        assert_eq!(mount["readOnly"] == true, !is_state, "{mount}");
    }
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert!(container[probe]["httpGet"].is_object(), "{probe}");
        assert!(container[probe]["exec"].is_null(), "{probe}");
    }
    let daemon_set = object(&rendered(&everything()), "DaemonSet");
    let container = &daemon_set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["securityContext"]["capabilities"]["add"],
        json!(["BPF", "PERFMON", "SYSLOG", "SYS_RESOURCE", "SYS_ADMIN"])
    );
    let args = container["args"].as_array().expect("arguments");
    assert!(
        args.contains(&json!("--listen=[$(POD_IP)]:9757")),
        "{args:?}"
    );
}

#[test]
fn only_a_brake_that_acts_may_write_to_cgroups() {
    for (brake, argument, is_writable) in [
        (json!({}), None, false),
        (json!({ "dryRun": true }), None, false),
        (
            json!({ "enabled": true, "dryRun": true }),
            Some("--brake=dry-run"),
            false,
        ),
        (json!({ "enabled": true }), Some("--brake=on"), true),
    ] {
        let daemon_set = object(&rendered(&json!({ "brake": brake })), "DaemonSet");
        let container = &daemon_set["spec"]["template"]["spec"]["containers"][0];
        let args = container["args"].as_array().expect("arguments");
        let args = args.iter().filter_map(Value::as_str);
        let mut given = args.filter(|text| text.starts_with("--brake"));
        assert_eq!(given.next(), argument);
        let mounts = container["volumeMounts"].as_array().expect("mounts");
        let mount = |name: &str| mounts.iter().find(|mount| mount["name"] == name);
        let cgroups = mount("cgroup").expect("cgroups");
        assert_eq!(cgroups["readOnly"], !is_writable, "{brake}");
        assert_eq!(mount("leases").is_some(), is_writable, "{brake}");
    }
}

/// No role, no binding and no token: nothing to be had at the API server.
#[test]
fn there_is_no_right_at_the_api_server() {
    for object in objects(&rendered(&json!({ "networkPolicy": { "enabled": true } }))) {
        let kind = object["kind"].as_str().expect("a kind");
        assert!(!kind.contains("Role"), "{kind}");
        if kind == "NetworkPolicy" {
            assert_eq!(object["spec"]["egress"], json!([]));
        }
    }
}

#[test]
fn events_take_the_right_to_write_them_and_no_other() {
    let events = rendered(&json!({ "kubernetesEvents": { "enabled": true } }));
    let role = object(&events, "ClusterRole");
    assert_eq!(
        role["rules"],
        json!([{
            "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"],
        }])
    );
    let binding = object(&events, "ClusterRoleBinding");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    let pod = &object(&events, "DaemonSet")["spec"]["template"]["spec"];
    let account = &binding["subjects"][0];
    assert_eq!(account["name"], pod["serviceAccountName"]);
    assert_eq!(account["namespace"], "pidwatch");
    assert_eq!(pod["automountServiceAccountToken"], true);
    let args = pod["containers"][0]["args"].as_array().expect("arguments");
    assert!(args.contains(&json!("--kubernetes-events")), "{args:?}");
    let network = object(&rendered(&everything()), "NetworkPolicy");
    let ports = network["spec"]["egress"][0]["ports"].as_array();
    assert_eq!(ports.map(Vec::len), Some(2));
}

#[test]
fn the_operator_gets_the_rules_as_they_are_with_their_runbooks() {
    let rules = yaml("deploy/chart/files/alerts.yaml");
    let without = json!({ "prometheusRule": { "enabled": true } });
    let object_without = object(&rendered(&without), "PrometheusRule");
    assert_eq!(object_without["spec"]["groups"], rules["groups"]);
    let object = object(&rendered(&everything()), "PrometheusRule");
    let mut groups = object["spec"]["groups"].clone();
    for group in groups.as_array_mut().expect("groups") {
        for rule in group["rules"].as_array_mut().expect("rules") {
            let name = rule["alert"].as_str().expect("a name").to_lowercase();
            let annotations = rule["annotations"].as_object_mut().expect("annotations");
            let url = annotations.remove("runbook_url").expect("a runbook");
            assert_eq!(url, format!("https://docs.example/alerts.md#{name}"));
        }
    }
    assert_eq!(groups, rules["groups"]);
}

#[test]
fn grafana_gets_the_dashboard_as_it_is() {
    let object = object(&rendered(&everything()), "ConfigMap");
    let all = objects(&rendered(&everything()));
    let dashboard = all
        .iter()
        .find_map(|object| object["data"]["pidwatch.json"].as_str())
        .expect("a dashboard");
    let inside: Value = serde_json::from_str(dashboard).expect("JSON");
    assert_eq!(inside, yaml("deploy/chart/files/dashboard.json"));
    assert_eq!(object["data"]["pidwatch.toml"], "window = \"2s\"\n");
}

/// Otherwise the owner's namespace, pod and container would be taken for the agent's.
#[test]
fn scraped_series_keep_their_own_labels() {
    let monitor = object(&rendered(&everything()), "PodMonitor");
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["honorLabels"], true);
    assert_eq!(endpoint["relabelings"][1]["targetLabel"], "instance");
}
