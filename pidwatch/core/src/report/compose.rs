//! What stands where in a report for people, and under which heading.

use jiff::Timestamp;

use super::{
    document::{Block, Chart, ChartMark, DocumentRow, Figure, Happening, Table, Tone},
    model::{Case, CaseSeverity, Derived, EntryKind, OwnerLine, OwnerRole, Report, Symptom, When},
    story::limit_name,
    words::{
        Clock, Words, code, count, lasting, number, pace, percent, seconds, shown, span, words,
    },
};
use crate::{
    incident::What,
    limits::{Basis, Reason},
    stream::Word,
};

/// The whole report.
pub fn document(report: &Report) -> Vec<Block> {
    let clock = Clock::new(report.from, report.to);
    let mut blocks = Vec::new();
    title(report, &mut blocks);
    let several = report.incidents.len() > 1;
    if several {
        blocks.push(Block::Lead(several_in_words(report)));
        blocks.push(Block::Table(index(report, clock)));
    }
    for (i, case) in report.incidents.iter().enumerate() {
        if several {
            let mut heading: Words = format!("{}. ", i + 1).into();
            heading.append(headline(case));
            blocks.push(Block::Heading(2, heading));
            blocks.push(badge(case.severity));
        }
        let earlier = &report.incidents[..i];
        chapter(report, case, clock, &mut blocks);
        // The same rules need not be read again.
        if earlier
            .iter()
            .any(|other| other.alert.rule == case.alert.rule)
        {
            blocks.push(Block::Text("The rules are those above.".into()));
        } else {
            let rule = case.alert.rule.trim_end().to_owned();
            blocks.push(Block::Code("yaml", rule));
        }
    }
    if report.incidents.is_empty() {
        blocks.push(Block::Lead(report.summary.clone()));
        blocks.extend(node_chart(report));
    }
    around(report, &mut blocks);
    trust(report, &mut blocks);
    blocks
}

fn badge(severity: CaseSeverity) -> Block {
    let tone = match severity {
        CaseSeverity::Outage => Tone::Bad,
        CaseSeverity::Contained => Tone::Warning,
        CaseSeverity::NearMiss => Tone::Neutral,
    };
    Block::Badge(tone, severity.label().to_owned())
}

/// What an incident is, in a line.
fn headline(case: &Case) -> Words {
    let used = match (case.severity, case.limit.ratio) {
        (CaseSeverity::NearMiss, Some(ratio)) => format!(" {} used", percent(ratio)),
        (CaseSeverity::NearMiss, None) => " running out".to_owned(),
        _ => " used up".to_owned(),
    };
    let mut words = limit_name(&case.limit);
    words.push(used);
    if let Some(culprit) = case.culprits.first() {
        words.push(" by ");
        words.push(code(&culprit.name));
        if case.culprits.len() > 1 {
            words.push(format!(" and {} more", case.culprits.len() - 1));
        }
    }
    words
}

fn title(report: &Report, blocks: &mut Vec<Block>) {
    match &report.incidents[..] {
        [] => {
            blocks.push(Block::Heading(
                1,
                words!["No incident on ", code(&report.node)],
            ));
            blocks.push(Block::Badge(Tone::Good, "Calm".to_owned()));
        }
        [one] => {
            blocks.push(Block::Heading(1, headline(one)));
            blocks.push(badge(one.severity));
        }
        several => {
            let text = words![
                format!("{} incidents on ", several.len()),
                code(&report.node)
            ];
            blocks.push(Block::Heading(1, text));
            blocks.push(badge(several[0].severity));
        }
    }
    let mut about = words!["Node ", code(&report.node), ", "];
    if let Some(kernel) = &report.kernel {
        about.append(words!["kernel ", code(kernel), ", "]);
    }
    about.push(span(report.from, report.to));
    if let Some(version) = &report.pidwatch {
        about.push(format!(", pidwatch {}", shown(version)));
    }
    blocks.push(Block::Note(about));
}

fn several_in_words(report: &Report) -> Words {
    // Each has its own paragraph below.
    let worst = &report.incidents[0].summary;
    let all = &report.summary.0;
    Words(all[..all.len().saturating_sub(worst.0.len())].to_vec())
}

fn index(report: &Report, clock: Clock) -> Table {
    let rows = report.incidents.iter().enumerate().map(|(i, case)| {
        let first = case.moments.first_sign.or(case.moments.first_failure);
        let mut what: Words = format!("{}. ", i + 1).into();
        what.append(headline(case));
        DocumentRow {
            cells: vec![
                what,
                case.severity.label().into(),
                first
                    .map_or_else(String::new, |time| clock.show(time))
                    .into(),
                number(case.failures).into(),
                case.victims.len().to_string().into(),
            ],
            tone: None,
            curve: None,
        }
    });
    Table {
        head: vec![
            ("Incident", false),
            ("Severity", false),
            ("Began", false),
            ("Refused", true),
            ("Victims", true),
        ],
        rows: rows.collect(),
    }
}

