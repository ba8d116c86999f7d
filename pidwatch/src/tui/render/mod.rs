//! Drawing: the screen as a function of the state, one file a view.
//!
//! In: the [`App`], a theme, an empty screen. Out: what is drawn, and what stands where ([`Areas`]).

pub mod canvas;
mod detail;
mod events;
mod frame;
mod help;
mod incident;
mod lines;
mod owners;

use ratatui::{buffer::Buffer, layout::Rect};

use self::{
    canvas::Canvas,
    lines::{LineStyle, PageLines},
};
use super::{
    app::{App, Areas, LimitsPage, Page, Prompt, View},
    theme::Theme,
};

/// A screen that is smaller has no room for a table.
const LEAST: (u16, u16) = (40, 10);

/// Draws the screen.
pub fn draw(app: &App, theme: &Theme, buffer: &mut Buffer) -> Areas {
    let mut canvas = Canvas { buffer, theme };
    let mut areas = Areas::default();
    let screen = canvas.area();
    if screen.width < LEAST.0 || screen.height < LEAST.1 {
        let text = format!("pidwatch needs {} x {} characters", LEAST.0, LEAST.1);
        canvas.text(0, 0, screen.width, &text, theme.warn);
        return areas;
    }
    let body = frame::draw(&mut canvas, app, &mut areas);
    if app.help {
        help::lines(app, body.width).draw(&mut canvas, body, app.scroll, &mut areas);
        return areas;
    }
    if let Some(prompt) = &app.prompt {
        let above = draw_prompt(&mut canvas, prompt, body);
        draw_view(&mut canvas, app, above, &mut areas);
    } else {
        draw_view(&mut canvas, app, body, &mut areas);
    }
    areas
}

/// The question, in the lowest rows; what is left for the view.
fn draw_prompt(canvas: &mut Canvas<'_>, prompt: &Prompt, body: Rect) -> Rect {
    let mut lines = PageLines::default();
    let width = body.width.saturating_sub(1);
    for text in &prompt.lines {
        lines.wrapped(LineStyle::Warn, text, width);
    }
    let keys = format!("y: {}   any other key: cancel", prompt.yes);
    lines.wrapped(LineStyle::Title, &keys, width);
    let height = (lines.len() as u16 + 1).min(body.height);
    let above = Rect {
        height: body.height - height,
        ..body
    };
    let line = canvas.theme.glyphs.line.repeat(usize::from(body.width));
    canvas.text(body.x, above.bottom(), body.width, &line, canvas.theme.dim);
    let place = Rect::new(body.x, above.bottom() + 1, body.width, height - 1);
    lines.draw(canvas, place, 0, &mut Areas::default());
    above
}

fn draw_view(canvas: &mut Canvas<'_>, app: &App, body: Rect, areas: &mut Areas) {
    let theme = canvas.theme;
    match (&app.page, app.view) {
        (Some(Page::Owner(id)), _) => detail::draw(canvas, app, *id, body, areas),
        (Some(Page::Incident(id)), _) => {
            let lines = incident::lines(app, id, theme, body.width);
            lines.draw(canvas, body, app.scroll, areas);
        }
        (None, View::Owners) => owners::draw(canvas, app, body, areas),
        (None, View::Events) => events::draw(canvas, app, body, areas),
        (None, View::Limits) => {
            limits(app, body.width).draw(canvas, body, app.scroll, areas);
        }
    }
}

/// What `check` says, as it says it.
fn limits(app: &App, width: u16) -> PageLines {
    let mut lines = PageLines::default();
    match &app.limits {
        LimitsPage::Unread => lines.dim("Looking at the limits ..."),
        LimitsPage::Elsewhere => {
            lines.plain("The limits of users, of pods and of all cgroups are not known here:");
            lines.plain("the picture comes from another place than this machine.");
            lines.plain("Run `pidwatch check` on the node. What the stream tells of limits:");
            lines.plain("");
            for gauge in app.gauges() {
                lines.usage(&gauge.name, gauge.usage, gauge.value);
            }
        }
        LimitsPage::Read(all) => {
            for line in all {
                lines.check(line, width);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests;
