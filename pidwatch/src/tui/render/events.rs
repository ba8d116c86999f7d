//! Incidents, and what happened: the newest first.

use ratatui::{layout::Rect, style::Style};

use super::{
    canvas::{Canvas, area, number},
    frame::time_of_day,
};
use crate::{
    escape,
    tui::app::{App, Areas, commands::ListEntry, world::LogKind},
};

/// Columns of the time of the day.
const TIME: u16 = 9;

/// Draws the list.
pub fn draw(canvas: &mut Canvas<'_>, app: &App, place: Rect, areas: &mut Areas) {
    let theme = canvas.theme;
    canvas.paint(place.x, place.y, place.width, theme.header);
    let n = app.entries().count();
    let hidden = if app.shows_cgroups {
        ""
    } else {
        "; c shows cgroups that come and go"
    };
    let is_incident = |entry: &ListEntry<'_>| matches!(entry, ListEntry::Incident(_));
    let incidents = match app.entries().filter(is_incident).count() {
        1 => "1 incident".to_owned(),
        count => format!("{count} incidents"),
    };
    let title = format!(
        "{incidents}, {} open; then what happened, the newest first{hidden}",
        app.open_incidents().len(),
    );
    canvas.text(place.x, place.y, place.width, &title, theme.header);
    let list = Rect::new(
        place.x,
        place.y + 1,
        place.width,
        place.height.saturating_sub(1),
    );
    areas.list = area(list);
    areas.lines = n;
    if n == 0 {
        canvas.text(
            list.x,
            list.y,
            list.width,
            "Nothing has happened since pidwatch looks.",
            theme.dim,
        );
        return;
    }
    let mut cursor = app.events;
    cursor.keep(n, usize::from(list.height.max(1)));
    let shown = app.entries().enumerate().skip(cursor.top);
    for (line, (i, entry)) in shown.take(usize::from(list.height)).enumerate() {
        let y = list.y + line as u16;
        let time = match entry {
            ListEntry::Incident(incident) => incident.opened,
            ListEntry::Event(event) => event.time,
        };
        let time = time_of_day(&app.zone, time);
        canvas.text(list.x, y, TIME, &time, theme.dim);
        draw_entry(
            canvas,
            entry,
            (list.x + TIME, y, list.width.saturating_sub(TIME)),
        );
        if i == cursor.selected {
            canvas.paint(list.x, y, list.width, theme.selected);
        }
    }
}

fn draw_entry(canvas: &mut Canvas<'_>, entry: ListEntry<'_>, (x, y, width): (u16, u16, u16)) {
    const WORD: u16 = 9;
    let theme = canvas.theme;
    let (word, style) = match entry {
        ListEntry::Incident(incident) if !incident.is_open() => ("closed", theme.dim),
        ListEntry::Incident(_) => ("INCIDENT", theme.alarm),
        ListEntry::Event(event) => match event.what {
            LogKind::Failure => ("refused", if event.is_bad { theme.bad } else { theme.dim }),
            LogKind::State => ("state", if event.is_bad { theme.bad } else { theme.warn }),
            LogKind::Incident => (
                "incident",
                if event.is_bad { theme.bad } else { theme.good },
            ),
            LogKind::Brake => ("brake", if event.is_bad { theme.bad } else { theme.warn }),
            LogKind::Cgroup => ("cgroup", theme.dim),
            LogKind::Lost => ("lost", theme.bad),
        },
    };
    canvas.text(x, y, WORD, word, style);
    let (x, width) = (x + WORD, width.saturating_sub(WORD));
    match entry {
        ListEntry::Incident(incident) => {
            let summary = escape::for_terminal(incident.summary.as_bytes());
            canvas.text(x, y, width, &summary, theme.title);
        }
        ListEntry::Event(event) => {
            let for_name = if event.name.is_empty() { 0 } else { width / 3 };
            canvas.name(x, y, for_name, &event.name, Style::new());
            let gap = u16::from(for_name > 0);
            let text = match event.times {
                1 => event.text.clone(),
                times => format!("{}x {}", number(times), event.text),
            };
            let rest = width.saturating_sub(for_name + gap);
            canvas.text(x + for_name + gap, y, rest, &text, Style::new());
        }
    }
}
