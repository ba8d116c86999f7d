//! Curves as SVG, to stand in a page whose style gives the colours, and as a line of text.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{
    document::{Chart, ChartMark, Tone},
    markup::escaped,
    model::PointSeries,
    words::{moment, number},
};

/// Size of a chart, in its own units.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
/// Room above the plot for the marks' names, in rows.
const ROW: f64 = 18.0;
const PLOT: f64 = 250.0;
const GAP: f64 = 34.0;
const FAILURES: f64 = 76.0;
const AXIS: f64 = 30.0;
/// About so wide is a character of a mark's name.
const CHARACTER: f64 = 7.0;

/// A curve as a line of blocks.
pub fn spark(series: &PointSeries, view: (f64, f64), columns: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = series.0.iter().map(|point| point.1).fold(1.0, f64::max);
    (0..columns)
        .map(|i| {
            let at = view.0 + (view.1 - view.0) * (i as f64 + 0.5) / columns as f64;
            match value_at(series, at) {
                Some(value) => BLOCKS[((value / most * 7.0).round() as usize).min(7)],
                None => ' ',
            }
        })
        .collect()
}

/// The value of a series at a moment, if it reaches there.
fn value_at(series: &PointSeries, at: f64) -> Option<f64> {
    let points = &series.0;
    let next = points.partition_point(|point| point.0 < at);
    let after = *points.get(next)?;
    let before = *points.get(next.checked_sub(1)?)?;
    if after.0 <= before.0 {
        return Some(after.1);
    }
    Some(before.1 + (after.1 - before.1) * (at - before.0) / (after.0 - before.0))
}

/// A small curve for a table; empty when there is none.
pub fn sparkline(series: &PointSeries, name: &str) -> String {
    let (width, height) = (120.0, 26.0);
    let (Some(first), Some(last)) = (series.0.first(), series.0.last()) else {
        return String::new();
    };
    let most = series.0.iter().map(|point| point.1).fold(1.0, f64::max);
    let span = (last.0 - first.0).max(1e-9);
    let x = |at: f64| (at - first.0) / span * width;
    let y = |value: f64| height - 2.0 - value / most * (height - 4.0);
    let mut line = String::new();
    for (i, point) in series.0.iter().enumerate() {
        let _ = write!(
            line,
            "{}{:.1} {:.1}",
            if i == 0 { "M" } else { "L" },
            x(point.0),
            y(point.1)
        );
    }
    let at_most = number(most as u64);
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 {width} {height}\" role=\"img\"><title>{}: tasks over \
         time, at most {at_most}</title><path class=\"fill\" d=\"{line}L{width} {height}L0 \
         {height}Z\"/><path class=\"line\" d=\"{line}\"/></svg>",
        escaped(name)
    )
}

/// Where things are in a chart.
struct Plot {
    from: f64,
    to: f64,
    top: f64,
    bottom: f64,
    most: f64,
}

impl Plot {
    fn x(&self, at: f64) -> f64 {
        let share = (at - self.from) / (self.to - self.from).max(1e-9);
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - (value / self.most).clamp(0.0, 1.0) * (self.bottom - self.top)
    }

    fn path(&self, series: &PointSeries) -> String {
        let mut path = String::new();
        for (i, &(at, value)) in series.0.iter().enumerate() {
            let letter = if i == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", self.x(at), self.y(value));
        }
        path
    }

    /// Lines and numbers at round values.
    fn grid(&self, out: &mut String, lines: usize) {
        let step = round_step(self.most / lines as f64);
        let mut value = 0.0;
        while value <= self.most * 1.0001 {
            let y = self.y(value);
            let right = WIDTH - RIGHT;
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"tick\" x=\"{:.0}\" \
                 y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                number(value as u64)
            );
            value += step;
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least so much and at least 1.
fn round_step(least: f64) -> f64 {
    let least = least.max(1.0);
    let power = 10f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors
        .into_iter()
        .find(|factor| factor * power >= least * 0.999);
    factor.unwrap_or(10.0) * power
}

/// Seconds between marks on a time axis: what people count in.
fn time_step(span: f64, most: f64) -> f64 {
    const STEPS: [f64; 20] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
        10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0,
    ];
    let mut steps = STEPS.into_iter();
    steps
        .find(|step| span / step <= most)
        .unwrap_or_else(|| span / most)
}

/// A chart with what is used of the limit, and below it what was refused.
pub fn svg(chart: &Chart, id: &str) -> String {
    let rows = mark_rows(chart);
    let top = 10.0 + ROW * rows.iter().map(|row| row + 1).max().unwrap_or(0) as f64;
    let all = chart.areas.iter().map(|(_, series)| series);
    let all = all.chain(chart.usage.iter().map(|(_, series)| series));
    let all = all.chain(chart.limit.iter().map(|(_, series)| series));
    let values = all.flat_map(|series| &series.0).map(|point| point.1);
    let most = values.fold(1.0, f64::max) * 1.12;
    let plot = Plot {
        from: chart.view.0,
        to: chart.view.1,
        top,
        bottom: top + PLOT,
        most,
    };
    let has_failures = !chart.refused.is_empty();
    let floor = if has_failures {
        plot.bottom + GAP + FAILURES
    } else {
        plot.bottom
    };
    let height = floor + AXIS;
    let mut out = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-labelledby=\"{id}-t \
         {id}-d\"><title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
        escaped(&chart.title),
        escaped(&described(chart))
    );
    if let Some((from, to)) = chart.failing {
        let (x, end) = (plot.x(from), plot.x(to));
        let _ = write!(
            out,
            "<rect class=\"failing\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            (end - x).max(1.0),
            floor - top
        );
    }
    plot.grid(&mut out, 5);
    for (i, (_, series)) in chart.areas.iter().enumerate().rev() {
        area(&mut out, &plot, series, i);
    }
    if let Some((_, series)) = &chart.usage {
        let _ = write!(out, "<path class=\"usage\" d=\"{}\"/>", plot.path(series));
    }
    if let Some((name, series)) = &chart.limit {
        limit(&mut out, &plot, name, series);
    }
    if has_failures {
        failures(&mut out, chart, &plot, floor);
    }
    time_axis(&mut out, chart, &plot, floor);
    for (mark, row) in chart.marks.iter().zip(rows) {
        draw_mark(&mut out, &plot, mark, row, floor);
    }
    out += "</svg>";
    out
}

