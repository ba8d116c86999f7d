//! What every view has around it: the title with the tabs, the time bar of a recording, and the
//! bottom line with the keys that matter here.

use jiff::{Timestamp, tz::TimeZone};
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::canvas::{Canvas, area};
use crate::{
    clock::between,
    tui::{
        app::{App, Area, Areas, Origin, View},
        keys::{BINDINGS, KeyBinding, KeyCommand, KeyPlace},
    },
};

/// A time of the day.
pub fn time_of_day(zone: &TimeZone, time: Timestamp) -> String {
    let zoned = time.to_zoned(zone.clone());
    format!(
        "{:02}:{:02}:{:02}",
        zoned.hour(),
        zoned.minute(),
        zoned.second()
    )
}

/// Draws the frame; what is left for the view.
pub fn draw(canvas: &mut Canvas<'_>, app: &App, areas: &mut Areas) -> Rect {
    let screen = canvas.area();
    title(canvas, app, areas);
    let mut top = 1;
    if let Origin::Recording { from, to, at, .. } = app.origin {
        time_bar(canvas, app, (from, to, at), areas);
        top += 1;
    }
    if let Origin::Agent {
        url,
        trouble: Some(trouble),
    } = &app.origin
    {
        let text = format!(" {url}: {trouble}; what you see is from before; trying again ");
        canvas.paint(0, top, screen.width, canvas.theme.alarm);
        canvas.text(0, top, screen.width, &text, canvas.theme.alarm);
        top += 1;
    }
    bottom(canvas, app);
    Rect::new(0, top, screen.width, screen.height - top - 1)
}

fn title(canvas: &mut Canvas<'_>, app: &App, areas: &mut Areas) {
    let theme = canvas.theme;
    let width = canvas.area().width;
    canvas.paint(0, 0, width, theme.header);
    let world = app.shown();
    let time = world.time.map(|time| time_of_day(&app.zone, time));
    let state = match &app.origin {
        _ if app.is_paused() => "PAUSED",
        Origin::Starting => "starting",
        Origin::Live => "live",
        Origin::Recording { .. } => "recording",
        Origin::Agent { .. } => "agent",
    };
    let lost: u64 = world.lost.values().sum();
    let lost = if lost > 0 {
        format!("{lost} lost  ")
    } else {
        String::new()
    };
    let right = format!("{lost}{state} {} ", time.unwrap_or_default());
    let right_width = right.len() as u16;
    let mut x = 1 + canvas.text(1, 0, 10, "pidwatch", theme.header) + 2;
    let tabs: Vec<(View, String)> = View::ALL
        .into_iter()
        .enumerate()
        .map(|(i, view)| {
            let open = match view {
                View::Events => app.open_incidents().len(),
                _ => 0,
            };
            let open = if open > 0 {
                format!(" ({open})")
            } else {
                String::new()
            };
            (view, format!(" {} {}{open} ", i + 1, view.name()))
        })
        .collect();
    let tabs_width: usize = tabs.iter().map(|(_, text)| text.len()).sum();
    let room = width.saturating_sub(x + right_width + tabs_width as u16 + 1);
    if room >= 6 {
        x += canvas.name(x, 0, room.min(32), &world.node_name, theme.header) + 1;
    }
    for (view, text) in tabs {
        let style = if app.view == view {
            theme.selected
        } else {
            theme.header
        };
        let took = canvas.text(x, 0, width.saturating_sub(x + right_width), &text, style);
        let part = Rect::new(x, 0, took, 1);
        areas.tabs.push((area(part), view));
        x += took;
    }
    canvas.right(0, 0, width, &right, theme.header);
}

fn time_bar(
    canvas: &mut Canvas<'_>,
    app: &App,
    (from, to, at): (Timestamp, Timestamp, Timestamp),
    areas: &mut Areas,
) {
    let width = canvas.area().width;
    let begin = time_of_day(&app.zone, from);
    let end = time_of_day(&app.zone, to);
    let edge = begin.len() as u16 + 1;
    canvas.text(0, 1, edge, &begin, canvas.theme.dim);
    canvas.text(width - edge + 1, 1, edge, &end, canvas.theme.dim);
    let bar = Area {
        x: edge,
        y: 1,
        width: width - 2 * edge,
        height: 1,
    };
    let span = between(from, to).as_secs_f64().max(0.001);
    let part = (between(from, at).as_secs_f64() / span).clamp(0.0, 1.0);
    let place = (part * f64::from(bar.width - 1)).round() as u16;
    let glyphs = canvas.theme.glyphs;
    let line = glyphs.line.repeat(usize::from(bar.width));
    canvas.text(bar.x, 1, bar.width, &line, canvas.theme.dim);
    canvas.text(
        bar.x,
        1,
        place,
        &glyphs.full.repeat(usize::from(place)),
        canvas.theme.accent,
    );
    canvas.text(bar.x + place, 1, 1, glyphs.full, canvas.theme.title);
    // Where incidents began: what a person looks for.
    for incident in &app.shown().incidents {
        let part = between(from, incident.opened).as_secs_f64() / span;
        if (0.0..=1.0).contains(&part) {
            let place = (part * f64::from(bar.width - 1)).round() as u16;
            canvas.text(bar.x + place, 1, 1, "!", canvas.theme.bad);
        }
    }
    areas.time_bar = bar;
}

fn bottom(canvas: &mut Canvas<'_>, app: &App) {
    let theme = canvas.theme;
    let screen = canvas.area();
    let (y, width) = (screen.height - 1, screen.width);
    if app.typing {
        let text = format!("filter: {}", app.order.filter);
        let x = canvas.text(0, y, width - 1, &text, theme.title);
        canvas.paint(x, y, 1, theme.selected);
        canvas.right(0, y, width, "Enter keeps it, Esc drops it", theme.dim);
        return;
    }
    if let Some(message) = &app.message {
        canvas.text(0, y, width, message, theme.warn);
        return;
    }
    let places = app.places();
    let is_here = |binding: &&KeyBinding| {
        let is_here = binding.place == KeyPlace::Anywhere || places.contains(&binding.place);
        !binding.hint.is_empty() && is_here
    };
    // How to get help and out is always there.
    let is_last =
        |binding: &KeyBinding| matches!(binding.command, KeyCommand::Help | KeyCommand::Quit);
    let hint = |binding: &KeyBinding| {
        // The first way to do it is enough here.
        let key = binding
            .shown
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        (key, binding.hint)
    };
    let all = || BINDINGS.iter().filter(is_here);
    let last: Vec<_> = all().filter(|binding| is_last(binding)).map(hint).collect();
    let columns = |(key, hint): &(String, &str)| (key.width() + hint.width() + 3) as u16;
    let for_last: u16 = last.iter().map(columns).sum();
    let mut x = 0;
    for told in all().filter(|binding| !is_last(binding)).map(hint) {
        if x + columns(&told) + for_last > width {
            break;
        }
        x += draw_hint(canvas, x, y, &told);
    }
    let mut x = width.saturating_sub(for_last);
    for told in &last {
        x += draw_hint(canvas, x, y, told);
    }
}

fn draw_hint(canvas: &mut Canvas<'_>, x: u16, y: u16, (key, hint): &(String, &str)) -> u16 {
    let (accent, dim) = (canvas.theme.accent, canvas.theme.dim);
    let used = canvas.text(x, y, u16::MAX, key, accent) + 1;
    used + canvas.text(x + used, y, u16::MAX, hint, dim) + 2
}
