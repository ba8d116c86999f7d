//! Every query of rules and dashboard asks for metrics and labels that exist.
//!
//! A query is parsed, and the labels of its result are worked out from those of its metrics, as
//! Prometheus does it: a name that is not there would silently give nothing.

use std::collections::BTreeSet;

use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::token::{T_LAND, T_LOR, T_LUNLESS};
use promql_parser::parser::{
    self, BinaryExpr, Expr, LabelModifier, VectorMatchCardinality, VectorSelector,
};
use serde_json::Value;

use crate::{alerts, metrics, tools};

const DASHBOARD: &str = "deploy/chart/files/dashboard.json";

/// The values of labels that are words of pidwatch's own.
const WORDS: &[(&str, &[&str])] = &[
    (
        "state",
        &["ok", "growing", "leaking", "storm", "saturated", "gone"],
    ),
    ("kind", &["process", "thread"]),
];

type Labels = BTreeSet<String>;

/// The labels of a query's result, or what is wrong with the query.
fn result_of(query: &str) -> Result<Labels, String> {
    labels_of(&parser::parse(query)?).map(Option::unwrap_or_default)
}

/// `None` for a scalar.
fn labels_of(expr: &Expr) -> Result<Option<Labels>, String> {
    Ok(match expr {
        Expr::VectorSelector(selector) => Some(selected(selector)?),
        Expr::MatrixSelector(matrix) => Some(selected(&matrix.vs)?),
        Expr::Paren(inner) => labels_of(&inner.expr)?,
        Expr::Unary(inner) => labels_of(&inner.expr)?,
        Expr::Subquery(inner) => labels_of(&inner.expr)?,
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => None,
        Expr::Aggregate(aggregate) => {
            let inner = labels_of(&aggregate.expr)?.unwrap_or_default();
            let keeps_all = ["topk", "bottomk"].contains(&&*aggregate.op.to_string());
            match &aggregate.modifier {
                Some(LabelModifier::Include(by)) => {
                    let by = known(&by.labels, &inner)?;
                    Some(if keeps_all { inner } else { by })
                }
                Some(LabelModifier::Exclude(without)) => {
                    let without = known(&without.labels, &inner)?;
                    Some(inner.difference(&without).cloned().collect())
                }
                None => Some(if keeps_all { inner } else { Labels::new() }),
            }
        }
        Expr::Binary(binary) => combined(binary)?,
        Expr::Call(call) => {
            let mut labels = None;
            for argument in &call.args.args {
                labels = labels.or(labels_of(argument)?);
            }
            match call.func.name {
                "absent" => Some(Labels::new()),
                "rate" | "increase" | "delta" | "deriv" | "max_over_time" | "min_over_time"
                | "avg_over_time" | "clamp_min" | "clamp_max" | "round" | "sort_desc" => labels,
                "vector" => Some(Labels::new()),
                other => return Err(format!("{other}: not known to this test")),
            }
        }
        Expr::Extension(_) => return Err("an extension".into()),
    })
}

fn selected(selector: &VectorSelector) -> Result<Labels, String> {
    let name = selector
        .name
        .as_deref()
        .ok_or("a selector without a name")?;
    let labels = metrics::labels(name).ok_or_else(|| format!("there is no metric {name}"))?;
    let labels: Labels = labels.into_iter().collect();
    let Matchers {
        matchers,
        or_matchers,
    } = &selector.matchers;
    for matcher in matchers.iter().chain(or_matchers.iter().flatten()) {
        known(std::slice::from_ref(&matcher.name), &labels)?;
        let words = WORDS.iter().find(|(label, _)| *label == matcher.name);
        let is_regex = matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_));
        for value in matcher.value.split('|') {
            if words.is_some_and(|(_, words)| !words.contains(&value)) {
                return Err(format!("{} is never {value}", matcher.name));
            }
            if !is_regex && value.contains('$') {
                return Err(format!("{}: a variable may be many", matcher.name));
            }
        }
    }
    Ok(labels)
}

fn combined(binary: &BinaryExpr) -> Result<Option<Labels>, String> {
    let (lhs, rhs) = match (labels_of(&binary.lhs)?, labels_of(&binary.rhs)?) {
        (Some(lhs), Some(rhs)) => (lhs, rhs),
        (one, other) => return Ok(one.or(other)),
    };
    let modifier = binary.modifier.as_ref();
    let matching = modifier.and_then(|modifier| modifier.matching.as_ref());
    if let Some(matching) = matching {
        known(&matching.labels().labels, &lhs)?;
        known(&matching.labels().labels, &rhs)?;
    }
    let op = binary.op.id();
    if op == T_LOR {
        return Ok(Some(lhs.union(&rhs).cloned().collect()));
    }
    if matching.is_none() && lhs != rhs {
        return Err(format!("{lhs:?} never matches {rhs:?}"));
    }
    if op == T_LAND || op == T_LUNLESS {
        return Ok(Some(lhs));
    }
    Ok(Some(match modifier.map(|modifier| &modifier.card) {
        Some(VectorMatchCardinality::ManyToOne(more)) => {
            let more = known(&more.labels, &rhs)?;
            lhs.union(&more).cloned().collect()
        }
        Some(VectorMatchCardinality::OneToMany(more)) => {
            let more = known(&more.labels, &lhs)?;
            rhs.union(&more).cloned().collect()
        }
        _ => match matching {
            Some(LabelModifier::Include(on)) => on.labels.iter().cloned().collect(),
            Some(LabelModifier::Exclude(ignoring)) => {
                let ignoring: Labels = ignoring.labels.iter().cloned().collect();
                lhs.difference(&ignoring).cloned().collect()
            }
            None => lhs,
        },
    }))
}

