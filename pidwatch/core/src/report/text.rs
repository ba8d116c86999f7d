//! A report for a terminal: words wrapped at its width, columns under their headings.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{
    chart::spark,
    compose::document,
    document::{Block, Table},
    model::Report,
    words::{Words, number},
};

/// The narrowest that is written for.
const LEAST_WIDTH: usize = 40;
/// The widest column of a table.
const CELL: usize = 44;
/// Columns of a curve.
const CURVE: usize = 32;

/// Writes a report, `width` columns wide.
pub fn text(report: &Report, width: usize) -> String {
    let width = width.max(LEAST_WIDTH);
    let mut out = String::new();
    for block in document(report) {
        write(&mut out, &block, width);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn write(out: &mut String, block: &Block, width: usize) {
    match block {
        Block::Heading(level, words) => {
            let text = words.to_string();
            let text = match level {
                1 => text,
                _ => text.to_uppercase(),
            };
            // A name is not to be changed by case.
            let text = if words.0.len() == 1 {
                text
            } else {
                words.to_string()
            };
            wrap(out, "", &text, width);
            if *level == 1 {
                let _ = writeln!(out, "{}", "=".repeat(text.width().min(width)));
            }
            out.push('\n');
        }
        Block::Badge(_, text) => {
            let _ = writeln!(out, "{}\n", text.to_uppercase());
        }
        Block::Text(words) | Block::Lead(words) | Block::Note(words) => {
            wrap(out, "", &words.to_string(), width);
            out.push('\n');
        }
        Block::List(items) => {
            for item in items {
                wrap(out, "- ", &item.to_string(), width);
            }
            out.push('\n');
        }
        Block::Table(rows) => table(out, rows),
        // Not wrapped: it is there to be copied.
        Block::Code(_, text) => {
            for line in text.lines() {
                let _ = writeln!(out, "    {line}");
            }
            out.push('\n');
        }
        Block::Figures(figures) => {
            for figure in figures {
                let _ = writeln!(
                    out,
                    "  {:<18} {:>12}  {}",
                    figure.label, figure.value, figure.note
                );
            }
            out.push('\n');
        }
        Block::Timeline(happenings) => {
            for happening in happenings {
                let head = format!(
                    "{}  {:>10}  {:<13}  ",
                    happening.time, happening.after, happening.what
                );
                wrap(out, &head, &happening.text.to_string(), width);
            }
            out.push('\n');
        }
        Block::Chart(chart) => {
            for (name, series) in &chart.areas {
                let most = series.0.iter().map(|point| point.1).fold(0.0, f64::max);
                let curve = spark(series, chart.view, CURVE);
                let _ = writeln!(out, "  {curve}  at most {}  {name}", number(most as u64));
            }
            out.push('\n');
        }
    }
}

/// Words in lines; those after the first are indented like the first's text.
fn wrap(out: &mut String, head: &str, text: &str, width: usize) {
    let indent = " ".repeat(head.width().min(width / 2));
    let mut line = head.to_owned();
    let mut is_fresh = true;
    for word in text.split(' ') {
        if !is_fresh && line.width() + 1 + word.width() > width {
            let _ = writeln!(out, "{}", line.trim_end());
            line.clone_from(&indent);
            is_fresh = true;
        }
        if !is_fresh {
            line.push(' ');
        }
        line.push_str(word);
        is_fresh = false;
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

fn table(out: &mut String, table: &Table) {
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| row.cells.iter().map(cut).collect())
        .collect();
    let widths: Vec<usize> = table
        .head
        .iter()
        .enumerate()
        .map(|(i, (head, _))| {
            let cells = rows.iter().filter_map(|row| row.get(i));
            cells
                .map(|cell| cell.width())
                .chain([head.width()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let heads: Vec<String> = table
        .head
        .iter()
        .map(|(head, _)| head.to_uppercase())
        .collect();
    for cells in std::iter::once(&heads).chain(&rows) {
        let mut line = String::from("  ");
        for ((cell, (_, is_number)), width) in cells.iter().zip(&table.head).zip(&widths) {
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            let (before, after) = if *is_number { (&*pad, "") } else { ("", &*pad) };
            let _ = write!(line, "{before}{cell}{after}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out.push('\n');
}

/// A cell no wider than [`CELL`]: of a path the end says the most.
fn cut(words: &Words) -> String {
    let text = words.to_string();
    if text.width() <= CELL {
        return text;
    }
    let mut kept = 1;
    let tail: Vec<char> = text
        .chars()
        .rev()
        .take_while(|c| {
            kept += c.width().unwrap_or(0);
            kept <= CELL
        })
        .collect();
    let tail: String = tail.into_iter().rev().collect();
    format!("\u{2026}{tail}")
}