fn chapter(report: &Report, case: &Case, clock: Clock, blocks: &mut Vec<Block>) {
    let level = if report.incidents.len() > 1 { 3 } else { 2 };
    let section = |text: &'static str| Block::Heading(level, text.into());
    let mut add = |block| blocks.push(block);
    add(Block::Lead(case.summary.clone()));
    add(Block::Figures(figures(case)));
    add(section("Impact and timeline"));
    add(Block::Chart(Box::new(chart(report, case))));
    add(Block::Timeline(timeline(case, clock)));
    add(section("Symptoms"));
    if case.symptoms.is_empty() {
        add(Block::Text("Nothing was refused.".into()));
    } else {
        add(Block::Table(symptoms(&case.symptoms)));
    }
    add(section("Root cause"));
    add(Block::Text(case.cause.clone()));
    if case.culprits.len() > 1 {
        add(Block::Table(culprits(case)));
    }
    add(section("Why it was not stopped"));
    add(Block::List(
        case.findings
            .iter()
            .map(|finding| finding.text.clone())
            .collect(),
    ));
    for (when, heading) in [
        (When::Now, "What to do now"),
        (When::ToStay, "What to change"),
    ] {
        let actions: Vec<_> = case
            .actions
            .iter()
            .filter(|action| action.when == when)
            .collect();
        if actions.is_empty() {
            continue;
        }
        let heading = match when {
            When::Now if !case.open => "If it comes back",
            _ => heading,
        };
        add(section(heading));
        for action in actions {
            let mut text = bold(&action.title);
            text.push(". ");
            text.append(action.why.clone());
            add(Block::Text(text));
            if !action.commands.is_empty() {
                add(Block::Code("sh", action.commands.join("\n")));
            }
            if let Some(config) = &action.config {
                add(Block::Code("yaml", config.trim_end().to_owned()));
            }
        }
    }
    add(section("An alert that would have caught it"));
    add(Block::Text(case.alert.text.clone()));
}

/// The plain parts of some words made to matter.
fn bold(words: &Words) -> Words {
    use super::words::Span;
    let bold = |span: &Span| match span {
        Span::Plain(text) => Span::Strong(text.clone()),
        other => other.clone(),
    };
    Words(words.0.iter().map(bold).collect())
}

fn figures(case: &Case) -> Vec<Figure> {
    let mut figures = vec![Figure {
        label: "Requests refused",
        value: number(case.failures),
        note: match case.durations.failing_s.filter(|long| *long >= 0.5) {
            Some(long) => format!("within {}", lasting(long)),
            None => String::new(),
        },
        tone: if case.failures > 0 {
            Tone::Bad
        } else {
            Tone::Good
        },
    }];
    let others: u64 = case.victims.iter().map(|victim| victim.failures).sum();
    figures.push(Figure {
        label: "Victims",
        value: case.victims.len().to_string(),
        note: match (case.victims.len(), others) {
            (0, _) => "nobody but the cause".to_owned(),
            (_, n) => format!("{} of theirs refused", number(n)),
        },
        tone: if case.victims.is_empty() {
            Tone::Good
        } else {
            Tone::Bad
        },
    });
    if let Some(warning) = case.durations.warning_s {
        figures.push(Figure {
            label: "Warning",
            value: lasting(warning.abs()),
            note: if warning >= 0.0 {
                "from flag to first refusal".to_owned()
            } else {
                "flagged after the first refusal".to_owned()
            },
            tone: if warning >= 0.0 {
                Tone::Good
            } else {
                Tone::Warning
            },
        });
    } else if let Some(to_flag) = case.durations.to_flag_s {
        figures.push(Figure {
            label: "Flagged",
            value: lasting(to_flag),
            note: "after it began".to_owned(),
            tone: Tone::Good,
        });
    }
    if let (Some(ratio), Some(value)) = (case.limit.ratio, case.limit.value) {
        figures.push(Figure {
            label: "Limit used",
            value: percent(ratio),
            note: format!("at most, of {}", number(value)),
            tone: if ratio >= 0.95 {
                Tone::Bad
            } else {
                Tone::Warning
            },
        });
    }
    let growth: f64 = case
        .culprits
        .iter()
        .filter_map(|culprit| culprit.growth_per_s)
        .sum();
    if growth > 0.0 {
        let (value, unit) = match growth {
            g if g >= 0.95 => (format!("+{g:.0}"), "tasks a second"),
            g if g * 60.0 >= 0.95 => (format!("+{:.1}", g * 60.0), "tasks a minute"),
            g => (format!("+{:.1}", g * 3600.0), "tasks an hour"),
        };
        figures.push(Figure {
            label: "Growth",
            value,
            note: unit.to_owned(),
            tone: Tone::Warning,
        });
    }
    figures
}

