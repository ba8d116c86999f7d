//! An owner's page: the verdict, its tasks over time with creations and exits, the limits above it, who
//! creates there, and what was refused.

use ratatui::{layout::Rect, style::Style};

use super::{
    canvas::{Canvas, a_second, area, number, rate, tasks, wrap},
    frame::time_of_day,
    lines::limit,
};
use crate::{
    cgroup::CgroupId,
    detect::State,
    escape,
    history::ChartColumn,
    stream::{LimitHolder, LimitUse},
    tui::app::{App, Areas, SPANS, owner::OwnerEntry},
};

/// Columns of a chart's scale.
const SCALE: u16 = 11;

/// Draws the page.
pub fn draw(canvas: &mut Canvas<'_>, app: &App, id: CgroupId, place: Rect, areas: &mut Areas) {
    areas.list = area(place);
    let Some(known) = app.shown().owners.get(&id) else {
        let text = "This owner is gone, and nothing is known of it any more. Esc goes back.";
        canvas.text(place.x, place.y, place.width, text, canvas.theme.dim);
        return;
    };
    let y = head(canvas, known, place);
    let left = place.bottom().saturating_sub(y);
    // What is to be read takes half; the chart the rest.
    let chart_height = (left / 2).clamp(4, 24);
    let y = if left < chart_height {
        y
    } else {
        let place = Rect::new(place.x, y, place.width, chart_height);
        charts(canvas, app, known, place)
    };
    let rest = Rect::new(place.x, y, place.width, place.bottom().saturating_sub(y));
    if rest.width >= 110 {
        let half = rest.width / 2;
        let at = Rect {
            width: half - 1,
            ..rest
        };
        let below = limits(canvas, app, known, at);
        creators(
            canvas,
            known,
            Rect {
                y: below,
                height: rest.bottom() - below,
                ..at
            },
        );
        let at = Rect {
            x: half + 1,
            width: rest.width - half - 1,
            ..rest
        };
        refusals(canvas, app, known, at);
        return;
    }
    let below = limits(canvas, app, known, rest);
    let rest = Rect {
        y: below,
        height: rest.bottom().saturating_sub(below),
        ..rest
    };
    let below = creators(canvas, known, rest);
    let rest = Rect {
        y: below,
        height: place.bottom().saturating_sub(below),
        ..rest
    };
    refusals(canvas, app, known, rest);
}

/// Who it is, and the verdict in words.
fn head(canvas: &mut Canvas<'_>, known: &OwnerEntry, place: Rect) -> u16 {
    let theme = canvas.theme;
    let (x, mut y, width) = (place.x, place.y, place.width);
    let badge = known.badge.word();
    let mut used = 0;
    if !badge.is_empty() {
        used = canvas.text(x, y, 10, &format!(" {badge} "), theme.badge(known.badge)) + 1;
    }
    canvas.name(
        x + used,
        y,
        width.saturating_sub(used),
        &known.name,
        theme.title,
    );
    y += 1;
    let path = known.owner.path().map(safe);
    if let Some(path) = path.filter(|path| *path != known.name) {
        canvas.name(x, y, width, &path, theme.dim);
        y += 1;
    }
    let numbers = format!(
        "{} tasks: {} processes, {} threads, {} zombies; {} created/s, {} ended/s, {} refused/s",
        tasks(known.tasks),
        tasks(known.processes),
        tasks(known.threads()),
        tasks(known.zombies),
        a_second(known.created),
        a_second(known.exited),
        a_second(known.failed),
    );
    for line in wrap(&numbers, usize::from(width)).iter().take(2) {
        canvas.text(x, y, width, line, Style::new());
        y += 1;
    }
    let verdict = match &known.verdict {
        Some(verdict) => {
            let sure = verdict
                .confidence
                .map_or_else(String::new, |sure| format!(" ({:.0} % sure)", sure * 100.0));
            let state = safe(verdict.state.name(State::name));
            format!("{state}{sure}: {}", safe(&verdict.why))
        }
        None if known.failures > 0 && known.ate.is_some() => {
            let times = number(known.failures);
            format!("refused {times} times; it ate the limit itself, and does not grow now")
        }
        None if known.failures > 0 => {
            format!(
                "refused {} times, and does not grow",
                number(known.failures)
            )
        }
        None => "nothing to say against it".into(),
    };
    let style = if known.verdict.is_some() {
        theme.warn
    } else {
        theme.good
    };
    for line in wrap(&verdict, usize::from(width)).iter().take(3) {
        canvas.text(x, y, width, line, style);
        y += 1;
    }
    y
}

