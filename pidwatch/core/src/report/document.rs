//! A report as blocks, which each writer renders in its own way. Says nothing of its own.

use super::{model::PointSeries, words::Words};

/// A part of a document.
#[derive(Clone, Debug)]
pub enum Block {
    /// A heading, 1 to 3.
    Heading(u8, Words),
    /// How bad it is, beside a heading: a tone and a word.
    Badge(Tone, String),
    /// A paragraph.
    Text(Words),
    /// The paragraph to read if only one is.
    Lead(Words),
    /// What is less important.
    Note(Words),
    /// A list.
    List(Vec<Words>),
    /// Rows under headings.
    Table(Table),
    /// Lines to copy, and what they are in.
    Code(&'static str, String),
    /// Key figures.
    Figures(Vec<Figure>),
    /// What happened when.
    Timeline(Vec<Happening>),
    /// Curves over time.
    Chart(Box<Chart>),
}

/// What a thing means to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It is as it should be.
    Good,
    /// It is so.
    Neutral,
    /// Look here.
    Warning,
    /// It hurt.
    Bad,
}

/// Rows under headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Columns: what they are, and whether they are of numbers.
    pub head: Vec<(&'static str, bool)>,
    /// Rows.
    pub rows: Vec<DocumentRow>,
}

/// A row of a table.
#[derive(Clone, Debug, Default)]
pub struct DocumentRow {
    /// Cells.
    pub cells: Vec<Words>,
    /// What it means.
    pub tone: Option<Tone>,
    /// A small curve at its end.
    pub curve: Option<PointSeries>,
}

/// A key figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is.
    pub label: &'static str,
    /// It.
    pub value: String,
    /// What to know of it.
    pub note: String,
    /// What it means.
    pub tone: Tone,
}

/// A point of a timeline.
#[derive(Clone, Debug)]
pub struct Happening {
    /// When.
    pub time: String,
    /// How long after the first.
    pub after: String,
    /// What, in a word.
    pub what: &'static str,
    /// In words.
    pub text: Words,
    /// What it means.
    pub tone: Tone,
}

/// Curves over one stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// Seconds since 1970 of the zero of all series.
    pub zero_s: f64,
    /// The stretch, seconds from zero.
    pub view: (f64, f64),
    /// Curves, drawn as areas: name, points.
    pub areas: Vec<(String, PointSeries)>,
    /// What is used of the limit, a line.
    pub usage: Option<(String, PointSeries)>,
    /// The limit: name, points.
    pub limit: Option<(String, PointSeries)>,
    /// Moments to mark.
    pub marks: Vec<ChartMark>,
    /// Refused: from when, how long, culprits', others'.
    pub refused: Vec<(f64, f64, u64, u64)>,
    /// From the first failure to the last.
    pub failing: Option<(f64, f64)>,
}

/// A moment to mark in a chart.
#[derive(Clone, Debug)]
pub struct ChartMark {
    /// Seconds from zero.
    pub at: f64,
    /// What, in a word or two.
    pub label: &'static str,
    /// What it means.
    pub tone: Tone,
}
