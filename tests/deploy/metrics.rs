//! The agent's metrics, as users may rely on them: names and labels, from docs/metrics.md.

use crate::tools;

/// What tells owners apart: the label `owner` of docs/metrics.md.
const OWNER: &[&str] = &["id", "namespace", "pod", "container", "unit"];

/// The table of docs/metrics.md, which a test of the program holds to what it serves.
const TABLE: &str = "docs/metrics.md";

/// What Prometheus puts on every series.
const TARGET: &[&str] = &["instance", "job"];

/// The labels that a metric's series have in Prometheus; `None` when there is no such metric.
pub fn labels(metric: &str) -> Option<Vec<String>> {
    let own = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect();
    // Prometheus' own.
    if metric == "up" {
        return Some(own(TARGET));
    }
    let table = tools::text(TABLE);
    let row = |line: &str| -> Option<Vec<String>> {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        (name == metric).then(|| cells.get(3).map(|cell| of_cell(cell)))?
    };
    let labels = table.lines().find_map(row)?;
    Some([own(TARGET), labels].concat())
}

/// ``owner, `kind` `` or `-`.
fn of_cell(cell: &str) -> Vec<String> {
    let mut labels = Vec::new();
    for label in cell.split(", ").filter(|label| *label != "-") {
        if label == "owner" {
            labels.extend(OWNER.iter().map(|&label| label.to_owned()));
        } else {
            labels.push(label.trim_matches('`').to_owned());
        }
    }
    labels
}

#[test]
fn the_table_of_metrics_is_read_as_it_is_meant() {
    let labels = |metric| labels(metric).unwrap_or_else(|| panic!("no {metric}"));
    assert_eq!(labels("pidwatch_node_tasks"), TARGET);
    let owner = [TARGET, OWNER].concat();
    assert_eq!(labels("pidwatch_container_tasks"), owner);
    let failures = [&owner[..], &["reason"]].concat();
    assert_eq!(labels("pidwatch_clone_failures_total"), failures);
}