/// The names as a set, if all are among `labels`.
fn known(names: &[String], labels: &Labels) -> Result<Labels, String> {
    match names.iter().find(|name| !labels.contains(*name)) {
        Some(name) => Err(format!("there is no label {name} in {labels:?}")),
        None => Ok(names.iter().cloned().collect()),
    }
}

/// The words that follow `before` in a text, as far as they are names.
fn names_after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let ends = |rest: &'a str| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
    };
    text.split(before).skip(1).filter_map(ends).collect()
}

#[test]
fn queries_with_names_that_do_not_exist_are_found() {
    for query in [
        "pidwatch_task",
        "pidwatch_container_tasks{podname=~\"a\"}",
        "pidwatch_node_limit{pod=\"a\"}",
        "sum by (reason) (pidwatch_container_tasks)",
        "pidwatch_container_state{state=\"leak\"}",
        "pidwatch_container_tasks / pidwatch_node_tasks",
        "pidwatch_container_tasks / on (limit) group_left () pidwatch_node_limit",
        "sum(pidwatch_node_tasks",
        "pidwatch_node_tasks{instance=\"$instance\"}",
    ] {
        assert!(result_of(query).is_err(), "{query}");
    }
    let query = "max by (instance) (pidwatch_node_limit_usage / pidwatch_node_limit) > 0.8";
    assert_eq!(result_of(query), Ok(Labels::from(["instance".to_owned()])));
}

#[test]
fn alert_rules_ask_for_what_exists() {
    for rule in alerts::rules() {
        let query = rule["expr"].as_str().expect("an expression");
        let labels = result_of(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let annotations = rule["annotations"].as_object().expect("annotations");
        for text in annotations.values().filter_map(Value::as_str) {
            for name in names_after(text, "$labels.") {
                assert!(labels.contains(name), "{}: no label {name}", rule["alert"]);
            }
        }
    }
}

/// All objects within a value.
fn objects<'a>(value: &'a Value, found: &mut Vec<&'a serde_json::Map<String, Value>>) {
    match value {
        Value::Object(object) => {
            found.push(object);
            object.values().for_each(|value| objects(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| objects(value, found)),
        _ => {}
    }
}

/// A query as Prometheus gets it: Grafana fills its own variables in.
fn filled(query: &str) -> String {
    query
        .replace("$__rate_interval", "5m")
        .replace("$__range", "1h")
}

#[test]
fn the_dashboard_asks_for_what_exists() {
    let dashboard = tools::yaml(DASHBOARD);
    let mut all = Vec::new();
    objects(&dashboard, &mut all);
    let mut asked = 0;
    for target in all.iter().filter(|object| object.contains_key("expr")) {
        let query = filled(target["expr"].as_str().expect("an expression"));
        let labels = result_of(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let legend = target.get("legendFormat").and_then(Value::as_str);
        for name in names_after(legend.unwrap_or_default(), "{{") {
            assert!(labels.contains(name), "{query}: legend {name}");
        }
        asked += 1;
    }
    assert!(asked >= 20, "{asked} queries");
}

#[test]
fn the_dashboard_s_variables_exist_and_are_those_that_queries_use() {
    let dashboard = tools::yaml(DASHBOARD);
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let mut names = vec!["__rate_interval", "__range", "__all"];
    for variable in variables {
        names.push(variable["name"].as_str().expect("a name"));
        if variable["type"] != "query" {
            continue;
        }
        let query = variable["query"]["query"].as_str().expect("a query");
        let inside = query.strip_prefix("label_values(").expect("label_values");
        let (series, label) = inside
            .strip_suffix(')')
            .and_then(|inside| inside.rsplit_once(", "))
            .expect("series and label");
        let labels = result_of(series).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(labels.contains(label), "{query}: no label {label}");
    }
    let text = tools::text(DASHBOARD).replace("${", "$");
    for name in names_after(&text, "$") {
        assert!(names.contains(&name), "no variable {name}");
    }
}

/// Panels that lie on each other would hide one another; ids must be each one's own.
#[test]
fn the_dashboard_s_panels_have_each_their_place() {
    let dashboard = tools::yaml(DASHBOARD);
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        let number = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
        assert!(number("x") + number("w") <= 24, "{title} is too wide");
        for x in number("x")..number("x") + number("w") {
            for y in number("y")..number("y") + number("h") {
                assert!(taken.insert((x, y)), "{title} lies on another");
            }
        }
        assert!(ids.insert(panel["id"].as_u64()), "{title}: id");
        if panel["type"] != "row" {
            assert!(panel["description"].is_string(), "{title}: no description");
        }
    }
}
