//! An incident's page: limit, culprits, victims, timeline.

use super::{
    canvas::{number, rate},
    frame::time_of_day,
    lines::{LineStyle, PageLines},
};
use crate::{
    escape,
    tui::{app::App, theme::Theme},
};

/// Its lines.
pub fn lines(app: &App, id: &str, _theme: &Theme, width: u16) -> PageLines {
    let mut lines = PageLines::default();
    let Some(incident) = app.shown().incidents.iter().find(|known| known.id == id) else {
        lines.dim("This incident is not known any more.");
        return lines;
    };
    let time = |time| time_of_day(&app.zone, time);
    let safe = |text: &str| escape::for_terminal(text.as_bytes());
    let state = if incident.is_open() { "open" } else { "over" };
    let since = time(incident.opened);
    let id = safe(&incident.id);
    lines.title(format!("Incident {id}, {state}, since {since}"));
    let look = if incident.is_open() {
        LineStyle::Bad
    } else {
        LineStyle::Plain
    };
    lines.wrapped(look, &safe(&incident.summary), width);
    let name = match &incident.cgroup {
        Some(path) => safe(&format!("{} {path}", incident.limit)),
        None => safe(&incident.limit),
    };
    lines.title("Limit");
    match (incident.usage, incident.value) {
        (Some(usage), Some(value)) => lines.usage(&name, usage, value),
        _ => lines.plain(name),
    }
    if let Some(peak) = incident.peak {
        lines.dim(format!(
            "at most {} used; {} creations refused",
            number(peak),
            number(incident.failures)
        ));
    }
    lines.title("Who eats it");
    for culprit in &incident.culprits {
        let growth = culprit
            .growth_per_s
            .map_or_else(String::new, |growth| format!(", +{} tasks/s", rate(growth)));
        let share = culprit.share * 100.0;
        let text = format!("{share:.0} %, {} tasks{growth}", number(culprit.tasks));
        lines.pair(width / 2, culprit.owner.name(), text);
    }
    if incident.culprits.is_empty() {
        lines.dim("nobody stands out");
    }
    lines.title("Who suffers");
    for victim in &incident.victims {
        let comms: Vec<String> = victim.comms.keys().map(|comm| safe(comm)).collect();
        let text = format!("{} refused: {}", number(victim.failures), comms.join(", "));
        lines.pair(width / 2, victim.owner.name(), text);
    }
    if incident.victims.is_empty() {
        lines.dim("nobody yet");
    }
    lines.title("What happened");
    for moment in &incident.timeline {
        lines.pair(9, time(moment.time), safe(&moment.text));
    }
    lines.plain("");
    lines.dim("w writes the report of this incident into a file");
    lines
}