/// Tasks, creations and exits over the span that is chosen.
fn charts(canvas: &mut Canvas<'_>, app: &App, known: &OwnerEntry, place: Rect) -> u16 {
    let theme = canvas.theme;
    let world = app.shown();
    let span = SPANS[app.span.min(SPANS.len() - 1)];
    let n = usize::from(place.width.saturating_sub(SCALE + 1)).max(1);
    let columns = known.history.columns(world.now_s(), span, n);
    let words = match span {
        0..=60 => "the last minute".to_owned(),
        61..=3600 => format!("the last {} min", span / 60),
        _ => format!("the last {} h", span / 3600),
    };
    let title = format!("Tasks, {words} (+ and - change it)");
    canvas.text(place.x, place.y, place.width, &title, theme.title);
    // Two rows for the rates below.
    let height = place.height.saturating_sub(3).max(1);
    let at = Rect::new(place.x, place.y + 1, place.width, height);
    big(canvas, &columns, at);
    let mut y = at.bottom();
    for name in ["new/s", "end/s"] {
        if y >= place.bottom() {
            break;
        }
        let is_new = name == "new/s";
        let value = |column: &ChartColumn| {
            if is_new {
                column.created
            } else {
                column.exited
            }
        };
        let values: Vec<f64> = columns.iter().map(value).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        let scale = format!("{name} {}", rate(most));
        canvas.right(place.x, y, SCALE, &scale, theme.dim);
        let style = if is_new { theme.accent } else { theme.good };
        canvas.rates(place.x + SCALE + 1, y, &values, style);
        y += 1;
    }
    y
}

/// A chart of tasks from nothing to the most, with its scale.
fn big(canvas: &mut Canvas<'_>, columns: &[ChartColumn], place: Rect) {
    let theme = canvas.theme;
    let most = columns
        .iter()
        .filter_map(|column| column.tasks)
        .max()
        .unwrap_or(0)
        .max(1);
    canvas.right(place.x, place.y, SCALE, &number(most), theme.dim);
    if place.height > 1 {
        canvas.right(place.x, place.bottom() - 1, SCALE, "0", theme.dim);
    }
    let eighths = f64::from(place.height) * 8.0;
    for (i, column) in columns.iter().enumerate() {
        let Some(tasks) = column.tasks else {
            continue;
        };
        let filled = (tasks as f64 / most as f64 * eighths).round() as usize;
        // Something is never shown as nothing.
        let filled = if tasks > 0 { filled.max(1) } else { 0 };
        for row in 0..usize::from(place.height) {
            let level = filled.saturating_sub(row * 8).min(8);
            if level == 0 {
                break;
            }
            let y = place.bottom() - 1 - row as u16;
            let style = if column.failed > 0.0 {
                theme.bad
            } else {
                theme.accent
            };
            canvas.text(
                place.x + SCALE + 1 + i as u16,
                y,
                1,
                theme.glyphs.levels[level],
                style,
            );
        }
    }
}

