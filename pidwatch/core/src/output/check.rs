//! The page of `check`, for people and for programs.

use std::{
    cmp::Ordering,
    fmt::Write as _,
    io::{self, Write},
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::{
    escape,
    limits::{Finding, Row, Scope, Severity, Survey, survey::CgroupLimits, table::Chains},
};

/// Cells of a usage bar.
const BAR: usize = 10;
/// Limits of cgroups and users that are shown to people, the fullest first; all are in the JSON.
const SHOWN: usize = 8;
/// Cgroups shown that hold the most tasks.
const LARGEST: usize = 5;
/// Lines are broken here.
const WIDTH: usize = 78;

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub struct CheckPage<'a> {
    /// What was seen.
    pub survey: &'a Survey,
    /// The limits.
    pub rows: &'a [Row],
    /// What to change.
    pub findings: &'a [Finding],
}

/// One JSON object.
///
/// # Errors
/// Those of the writer.
pub fn json(out: &mut dyn Write, page: &CheckPage<'_>) -> io::Result<()> {
    let limits = page.rows.iter().map(LimitJson::from).collect();
    let findings = page.findings.iter().map(FindingJson::from).collect();
    let chains = Chains::of(page.survey);
    let owners = holders(page.survey)
        .into_iter()
        .map(|(tasks, cgroup)| OwnerJson {
            cgroup: escape::for_json(&cgroup.path),
            tasks,
            binding: chains
                .binding(page.rows, cgroup)
                .map(|binding| BindingJson {
                    name: binding.name,
                    scope: scope_name(&binding.scope),
                    headroom: binding.headroom,
                }),
        })
        .collect();
    let object = CheckJson {
        kernel: &page.survey.kernel,
        limits,
        owners,
        findings,
        unseen: &page.survey.unseen,
    };
    out.write_all(&escape::shown_json(serde_json::to_vec(&object)?))?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct CheckJson<'a> {
    kernel: &'a str,
    limits: Vec<LimitJson>,
    owners: Vec<OwnerJson>,
    findings: Vec<FindingJson<'a>>,
    unseen: &'a [String],
}

/// A cgroup with tasks of its own.
#[derive(Serialize)]
struct OwnerJson {
    cgroup: String,
    tasks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    binding: Option<BindingJson>,
}

#[derive(Serialize)]
struct BindingJson {
    name: &'static str,
    scope: String,
    headroom: u64,
}

fn scope_name(scope: &Scope) -> String {
    match scope {
        Scope::Node => "node".to_owned(),
        Scope::Cgroup(path) => escape::for_json(path),
        Scope::User(uid) => format!("user:{uid}"),
        Scope::PidNamespace(inum) => format!("pid_namespace:{inum}"),
        Scope::Pods => "pods".to_owned(),
    }
}

/// Cgroups with tasks of their own, the largest first.
fn holders(survey: &Survey) -> Vec<(u64, &CgroupLimits)> {
    let mut holders: Vec<_> = survey
        .cgroups
        .iter()
        .filter_map(|cgroup| Some((cgroup.own.filter(|&own| own > 0)?, cgroup)))
        .collect();
    holders.sort_by_key(|(own, _)| std::cmp::Reverse(*own));
    holders
}

#[derive(Serialize)]
struct LimitJson {
    name: &'static str,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    binding: bool,
}

impl From<&Row> for LimitJson {
    fn from(row: &Row) -> Self {
        Self {
            name: row.name,
            scope: scope_name(&row.scope),
            value: row.value,
            usage: row.usage,
            ratio: row.ratio(),
            binding: row.binding,
        }
    }
}

#[derive(Serialize)]
struct FindingJson<'a> {
    id: &'static str,
    severity: &'static str,
    object: &'a str,
    message: &'a str,
    advice: &'a str,
}

impl<'a> From<&'a Finding> for FindingJson<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            id: finding.id,
            severity: finding.severity.name(),
            object: &finding.object,
            message: &finding.message,
            advice: &finding.advice,
        }
    }
}

/// One page, read from the top.
///
/// # Errors
/// Those of the writer.
pub fn text(out: &mut dyn Write, page: &CheckPage<'_>, is_terminal: bool) -> io::Result<()> {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_utf8 = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty())
        .is_some_and(|locale| locale.to_lowercase().replace('-', "").contains("utf8"));
    let writer = PageWriter {
        colour: is_terminal && !no_colour,
        cells: if is_utf8 { ['█', '░'] } else { ['#', '.'] },
    };
    writer.page(out, page)
}

/// How full a limit is, for an order: one of 0 is as full as can be, though it has no ratio.
fn fullness(row: &Row) -> Option<f64> {
    row.ratio()
        .or_else(|| (row.value? == 0).then_some(f64::INFINITY))
}