fn area(out: &mut String, plot: &Plot, series: &PointSeries, i: usize) {
    let (Some(first), Some(last)) = (series.0.first(), series.0.last()) else {
        return;
    };
    let line = plot.path(series);
    let (left, right, bottom) = (plot.x(first.0), plot.x(last.0), plot.bottom);
    let _ = write!(
        out,
        "<path class=\"fill c{i}\" d=\"{line}L{right:.1} {bottom:.1}L{left:.1} {bottom:.1}Z\"/><path \
         class=\"line c{i}\" d=\"{line}\"/>"
    );
}

/// The limit over the whole width: it was there before anybody said so.
fn limit(out: &mut String, plot: &Plot, name: &str, series: &PointSeries) {
    let (Some(first), Some(last)) = (series.0.first(), series.0.last()) else {
        return;
    };
    let mut path = format!("M{LEFT} {:.1}", plot.y(first.1));
    let steps = plot.path(series);
    path += &steps.replacen('M', "L", 1);
    let _ = write!(path, "L{:.1} {:.1}", WIDTH - RIGHT, plot.y(last.1));
    let _ = write!(
        out,
        "<path class=\"limit\" d=\"{path}\"/><text class=\"limit-name\" x=\"{:.0}\" \
         y=\"{:.1}\">{} {}</text>",
        LEFT + 8.0,
        plot.y(first.1) - 7.0,
        escaped(name),
        number(first.1 as u64)
    );
}

/// Bars of what was refused each second.
fn failures(out: &mut String, chart: &Chart, above: &Plot, floor: f64) {
    let per_s = |n: u64, width: f64| n as f64 / width.max(1e-9);
    let rates = chart
        .refused
        .iter()
        .map(|&(_, width, own, others)| per_s(own + others, width));
    let plot = Plot {
        from: above.from,
        to: above.to,
        top: floor - FAILURES,
        bottom: floor,
        most: rates.fold(1.0, f64::max) * 1.1,
    };
    plot.grid(out, 2);
    let _ = write!(
        out,
        "<text class=\"label\" x=\"{LEFT}\" y=\"{:.1}\">Refused per second</text>",
        plot.top - 10.0
    );
    for &(at, width, own, others) in &chart.refused {
        let x = plot.x(at);
        let wide = plot.x(at + width) - x;
        // A gap where there is room for one.
        let wide = if wide > 4.0 { wide - 1.0 } else { wide + 0.2 };
        let mut bottom = floor;
        // Victims stand on the ground and are seen, however few.
        for (n, class) in [(others, "others"), (own, "own")] {
            if n == 0 {
                continue;
            }
            let high = (floor - plot.y(per_s(n, width))).max(3.0);
            bottom -= high;
            let _ = write!(
                out,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{bottom:.1}\" width=\"{wide:.1}\" \
                 height=\"{high:.1}\"/>"
            );
        }
    }
}

fn time_axis(out: &mut String, chart: &Chart, plot: &Plot, floor: f64) {
    let span = plot.to - plot.from;
    let step = time_step(span, 8.0);
    let shown = |time: Timestamp| {
        let format = match step {
            s if s >= 86_400.0 => "%b %d",
            s if s >= 60.0 && span >= 86_400.0 => "%b %d %H:%M",
            s if s >= 60.0 => "%H:%M",
            _ => "%H:%M:%S",
        };
        time.strftime(format).to_string()
    };
    let start = chart.zero_s + plot.from;
    let mut at = (start / step).ceil() * step - chart.zero_s;
    while at <= plot.to {
        let x = plot.x(at);
        let time = shown(moment(chart.zero_s + at));
        // At the ends a centred text would be cut.
        let anchor = match x {
            x if x < LEFT + 24.0 => "start",
            x if x > WIDTH - RIGHT - 24.0 => "end",
            _ => "middle",
        };
        let _ = write!(
            out,
            "<path class=\"axis\" d=\"M{x:.1} {floor:.1}v5\"/><text class=\"tick\" x=\"{x:.1}\" \
             y=\"{:.1}\" text-anchor=\"{anchor}\">{time}</text>",
            floor + 20.0
        );
        at += step;
    }
    let right = WIDTH - RIGHT;
    let _ = write!(
        out,
        "<path class=\"axis\" d=\"M{LEFT} {floor:.1}H{right}\"/>"
    );
    if !chart.refused.is_empty() {
        let bottom = plot.bottom;
        let _ = write!(
            out,
            "<path class=\"axis\" d=\"M{LEFT} {bottom:.1}H{right}\"/>"
        );
    }
}