fn timeline(case: &Case, clock: Clock) -> Vec<Happening> {
    let mut happenings = Vec::new();
    for entry in &case.timeline {
        let (what, tone) = match &entry.what {
            EntryKind::Incident(Word::Known(What::FirstSign)) => ("First sign", Tone::Neutral),
            EntryKind::Incident(Word::Known(What::Flagged)) => ("Flagged", Tone::Warning),
            EntryKind::Incident(Word::Known(What::FirstFailure)) => ("First refusal", Tone::Bad),
            EntryKind::Incident(Word::Known(What::Victim)) => ("Victim", Tone::Bad),
            EntryKind::Report(Derived::Peak) => ("Peak", Tone::Neutral),
            EntryKind::Report(Derived::LastFailure) => ("Last refusal", Tone::Bad),
            EntryKind::Report(Derived::Eased) => ("Growth ended", Tone::Good),
            EntryKind::Report(Derived::Raised) => ("Limit changed", Tone::Neutral),
            EntryKind::Report(Derived::Brake) => ("Brake", Tone::Good),
            EntryKind::Incident(Word::Known(What::Restarted)) => ("Restarted", Tone::Neutral),
            EntryKind::Incident(Word::Known(What::Closed)) => ("Closed", Tone::Good),
            EntryKind::Incident(Word::Later(_)) => ("", Tone::Neutral),
        };
        happenings.push(Happening {
            time: clock.show(entry.time),
            after: format!("+{}", lasting(entry.after_s)),
            what,
            text: entry.text.clone(),
            tone,
        });
    }
    happenings
}

fn chart(report: &Report, case: &Case) -> Chart {
    let zero = seconds(report.from);
    let at = |time: Timestamp| seconds(time) - zero;
    let moments = &case.moments;
    let marks = [
        (moments.first_sign, "first sign", Tone::Neutral),
        (moments.flagged, "flagged", Tone::Warning),
        (moments.first_failure, "first refusal", Tone::Bad),
        (moments.eased, "growth ended", Tone::Good),
    ];
    let marks = marks.into_iter().filter_map(|(time, label, tone)| {
        Some(ChartMark {
            at: at(time?),
            label,
            tone,
        })
    });
    let name = match &case.limit.cgroup {
        Some(_) => format!("{} of its group", shown(&case.limit.name)),
        None => shown(&case.limit.name),
    };
    let culprits = case.culprits.iter().take(4);
    Chart {
        title: if case.culprits.is_empty() {
            "Use of the limit".to_owned()
        } else {
            "Tasks of the culprit against the limit".to_owned()
        },
        zero_s: zero,
        view: case.view,
        areas: culprits
            .map(|c| (shown(&c.name), c.tasks.clone()))
            .collect(),
        usage: (!case.usage.0.is_empty())
            .then(|| ("used of the limit".to_owned(), case.usage.clone())),
        limit: (!case.value.0.is_empty()).then(|| (name, case.value.clone())),
        marks: marks.collect(),
        refused: case.refused.clone(),
        failing: moments
            .first_failure
            .map(|first| (at(first), at(moments.last_failure.unwrap_or(first)))),
    }
}

fn node_chart(report: &Report) -> Option<Block> {
    let end = seconds(report.to) - seconds(report.from);
    if report.tasks.0.len() < 2 || end <= 0.0 {
        return None;
    }
    Some(Block::Chart(Box::new(Chart {
        title: "Tasks of the node".to_owned(),
        zero_s: seconds(report.from),
        view: (0.0, end),
        areas: vec![("the node's tasks".to_owned(), report.tasks.clone())],
        ..Chart::default()
    })))
}

fn symptoms(symptoms: &[Symptom]) -> Table {
    let rows = symptoms.iter().map(|symptom| {
        let or = |text: &Option<String>, none: &'static str| match text {
            Some(text) => words![code(text)],
            None => none.into(),
        };
        let mut caller = or(&symptom.comm, "not looked at");
        if symptom.exec_probe {
            caller.push(" (exec probe)");
        }
        let mut reason = match &symptom.reason {
            Some(reason) => words![code(reason.name(Reason::name))],
            None => "".into(),
        };
        if symptom.evidence == Some(Basis::Inferred.into()) {
            reason.push(" (inferred)");
        }
        let (what, tone) = if symptom.culprit {
            ("culprit", Tone::Warning)
        } else {
            ("victim", Tone::Bad)
        };
        DocumentRow {
            cells: vec![
                code(&symptom.who).into(),
                what.into(),
                caller,
                or(&symptom.syscall, ""),
                or(&symptom.errno.as_ref().map(Word::to_string), ""),
                reason,
                number(symptom.count).into(),
            ],
            tone: Some(tone),
            curve: None,
        }
    });
    Table {
        head: vec![
            ("Who", false),
            ("Part", false),
            ("Caller", false),
            ("Call", false),
            ("Error", false),
            ("Reason", false),
            ("Refused", true),
        ],
        rows: rows.collect(),
    }
}