struct PageWriter {
    colour: bool,
    cells: [char; 2],
}

impl PageWriter {
    fn page(&self, out: &mut dyn Write, page: &CheckPage<'_>) -> io::Result<()> {
        let CheckPage {
            survey,
            rows,
            findings,
        } = page;
        let layout = survey
            .layout
            .as_ref()
            .map_or("not seen", |layout| layout.kind.name());
        writeln!(out, "kernel {}, cgroups {layout}\n", survey.kernel)?;
        let heading = "LIMIT                 USED         OF   USE               HEADROOM";
        writeln!(out, "{}", self.styled(Style::new().bold(), heading))?;
        let (node, others): (Vec<&Row>, Vec<&Row>) = rows
            .iter()
            .partition(|row| matches!(row.scope, Scope::Node | Scope::Pods));
        for row in &node {
            self.row(out, row)?;
        }
        let mut fullest: Vec<&Row> = others
            .into_iter()
            .filter(|row| fullness(row).is_some())
            .collect();
        fullest.sort_by(|a, b| {
            fullness(b)
                .partial_cmp(&fullness(a))
                .unwrap_or(Ordering::Equal)
        });
        for row in fullest.iter().take(SHOWN) {
            self.row(out, row)?;
        }
        if fullest.len() > SHOWN {
            writeln!(
                out,
                "and {} more, less full (-o json has all)",
                fullest.len() - SHOWN
            )?;
        }
        self.largest(out, survey, rows)?;
        self.findings(out, findings, survey.unseen.is_empty())?;
        for text in &survey.unseen {
            writeln!(out)?;
            wrapped(out, "not seen: ", text)?;
        }
        Ok(())
    }

    fn row(&self, out: &mut dyn Write, row: &Row) -> io::Result<()> {
        let unknown = || "?".to_owned();
        let number = |n: Option<u64>| n.map_or_else(unknown, |n| n.to_string());
        let (bar, percent) = match row.ratio() {
            Some(ratio) => {
                let full = ((ratio * BAR as f64).round() as usize).min(BAR);
                let cells = (0..BAR).map(|i| self.cells[usize::from(i >= full)]);
                (cells.collect(), format!("{:>3.0} %", ratio * 100.0))
            }
            None => (" ".repeat(BAR), String::new()),
        };
        let note = match &row.scope {
            Scope::Node if row.binding => "  binds the node".to_owned(),
            Scope::Node => String::new(),
            Scope::Pods => "  each pod".to_owned(),
            Scope::User(uid) => format!("  user {uid}"),
            Scope::PidNamespace(inum) => format!("  PID namespace {inum}"),
            Scope::Cgroup(path) => format!("  {}", escape::for_terminal(path)),
        };
        // A limit that is not there and one that is not known are no numbers.
        let line = format!(
            "{:<19} {:>8}  {:>9}   {bar} {percent:<6} {:>8}{note}",
            row.name,
            number(row.usage),
            number(row.value),
            row.headroom().map_or_else(String::new, |n| n.to_string()),
        );
        let style = match fullness(row) {
            Some(ratio) if ratio >= 0.95 => {
                Style::new().bold().fg_color(Some(AnsiColor::Red.into()))
            }
            Some(ratio) if ratio >= 0.8 => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            _ => Style::new(),
        };
        writeln!(out, "{}", self.styled(style, line.trim_end()))
    }

    fn largest(&self, out: &mut dyn Write, survey: &Survey, rows: &[Row]) -> io::Result<()> {
        let holders = holders(survey);
        if holders.is_empty() {
            return Ok(());
        }
        let chains = Chains::of(survey);
        let heading = "MOST TASKS";
        writeln!(out, "\n{}", self.styled(Style::new().bold(), heading))?;
        for (own, cgroup) in holders.iter().take(LARGEST) {
            let share = match survey.node.tasks {
                Some(tasks) if tasks > 0 => {
                    format!("{:>3.0} %", *own as f64 * 100.0 / tasks as f64)
                }
                _ => String::new(),
            };
            let room = match chains.binding(rows, cgroup) {
                Some(binding) => {
                    let whose = match &binding.scope {
                        Scope::Cgroup(path) if *path != cgroup.path => {
                            format!(" of {}", escape::for_terminal(path))
                        }
                        _ => String::new(),
                    };
                    format!("{} more until {}{whose}", binding.headroom, binding.name)
                }
                None => String::new(),
            };
            let path = escape::for_terminal(&cgroup.path);
            writeln!(out, "{own:>28}   {share:<5}  {path}  {room}")?;
        }
        Ok(())
    }