/// In which row each mark's name stands, so that none covers another.
fn mark_rows(chart: &Chart) -> Vec<usize> {
    let plot = Plot {
        from: chart.view.0,
        to: chart.view.1,
        top: 0.0,
        bottom: 1.0,
        most: 1.0,
    };
    let mut taken: Vec<Vec<(f64, f64)>> = Vec::new();
    chart
        .marks
        .iter()
        .map(|mark| {
            let (from, to) = name_span(plot.x(mark.at), mark.label);
            let is_free =
                |row: &Vec<(f64, f64)>| row.iter().all(|other| to < other.0 || from > other.1);
            let row = taken.iter().position(is_free).unwrap_or(taken.len());
            if row == taken.len() {
                taken.push(Vec::new());
            }
            taken[row].push((from, to));
            row
        })
        .collect()
}

/// Where a mark's name begins and ends.
fn name_span(x: f64, label: &str) -> (f64, f64) {
    let width = label.chars().count() as f64 * CHARACTER + 18.0;
    if x + width > WIDTH - RIGHT {
        (x - width, x)
    } else {
        (x, x + width)
    }
}

fn draw_mark(out: &mut String, plot: &Plot, mark: &ChartMark, row: usize, floor: f64) {
    let x = plot.x(mark.at);
    let y = 6.0 + ROW * row as f64;
    let class = tone_class(mark.tone);
    let (from, _) = name_span(x, mark.label);
    let (text, anchor) = if from < x {
        (x - 8.0, "end")
    } else {
        (x + 8.0, "start")
    };
    let _ = write!(
        out,
        "<g class=\"mark {class}\"><path d=\"M{x:.1} {y:.1}V{floor:.1}\"/><circle cx=\"{x:.1}\" \
         cy=\"{:.1}\" r=\"3.5\"/><text x=\"{text:.1}\" y=\"{:.1}\" \
         text-anchor=\"{anchor}\">{}</text></g>",
        y + 4.0,
        y + 8.0,
        mark.label
    );
}

/// The class of a tone in the page's style.
pub fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Neutral => "neutral",
        Tone::Warning => "warning",
        Tone::Bad => "bad",
    }
}

/// What a chart shows, for those who do not see it.
fn described(chart: &Chart) -> String {
    let mut text = String::new();
    for (name, series) in &chart.areas {
        let first = series.0.first().map_or(0.0, |point| point.1);
        let most = series.0.iter().map(|point| point.1).fold(0.0, f64::max);
        let last = series.0.last().map_or(0.0, |point| point.1);
        let _ = write!(
            text,
            "{name}: {} tasks at first, {} at most, {} at last. ",
            number(first as u64),
            number(most as u64),
            number(last as u64)
        );
    }
    if let Some((name, series)) = &chart.limit
        && let Some(last) = series.0.last()
    {
        let _ = write!(text, "The limit, {name}, is {}. ", number(last.1 as u64));
    }
    let refused: u64 = chart.refused.iter().map(|slot| slot.2 + slot.3).sum();
    if refused > 0 {
        let _ = write!(text, "{} creations were refused.", number(refused));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (least, step) in [(0.2, 1.0), (7.0, 10.0), (11.0, 20.0), (333.0, 500.0)] {
            assert_eq!(round_step(least), step);
        }
        assert_eq!(time_step(540.0, 8.0), 120.0);
        assert_eq!(time_step(45.0, 8.0), 10.0);
    }

    #[test]
    fn names_of_marks_do_not_cover_each_other() {
        let mark = |at: f64| ChartMark {
            at,
            label: "first refusal",
            tone: Tone::Bad,
        };
        let chart = Chart {
            view: (0.0, 100.0),
            marks: vec![mark(10.0), mark(11.0), mark(50.0), mark(99.0)],
            ..Chart::default()
        };
        assert_eq!(mark_rows(&chart), [0, 1, 0, 0]);
    }

    #[test]
    fn a_curve_is_a_line_of_blocks() {
        let series = PointSeries(vec![(0.0, 0.0), (10.0, 70.0)]);
        assert_eq!(spark(&series, (0.0, 10.0), 7), "▂▃▄▅▆▇█".to_owned());
        assert_eq!(spark(&series, (0.0, 20.0), 4), "▃▆  ");
    }
}