fn culprits(case: &Case) -> Table {
    let rows = case.culprits.iter().map(|culprit| DocumentRow {
        cells: vec![
            code(&culprit.name).into(),
            percent(culprit.share).into(),
            culprit.growth_per_s.map_or_else(String::new, pace).into(),
            number(culprit.tasks_peak).into(),
        ],
        tone: None,
        curve: Some(culprit.tasks.clone()),
    });
    Table {
        head: vec![
            ("Culprit", false),
            ("Share", true),
            ("Growth", true),
            ("Tasks at most", true),
        ],
        rows: rows.collect(),
    }
}

/// The node around it: limits, owners, failures of no incident.
fn around(report: &Report, blocks: &mut Vec<Block>) {
    if !report.limits.is_empty() {
        blocks.push(Block::Heading(2, "Limits of the node".into()));
        let rows = report.limits.iter().map(|limit| {
            let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), number);
            let headroom = limit
                .value
                .zip(limit.peak)
                .map(|(v, p)| v.saturating_sub(p));
            DocumentRow {
                cells: vec![
                    code(&limit.name).into(),
                    number(limit.value).into(),
                    number(limit.peak).into(),
                    limit.ratio.map_or_else(String::new, percent).into(),
                    number(headroom).into(),
                ],
                tone: None,
                curve: None,
            }
        });
        blocks.push(Block::Table(Table {
            head: vec![
                ("Limit", false),
                ("Value", true),
                ("Used at most", true),
                ("Share", true),
                ("Headroom", true),
            ],
            rows: rows.collect(),
        }));
    }
    if !report.owners.is_empty() {
        blocks.push(Block::Heading(2, "Who had the tasks".into()));
        blocks.push(Block::Table(owners(&report.owners)));
    }
    if !report.findings.is_empty() {
        blocks.push(Block::Heading(2, "No limit".into()));
        let findings = report.findings.iter();
        blocks.push(Block::List(findings.map(|of| of.text.clone()).collect()));
    }
    if !report.other_failures.is_empty() {
        blocks.push(Block::Heading(2, "Refused outside of incidents".into()));
        let mut table = symptoms(&report.other_failures);
        // Nobody is anything there.
        table.head.remove(1);
        for row in &mut table.rows {
            row.cells.remove(1);
            row.tone = None;
        }
        blocks.push(Block::Table(table));
    }
}

fn owners(owners: &[OwnerLine]) -> Table {
    let rows = owners.iter().map(|owner| {
        let role = owner.role;
        DocumentRow {
            cells: vec![
                code(&owner.name).into(),
                role.map(OwnerRole::name)
                    .map(shown)
                    .unwrap_or_default()
                    .into(),
                number(owner.tasks_peak).into(),
                number(owner.created).into(),
                number(owner.failures).into(),
            ],
            tone: match role {
                Some(OwnerRole::Culprit) => Some(Tone::Warning),
                Some(OwnerRole::Victim) => Some(Tone::Bad),
                _ => None,
            },
            curve: Some(owner.tasks.clone()),
        }
    });
    Table {
        head: vec![
            ("Owner", false),
            ("Part", false),
            ("Tasks at most", true),
            ("Created", true),
            ("Refused", true),
        ],
        rows: rows.collect(),
    }
}

fn trust(report: &Report, blocks: &mut Vec<Block>) {
    let trust = &report.trust;
    blocks.push(Block::Heading(2, "How far to trust this".into()));
    let lines = count(trust.lines, "line");
    if trust.complete {
        blocks.push(Block::Text(
            format!("Nothing was lost: {lines} read, every count is exact.").into(),
        ));
        return;
    }
    if trust.lost.is_empty() {
        blocks.push(Block::Text(
            format!("No event was lost ({lines} read). To know:").into(),
        ));
    } else {
        blocks.push(Block::Text(
            format!("{lines} read. Of what happened, this was lost:").into(),
        ));
        let rows = trust.lost.iter().map(|lost| DocumentRow {
            cells: vec![
                code(&lost.place).into(),
                number(lost.count).into(),
                lost.meaning.into(),
            ],
            ..DocumentRow::default()
        });
        blocks.push(Block::Table(Table {
            head: vec![("Where", false), ("Count", true), ("What it means", false)],
            rows: rows.collect(),
        }));
    }
    if !trust.notes.is_empty() {
        blocks.push(Block::List(trust.notes.clone()));
    }
}
