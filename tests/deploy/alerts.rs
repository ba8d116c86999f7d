//! The alert rules: Prometheus takes them, they say what they should, and each has its runbook.

use std::process::Command;

use serde_json::Value;

use crate::tools::{output, path, text, yaml};

const RULES: &str = "deploy/chart/files/alerts.yaml";

/// All rules of the file.
pub fn rules() -> Vec<Value> {
    let groups = yaml(RULES);
    let groups = groups["groups"].as_array().expect("groups");
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules").clone());
    rules.collect()
}

fn promtool(arguments: &[&str]) -> String {
    let hint = "it comes with the package prometheus";
    output(Command::new("promtool").args(arguments), hint)
}

#[test]
fn prometheus_takes_the_rules() {
    let told = promtool(&["check", "rules", &path(RULES).display().to_string()]);
    let found = format!("{} rules found", rules().len());
    assert!(told.contains(&found), "{told}");
}

#[test]
fn rules_say_what_they_should_of_known_stories() {
    let tests = path("deploy/alerts/tests.yaml");
    promtool(&["test", "rules", &tests.display().to_string()]);
}

#[test]
fn every_alert_is_tried_with_a_story() {
    let tests = text("deploy/alerts/tests.yaml");
    for rule in rules() {
        let name = rule["alert"].as_str().expect("a name");
        let fires = tests
            .split("alertname: ")
            .filter(|test| test.split(['\n', ',']).next() == Some(name))
            .any(|test| test.contains("exp_labels") || test.contains("exp_alerts: *"));
        assert!(fires, "{name} fires in no test");
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let docs = text("docs/alerts.md");
    let sections: Vec<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let mut names: Vec<String> = Vec::new();
    for rule in rules() {
        let name = rule["alert"].as_str().expect("a name").to_owned();
        let severity = rule["labels"]["severity"].as_str().expect("a severity");
        let row = format!("| [{name}](#{}) | {severity} |", name.to_lowercase());
        assert!(docs.contains(&row), "docs/alerts.md has no row {row}");
        for annotation in ["summary", "description"] {
            let text = rule["annotations"][annotation].as_str();
            assert!(text.is_some_and(|text| !text.is_empty()), "{name}");
        }
        names.push(name);
    }
    let mut sections: Vec<String> = sections.into_iter().map(str::to_owned).collect();
    names.sort();
    sections.sort();
    assert_eq!(names, sections);
}

/// What a report proposes is what is deployed, so that nobody has two alerts of one name.
#[test]
fn rules_that_reports_propose_have_the_deployed_names() {
    let example = text("docs/report-example.md");
    let deployed = rules();
    let proposed: Vec<&str> = example
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(!proposed.is_empty());
    for name in proposed {
        assert!(deployed.iter().any(|rule| rule["alert"] == name), "{name}");
    }
}