/// The chain of limits above it, nearest first.
fn limits(canvas: &mut Canvas<'_>, app: &App, known: &OwnerEntry, place: Rect) -> u16 {
    let theme = canvas.theme;
    if place.height == 0 {
        return place.y;
    }
    canvas.text(
        place.x,
        place.y,
        place.width,
        "Limits above it, the nearest first",
        theme.title,
    );
    let mut y = place.y + 1;
    let world = app.shown();
    let chain = known.limits.as_ref().unwrap_or(&world.limits);
    // Elsewhere than here the numbers are those of when somebody last told them; the node's are new.
    let newer = |limit: &LimitUse| {
        let mut all = world.limits.iter();
        all.find(|node| limit.holder() == LimitHolder::Node && node.name == limit.name)
    };
    for told in chain.iter().take(usize::from(place.height / 2).max(3)) {
        if y >= place.bottom() {
            break;
        }
        let name = safe(&told.name);
        let name = match told.holder() {
            LimitHolder::Cgroup(Some(path)) if Some(path) == known.owner.path() => {
                format!("{name} (its own)")
            }
            LimitHolder::Cgroup(Some(path)) => format!("{name} {}", world.name_at(path)),
            _ => name,
        };
        let told = newer(told).unwrap_or(told);
        limit(
            canvas,
            (place.x, y, place.width),
            &name,
            (told.usage, told.value),
        );
        y += 1;
    }
    if chain.is_empty() && y < place.bottom() {
        canvas.text(place.x, y, place.width, "not known", theme.dim);
        y += 1;
    }
    y
}

/// Who creates there, and what its tasks are called.
fn creators(canvas: &mut Canvas<'_>, known: &OwnerEntry, place: Rect) -> u16 {
    let theme = canvas.theme;
    let mut y = place.y;
    if place.height == 0 {
        return y;
    }
    let who: Vec<String> = known
        .creators
        .iter()
        .map(|creator| {
            let comm = safe(&creator.comm);
            format!("{comm}[{}] {:.0} %", creator.pid, creator.share * 100.0)
        })
        .collect();
    let who = if who.is_empty() {
        "nobody of late".to_owned()
    } else {
        who.join(", ")
    };
    let used = canvas.text(place.x, y, place.width, "Created by ", theme.title);
    canvas.text(
        place.x + used,
        y,
        place.width.saturating_sub(used),
        &who,
        Style::new(),
    );
    y += 1;
    if let Some(names) = &known.task_names
        && y < place.bottom()
    {
        let patterns: Vec<String> = names
            .patterns
            .iter()
            .take(4)
            .map(|pattern| format!("{} {}", number(pattern.count), safe(&pattern.name)))
            .collect();
        let used = canvas.text(place.x, y, place.width, "Tasks are called ", theme.title);
        let rest = place.width.saturating_sub(used);
        canvas.text(place.x + used, y, rest, &patterns.join(", "), Style::new());
        y += 1;
    }
    y
}

/// The latest failures with their reasons.
fn refusals(canvas: &mut Canvas<'_>, app: &App, known: &OwnerEntry, place: Rect) {
    let theme = canvas.theme;
    if place.height == 0 {
        return;
    }
    let title = match known.failures {
        0 if known.refusals.is_empty() => "No creation was refused".to_owned(),
        n => format!("Refused, the latest first ({} in all)", number(n)),
    };
    canvas.text(place.x, place.y, place.width, &title, theme.title);
    let rows = usize::from(place.height.saturating_sub(1));
    for (i, refusal) in known.refusals.iter().rev().take(rows).enumerate() {
        let y = place.y + 1 + i as u16;
        let time = time_of_day(&app.zone, refusal.time);
        let used = canvas.text(place.x, y, 9, &format!("{time} "), theme.dim);
        let times = match refusal.times {
            1 => String::new(),
            times => format!("{}x ", number(times)),
        };
        let text = format!("{times}{} (pid {})", refusal.text, refusal.pid);
        let style = if refusal.is_for_want {
            theme.bad
        } else {
            Style::new()
        };
        canvas.text(
            place.x + used,
            y,
            place.width.saturating_sub(used),
            &text,
            style,
        );
    }
}

fn safe(text: &str) -> String {
    escape::for_terminal(text.as_bytes())
}