    fn findings(&self, out: &mut dyn Write, findings: &[Finding], saw_all: bool) -> io::Result<()> {
        if findings.is_empty() {
            let verdict = if saw_all {
                "Nothing to change."
            } else {
                "Nothing to change in what could be seen."
            };
            return writeln!(out, "\n{verdict}");
        }
        for finding in findings {
            let colour = match finding.severity {
                Severity::Critical => AnsiColor::Red,
                Severity::Warning => AnsiColor::Yellow,
                Severity::Info => AnsiColor::Cyan,
            };
            let style = Style::new().bold().fg_color(Some(colour.into()));
            let severity = finding.severity.name().to_uppercase();
            writeln!(
                out,
                "\n{}  {}  {}",
                self.styled(style, &severity),
                finding.id,
                finding.object
            )?;
            wrapped(out, "  ", &finding.message)?;
            // Not broken: it is there to be copied.
            writeln!(out, "  fix: {}", finding.advice)?;
        }
        Ok(())
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.colour {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// Words in lines of [`WIDTH`], each with the same indent.
fn wrapped(out: &mut dyn Write, first: &str, text: &str) -> io::Result<()> {
    let mut line = first.to_owned();
    for word in text.split(' ') {
        if line.len() + word.len() >= WIDTH && line.trim() != "" && line != first {
            writeln!(out, "{}", line.trim_end())?;
            "  ".clone_into(&mut line);
        }
        let _ = write!(line, "{word} ");
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{
        find,
        survey::{
            Bound,
            tests::{cgroup, survey},
        },
        table,
    };

    fn shown(survey: &Survey) -> (String, serde_json::Value) {
        let (rows, findings) = (table(survey), find(survey));
        let page = CheckPage {
            survey,
            rows: &rows,
            findings: &findings,
        };
        let writer = PageWriter {
            colour: false,
            cells: ['#', '.'],
        };
        let (mut plain, mut object) = (Vec::new(), Vec::new());
        writer.page(&mut plain, &page).unwrap();
        json(&mut object, &page).unwrap();
        (
            String::from_utf8(plain).unwrap(),
            serde_json::from_slice(&object).unwrap(),
        )
    }

    #[test]
    fn the_page_says_what_binds_who_holds_and_what_to_do() {
        let mut seen = survey(47_000, 49_152, 1_545_000);
        seen.cgroups = vec![cgroup("/pod\x1b", 46_000, Bound::At(100_000))];
        let (page, object) = shown(&seen);
        assert!(page.contains("2152  binds the node"), "{page}");
        assert!(
            page.contains("46000    98 %  /pod\\u{1b}  2152 more until kernel.pid_max"),
            "{page}"
        );
        assert!(
            page.contains("CRITICAL  node-limit-usage  kernel.pid_max"),
            "{page}"
        );
        let limit = &object["limits"][0];
        assert_eq!(limit["name"], "kernel.pid_max");
        assert_eq!(
            (limit["value"].as_u64(), limit["usage"].as_u64()),
            (Some(49_152), Some(47_000))
        );
        assert_eq!(limit["binding"], true);
        assert_eq!(object["findings"][0]["severity"], "critical");
    }

    #[test]
    fn a_limit_of_nothing_is_the_fullest() {
        let mut seen = survey(300, 49_152, 1_545_000);
        seen.cgroups = (0..20)
            .map(|n| cgroup(&format!("/full{n}"), 10, Bound::At(10)))
            .collect();
        seen.cgroups.push(cgroup("/zero", 1, Bound::At(0)));
        let (page, object) = shown(&seen);
        let mut limits = page.lines().filter(|line| line.starts_with("pids.max"));
        let first = limits.next().unwrap();
        assert!(first.ends_with("/zero") && !first.contains('%'), "{first}");
        let limits = object["limits"].as_array().unwrap();
        let zero = limits
            .iter()
            .find(|limit| limit["scope"] == "/zero")
            .unwrap();
        assert_eq!((&zero["value"], zero.get("ratio")), (&0.into(), None));
    }

    #[test]
    fn unknown_is_no_number() {
        let mut seen = survey(1, 1, 1);
        seen.node.tasks = None;
        seen.node.pid_max = None;
        seen.unseen = vec!["kernel.pid_max: hidden".to_owned()];
        let (page, object) = shown(&seen);
        let line = page
            .lines()
            .find(|line| line.starts_with("kernel.pid_max"))
            .unwrap();
        assert_eq!(line.matches('?').count(), 2, "{line}");
        assert!(page.contains("not seen: kernel.pid_max: hidden"), "{page}");
        let limit = &object["limits"][0];
        assert!(limit.get("value").is_none() && limit.get("ratio").is_none());
        assert_eq!(object["unseen"][0], "kernel.pid_max: hidden");
    }
}
