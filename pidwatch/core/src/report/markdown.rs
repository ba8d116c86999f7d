//! A report as Markdown (CommonMark with GitHub's tables).
//!
//! Invariant: nothing from outside is taken for markup: it stands in code spans, whose fences are
//! longer than any run of backticks within, and our own text is escaped.

use std::fmt::Write as _;

use super::{
    chart::spark,
    compose::document,
    document::{Block, Chart, Table},
    model::Report,
    words::{Span, Words, number},
};

/// Columns of a curve.
const CURVE: usize = 48;

/// Writes a report.
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    for block in document(report) {
        write(&mut out, &block);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn write(out: &mut String, block: &Block) {
    match block {
        Block::Heading(level, words) => {
            let marks = "#".repeat(usize::from(*level));
            let _ = writeln!(out, "{marks} {}\n", inline(words));
        }
        Block::Badge(_, text) => {
            let _ = writeln!(out, "**{}**\n", escaped(text));
        }
        Block::Text(words) | Block::Lead(words) | Block::Note(words) => {
            let _ = writeln!(out, "{}\n", inline(words));
        }
        Block::List(items) => {
            for item in items {
                let _ = writeln!(out, "- {}", inline(item));
            }
            out.push('\n');
        }
        Block::Table(rows) => table(out, rows),
        Block::Code(language, text) => {
            let fence = fence(text, 3);
            let _ = writeln!(out, "{fence}{language}\n{text}\n{fence}\n");
        }
        Block::Figures(figures) => {
            for figure in figures {
                let _ = write!(out, "- {}: **{}**", figure.label, escaped(&figure.value));
                if !figure.note.is_empty() {
                    let _ = write!(out, " {}", escaped(&figure.note));
                }
                out.push('\n');
            }
            out.push('\n');
        }
        Block::Timeline(happenings) => {
            out.push_str("| Time (UTC) | | What | |\n|---|---:|---|---|\n");
            for happening in happenings {
                let _ = writeln!(
                    out,
                    "| {} | {} | {} | {} |",
                    happening.time,
                    happening.after,
                    happening.what,
                    cell(&happening.text)
                );
            }
            out.push('\n');
        }
        Block::Chart(chart) => curves(out, chart),
    }
}

/// A chart in one line for each curve.
fn curves(out: &mut String, chart: &Chart) {
    let mut lines = Vec::new();
    for (name, series) in &chart.areas {
        let most = series.0.iter().map(|point| point.1).fold(0.0, f64::max);
        let first = series.0.first().map_or(0.0, |point| point.1);
        lines.push(format!(
            "{}  {} to {} tasks, {name}",
            spark(series, chart.view, CURVE),
            number(first as u64),
            number(most as u64)
        ));
    }
    if lines.is_empty() {
        return;
    }
    let text = lines.join("\n");
    let fence = fence(&text, 3);
    let _ = writeln!(out, "{fence}text\n{text}\n{fence}\n");
}

fn table(out: &mut String, table: &Table) {
    let heads: Vec<_> = table.head.iter().map(|(head, _)| *head).collect();
    let rules: Vec<_> = table
        .head
        .iter()
        .map(|(_, is_number)| if *is_number { "---:" } else { "---" })
        .collect();
    let _ = writeln!(out, "| {} |\n|{}|", heads.join(" | "), rules.join("|"));
    for row in &table.rows {
        let cells: Vec<_> = row.cells.iter().map(cell).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out.push('\n');
}

/// In a table a bar ends the cell, in code spans too.
fn cell(words: &Words) -> String {
    let mut text = String::new();
    for span in &words.0 {
        match span {
            Span::Code(code) => text += &code_span(code).replace('|', "\\|"),
            other => text += &inline(&Words(vec![other.clone()])),
        }
    }
    text
}

fn inline(words: &Words) -> String {
    let mut text = String::new();
    for span in &words.0 {
        match span {
            Span::Plain(plain) => text += &escaped(plain),
            Span::Strong(strong) => {
                // Spaces within the marks would make them none.
                let inner = strong.trim();
                let start = strong.len() - strong.trim_start().len();
                let end = strong.len() - strong.trim_end().len();
                text += &strong[..start];
                if !inner.is_empty() {
                    let _ = write!(text, "**{}**", escaped(inner));
                    text += &strong[strong.len() - end..];
                }
            }
            Span::Code(code) => text += &code_span(code),
        }
    }
    text
}

/// A run of backticks longer than any within.
fn fence(text: &str, least: usize) -> String {
    let runs = text.split(|c| c != '`').map(str::len);
    "`".repeat(least.max(runs.max().unwrap_or(0) + 1))
}

fn code_span(text: &str) -> String {
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    let fence = fence(text, 1);
    let space = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) {
        " "
    } else {
        ""
    };
    format!("{fence}{space}{text}{space}{fence}")
}

/// Plain text with whatever could be markup escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Also for readers that take HTML where there is a backslash before it.
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '&' | '|' | '~' | '#' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::words::{code, words};

    #[test]
    fn a_name_cannot_leave_its_code_span() {
        let hostile = "a`b``c|<script>*x*";
        assert_eq!(inline(&words![code(hostile)]), "```a`b``c|<script>*x*```");
        assert_eq!(cell(&words![code("a|b")]), "`a\\|b`");
        assert_eq!(inline(&words![code("`")]), "`` ` ``");
    }

    #[test]
    fn our_own_text_is_no_markup() {
        assert_eq!(
            inline(&"a*b_c <d> [e]".into()),
            "a\\*b\\_c &lt;d&gt; \\[e\\]"
        );
    }
}
