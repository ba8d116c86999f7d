//! A report as one HTML page: no script, nothing loaded, charts as SVG, light and dark, fit to print.
//!
//! Invariant: text goes in by `escaped` alone, and names from outside in elements of their own
//! that no writing direction leaves.

use std::fmt::Write as _;

use super::{
    chart::{sparkline, svg, tone_class},
    compose::document,
    document::{Block, Chart, Figure, Happening, Table},
    markup::escaped,
    model::Report,
    words::{Span, Words, count, shown},
};

const STYLE: &str = include_str!("style.css");

/// Writes a report.
pub fn html(report: &Report) -> String {
    let blocks = document(report);
    let title = match blocks.first() {
        Some(Block::Heading(_, words)) => words.to_string(),
        _ => "Report".to_owned(),
    };
    let mut page = HtmlPage {
        out: format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
             name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta \
             name=\"color-scheme\" content=\"light dark\">\n<meta \
             http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
             'unsafe-inline'\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
            escaped(&title)
        ),
        charts: 0,
        in_section: false,
    };
    // The word for how bad it is stands above the title.
    let mut blocks = blocks.into_iter().peekable();
    while let Some(block) = blocks.next() {
        if let (Block::Heading(1, _), Some(badge @ Block::Badge(..))) = (&block, blocks.peek()) {
            let badge = badge.clone();
            page.out += "<header>\n";
            page.block(&badge);
            page.block(&block);
            blocks.next();
            if let Some(note @ Block::Note(_)) = blocks.peek() {
                page.block(note);
                blocks.next();
            }
            page.out += "</header>\n";
        } else {
            page.block(&block);
        }
    }
    page.end_section();
    let version = report.pidwatch.as_deref().map_or_else(String::new, shown);
    let _ = write!(
        page.out,
        "<footer>pidwatch {}, from a recording of {}. All times are UTC.</footer>\n</main>\n</body>\n\
         </html>\n",
        escaped(&version),
        count(report.trust.lines, "line")
    );
    page.out
}

struct HtmlPage {
    out: String,
    charts: usize,
    in_section: bool,
}

impl HtmlPage {
    fn block(&mut self, block: &Block) {
        match block {
            Block::Heading(level, words) => {
                if *level == 2 {
                    self.end_section();
                    self.out += "<section>\n";
                    self.in_section = true;
                }
                let _ = writeln!(self.out, "<h{level}>{}</h{level}>", inline(words));
            }
            Block::Badge(tone, text) => {
                let class = tone_class(*tone);
                let _ = writeln!(self.out, "<p class=\"badge {class}\">{}</p>", escaped(text));
            }
            Block::Text(words) => self.paragraph("", words),
            Block::Lead(words) => self.paragraph(" class=\"lead\"", words),
            Block::Note(words) => self.paragraph(" class=\"note\"", words),
            Block::List(items) => {
                self.out += "<ul>\n";
                for item in items {
                    let _ = writeln!(self.out, "<li>{}</li>", inline(item));
                }
                self.out += "</ul>\n";
            }
            Block::Table(rows) => self.table(rows),
            Block::Code(_, text) => {
                let _ = writeln!(
                    self.out,
                    "<pre tabindex=\"0\"><code>{}</code></pre>",
                    escaped(text)
                );
            }
            Block::Figures(figures) => self.figures(figures),
            Block::Timeline(happenings) => self.timeline(happenings),
            Block::Chart(chart) => self.chart(chart),
        }
    }

    fn end_section(&mut self) {
        if self.in_section {
            self.out += "</section>\n";
            self.in_section = false;
        }
    }

    fn paragraph(&mut self, attributes: &str, words: &Words) {
        let _ = writeln!(self.out, "<p{attributes}>{}</p>", inline(words));
    }

    fn figures(&mut self, figures: &[Figure]) {
        self.out += "<dl class=\"figures\">\n";
        for figure in figures {
            let _ = writeln!(
                self.out,
                "<div class=\"{}\"><dt>{}</dt><dd class=\"value\">{}</dd><dd>{}</dd></div>",
                tone_class(figure.tone),
                figure.label,
                escaped(&figure.value),
                escaped(&figure.note)
            );
        }
        self.out += "</dl>\n";
    }

    fn timeline(&mut self, happenings: &[Happening]) {
        self.out += "<ol class=\"timeline\">\n";
        for happening in happenings {
            let _ = writeln!(
                self.out,
                "<li class=\"{}\"><time>{}</time><span class=\"after\">{}</span><strong>{}</strong>\
                 <span class=\"text\">{}</span></li>",
                tone_class(happening.tone),
                escaped(&happening.time),
                escaped(&happening.after),
                happening.what,
                inline(&happening.text)
            );
        }
        self.out += "</ol>\n";
    }

    fn table(&mut self, table: &Table) {
        let has_curves = table.rows.iter().any(|row| row.curve.is_some());
        self.out += "<div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr>";
        for (head, is_number) in &table.head {
            let class = if *is_number { " class=\"number\"" } else { "" };
            let _ = write!(self.out, "<th scope=\"col\"{class}>{head}</th>");
        }
        if has_curves {
            self.out += "<th scope=\"col\">Tasks over time</th>";
        }
        self.out += "</tr></thead>\n<tbody>\n";
        for row in &table.rows {
            let class = row.tone.map_or("", tone_class);
            let _ = write!(self.out, "<tr class=\"{class}\">");
            for (cell, (_, is_number)) in row.cells.iter().zip(&table.head) {
                let class = if *is_number { " class=\"number\"" } else { "" };
                let _ = write!(self.out, "<td{class}>{}</td>", inline(cell));
            }
            if has_curves {
                let name = row.cells.first().map(Words::to_string).unwrap_or_default();
                let curve = row.curve.as_ref();
                let curve = curve.map_or_else(String::new, |curve| sparkline(curve, &name));
                let _ = write!(self.out, "<td class=\"curve\">{curve}</td>");
            }
            self.out += "</tr>\n";
        }
        self.out += "</tbody></table></div>\n";
    }

    fn chart(&mut self, chart: &Chart) {
        self.charts += 1;
        let id = format!("chart{}", self.charts);
        let mut legend = String::new();
        let mut entry = |class: &str, text: &str| {
            let _ = write!(
                legend,
                "<li><span class=\"swatch {class}\"></span><bdi>{}</bdi></li>",
                escaped(text)
            );
        };
        for (i, (name, _)) in chart.areas.iter().enumerate() {
            entry(&format!("c{i}"), name);
        }
        if let Some((name, _)) = &chart.usage {
            entry("usage", name);
        }
        if let Some((name, _)) = &chart.limit {
            entry("limit", name);
        }
        let sums = chart.refused.iter();
        let (own, others) = sums.fold((0, 0), |sum, slot| (sum.0 + slot.2, sum.1 + slot.3));
        if own > 0 {
            entry("own", "refused: the culprit's");
        }
        if others > 0 {
            entry("others", "refused: the victims'");
        }
        let _ = writeln!(
            self.out,
            "<figure><figcaption>{}</figcaption><ul class=\"legend\">{legend}</ul>{}</figure>",
            escaped(&chart.title),
            svg(chart, &id)
        );
    }
}

fn inline(words: &Words) -> String {
    let mut text = String::new();
    for span in &words.0 {
        let _ = match span {
            Span::Plain(plain) => write!(text, "{}", escaped(plain)),
            Span::Strong(strong) => write!(text, "<strong>{}</strong>", escaped(strong)),
            Span::Code(code) => write!(text, "<code><bdi>{}</bdi></code>", escaped(code)),
        };
    }
    text
}
