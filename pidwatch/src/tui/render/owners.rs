//! The overview: how close the node is to which limit, what happens, who eats it and who suffers.

use ratatui::{layout::Rect, style::Style};
use unicode_width::UnicodeWidthStr;

use super::canvas::{Canvas, a_second, area, beginning, number, rate, tasks, time_left, wrap};
use crate::{
    tui::app::{
        App, Area, Areas,
        column::Column,
        gauge::Gauge,
        owner::Badge,
        row::{Of, RowKey, TableRow},
        table::Mode,
        world::NodeStore,
    },
    values::about,
};

/// Gauges on a screen of the least height.
const GAUGES: usize = 3;

/// Draws the overview.
pub fn draw(canvas: &mut Canvas<'_>, app: &App, place: Rect, areas: &mut Areas) {
    let world = app.shown();
    let mut y = place.y;
    y = gauges(canvas, app, place, y);
    y = rates(canvas, world, place, y);
    y = alarm(canvas, app, place, y);
    let table = Rect::new(place.x, y, place.width, place.bottom() - y);
    draw_table(canvas, app, table, areas);
}

/// Who is refused by what, and how near it is.
fn gauges(canvas: &mut Canvas<'_>, app: &App, place: Rect, mut y: u16) -> u16 {
    let world = app.shown();
    let gauges = app.gauges();
    if gauges.is_empty() {
        let text = if world.time.is_none() {
            "waiting for the first second ..."
        } else {
            "the node's limits are not known"
        };
        canvas.text(place.x, y, place.width, text, canvas.theme.dim);
        return y + 1;
    }
    let shown = if place.height > 40 {
        2 * GAUGES
    } else {
        GAUGES
    };
    let longest = gauges.iter().take(shown).map(|gauge| gauge.name.width());
    let for_name = longest.max().unwrap_or(0) as u16;
    let for_name = for_name.max(14).min(place.width / 3);
    for gauge in gauges.iter().take(shown) {
        draw_gauge(canvas, gauge, for_name, place, y);
        y += 1;
    }
    y
}

fn draw_gauge(canvas: &mut Canvas<'_>, gauge: &Gauge, for_name: u16, place: Rect, y: u16) {
    let theme = canvas.theme;
    let ratio = gauge.ratio();
    let is_full = gauge.usage >= gauge.value;
    let (words, style) = match gauge.in_s {
        _ if is_full && gauge.failures > 0 => (
            format!("FULL, {} refused", number(gauge.failures)),
            theme.bad,
        ),
        _ if is_full => ("FULL".into(), theme.bad),
        Some(in_s) if in_s < 0.5 => ("full now".into(), theme.bad),
        Some(in_s) => {
            let style = if in_s < 3600.0 { theme.bad } else { theme.warn };
            (format!("full in {}", time_left(in_s)), style)
        }
        None if gauge.failures > 0 => (format!("{} refused", number(gauge.failures)), theme.warn),
        None => ("steady".into(), theme.good),
    };
    let numbers = format!("{}/{}", number(gauge.usage), number(gauge.value));
    let for_words = 20;
    let for_numbers = (numbers.len() as u16).max(13);
    let bar = place
        .width
        .saturating_sub(for_name + for_numbers + for_words + 9);
    let mut x = place.x;
    canvas.name(x, y, for_name, &gauge.name, theme.title);
    x += for_name + 1;
    canvas.bar(x, y, bar, ratio);
    x += bar + 1;
    let percent = format!("{:.0}%", (ratio * 100.0).floor());
    canvas.right(x, y, 4, &percent, theme.usage(ratio));
    x += 5;
    canvas.right(x, y, for_numbers, &numbers, Style::new());
    x += for_numbers + 2;
    canvas.text(x, y, for_words, &words, style);
}

/// Creations, exits and failures of the node, as they went.
fn rates(canvas: &mut Canvas<'_>, world: &NodeStore, place: Rect, y: u16) -> u16 {
    let theme = canvas.theme;
    let part = place.width / 3;
    let names = ["created", "exited", "failed"];
    for (i, name) in names.into_iter().enumerate() {
        let x = place.x + i as u16 * part;
        let is_failed = i == 2;
        let known = !is_failed || world.knows_failures || world.time.is_none();
        let value = if known {
            a_second(world.rates[i])
        } else {
            "?".into()
        };
        let is_bad = is_failed && world.rates[2] > 0.0;
        let style = if is_bad { theme.bad } else { theme.title };
        let label = format!("{name} {value}/s ");
        let used = canvas.text(x, y, part, &label, style).max(16.min(part));
        let room = part.saturating_sub(used + 2).min(60);
        let columns = world
            .history
            .columns(world.now_s(), u64::from(room), usize::from(room));
        let values: Vec<f64> = columns
            .iter()
            .map(|column| [column.created, column.exited, column.failed][i])
            .collect();
        let style = if is_bad { theme.bad } else { theme.accent };
        if room > 0 && world.time.is_some() {
            canvas.rates(x + used, y, &values, style);
        }
    }
    y + 1
}

/// The open incident that is the most urgent now, in words.
fn alarm(canvas: &mut Canvas<'_>, app: &App, place: Rect, y: u16) -> u16 {
    let theme = canvas.theme;
    let world = app.shown();
    let open = app.open_incidents();
    let Some(main) = open.first() else {
        return y;
    };
    let label = " INCIDENT ";
    let mut more = match world.calm(main) {
        Some(calm) => format!(" (none refused for {})", about(calm)),
        None => String::new(),
    };
    if open.len() > 1 {
        more += &format!(" (and {} more)", open.len() - 1);
    }
    let indent = label.len() as u16 + 1;
    let lines = wrap(
        &format!("{}{more}", main.summary),
        usize::from(place.width - indent),
    );
    let most = if place.height > 30 { 3 } else { 2 };
    canvas.text(place.x, y, indent, label, theme.alarm);
    for (i, line) in lines.iter().take(most).enumerate() {
        let is_cut = i + 1 == most && lines.len() > most;
        let mut line = line.clone();
        if is_cut {
            let room = usize::from(place.width - indent).saturating_sub(2);
            line = format!("{} {}", beginning(&line, room), theme.glyphs.cut);
        }
        canvas.text(
            place.x + indent,
            y + i as u16,
            place.width - indent,
            &line,
            theme.title,
        );
    }
    y + lines.len().min(most) as u16
}

fn draw_table(canvas: &mut Canvas<'_>, app: &App, place: Rect, areas: &mut Areas) {
    let theme = canvas.theme;
    let columns = Column::fitting(place.width);
    let y = place.y;
    canvas.paint(place.x, y, place.width, theme.header);
    let mut x = place.x;
    for &(column, width) in &columns {
        let is_sorted = column == app.order.sort;
        let mark = if is_sorted {
            theme.glyphs.sorted[usize::from(app.order.reverse)]
        } else {
            ""
        };
        let mut title = format!("{}{mark}", column.title());
        if column == Column::Name {
            title += &about_rows(app);
        }
        let style = if is_sorted {
            theme.selected
        } else {
            theme.header
        };
        if column.is_number() {
            canvas.right(x, y, width, &title, style);
        } else {
            canvas.text(x, y, width, &title, style);
        }
        let title = Rect::new(x, y, width, 1);
        areas.titles.push((area(title), column));
        x += width + 1;
    }
    let list = Rect::new(place.x, y + 1, place.width, place.height.saturating_sub(1));
    areas.list = area(list);
    areas.lines = app.rows.len();
    if app.rows.is_empty() {
        let text = match (app.shown().time, app.order.filter.is_empty()) {
            (None, _) => "",
            (Some(_), true) => {
                "no owner has tasks, or none that --cgroup, --namespace and --pod ask for"
            }
            (Some(_), false) => "no owner's name has the filter in it; Esc drops it",
        };
        canvas.text(list.x, list.y, list.width, text, theme.dim);
        return;
    }
    let mut cursor = app.cursor;
    cursor.keep(app.rows.len(), usize::from(list.height.max(1)));
    let shown = app.rows.iter().enumerate().skip(cursor.top);
    for (line, (i, row)) in shown.take(usize::from(list.height)).enumerate() {
        let at = Area {
            x: list.x,
            y: list.y + line as u16,
            width: list.width,
            height: 1,
        };
        draw_row(canvas, app, row, &columns, at, i == cursor.selected);
    }
}

/// What of the owners is shown, after the title of their names.
fn about_rows(app: &App) -> String {
    let mode = match app.order.mode {
        Mode::Flat => String::new(),
        other => format!(" {}", other.name()),
    };
    let filter = match app.order.filter.as_str() {
        "" => String::new(),
        filter => format!(" /{filter}"),
    };
    format!("{mode}{filter} ({})", app.rows.len())
}

fn draw_row(
    canvas: &mut Canvas<'_>,
    app: &App,
    row: &TableRow,
    columns: &[(Column, u16)],
    at: Area,
    is_selected: bool,
) {
    let theme = canvas.theme;
    let world = app.shown();
    let plain = if row.badge == Badge::Gone {
        theme.dim
    } else {
        Style::new()
    };
    let mut x = at.x;
    for &(column, width) in columns {
        let above = |value: f64, style: Style| if value > 0.0 { style } else { theme.dim };
        let number = |n: Option<u64>| (tasks(n), if n == Some(0) { theme.dim } else { plain });
        let (text, style) = match column {
            Column::State => (row.badge.word().to_owned(), theme.badge(row.badge)),
            Column::Name => {
                draw_name(canvas, row, (x, at.y, width), app.order.mode, plain);
                x += width + 1;
                continue;
            }
            Column::Trend => {
                if let RowKey::Owner(id) = row.key
                    && let Some(known) = world.owners.get(&id)
                {
                    let n = usize::from(width);
                    let columns = known.history.columns(world.now_s(), n as u64 * 2, n);
                    let style = match row.badge {
                        Badge::Leak | Badge::Culprit => theme.bad,
                        _ => theme.accent,
                    };
                    canvas.trend(x, at.y, &columns, style);
                }
                x += width + 1;
                continue;
            }
            Column::Tasks => number(row.tasks),
            Column::Share => match row.share {
                Some(share) => {
                    let text = format!("{:.0}%", (share * 100.0).min(999.0));
                    (
                        text,
                        if share < 0.005 {
                            theme.dim
                        } else {
                            theme.usage(share)
                        },
                    )
                }
                None if row.of == Of::Several => ("-".into(), theme.dim),
                None => ("?".into(), theme.dim),
            },
            Column::Processes => number(row.processes),
            Column::Threads => number(row.threads),
            Column::Zombies => {
                let style = if row.zombies.is_some_and(|zombies| zombies > 0) {
                    theme.warn
                } else {
                    theme.dim
                };
                (tasks(row.zombies), style)
            }
            Column::Growth => match row.growth {
                Some(growth) if growth > 0.0 => (format!("+{}", rate(growth)), theme.warn),
                _ => ("-".into(), theme.dim),
            },
            Column::Created => (rate(row.created), above(row.created, plain)),
            Column::Exited => (rate(row.exited), above(row.exited, plain)),
            Column::Failed if !world.knows_failures => ("?".into(), theme.dim),
            Column::Failed => (rate(row.failed), above(row.failed, theme.bad)),
            Column::FullIn => match row.full_in {
                Some(in_s) => {
                    let style = if in_s < 3600.0 { theme.bad } else { theme.warn };
                    (time_left(in_s), style)
                }
                None if row.badge == Badge::Full => ("full".into(), theme.bad),
                None => ("-".into(), theme.dim),
            },
        };
        if column.is_number() {
            canvas.right(x, at.y, width, &text, style);
        } else {
            canvas.text(x, at.y, width, &text, style);
        }
        x += width + 1;
    }
    if is_selected {
        // The badge keeps its colours: they say more than where the cursor is.
        let badge = if row.badge == Badge::Ok {
            0
        } else {
            Column::State.width()
        };
        canvas.paint(at.x + badge, at.y, at.width - badge, theme.selected);
    }
}

/// A name, where it stands in the tree.
fn draw_name(
    canvas: &mut Canvas<'_>,
    row: &TableRow,
    (x, y, width): (u16, u16, u16),
    mode: Mode,
    style: Style,
) {
    let theme = canvas.theme;
    let indent = if mode == Mode::Flat {
        0
    } else {
        (2 * row.depth).min(width / 2)
    };
    let mark = match row.fold {
        _ if mode == Mode::Flat => "",
        Some(is_folded) => theme.glyphs.fold[usize::from(is_folded)],
        None => " ",
    };
    let mut used = indent;
    if !mark.is_empty() {
        canvas.text(x + used, y, 1, mark, theme.dim);
        used += 2;
    }
    let style = match row.badge {
        Badge::Leak | Badge::Culprit | Badge::Victim | Badge::Full => theme.title,
        _ => style,
    };
    canvas.name(x + used, y, width.saturating_sub(used), &row.name, style);
}
