//! `cargo xtask capture`: the picture of `top` in the README, from a real run.
//!
//! Plays the demo with `pidwatch top` beside it in a tmux of its own, waits until somebody is refused,
//! and writes what is on the screen then, colours and all, as docs/top.svg. Or makes the picture of a
//! screen that was kept before, with `tmux capture-pane -p -e`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{build, process, programs, workspace};

/// Name of the tmux server: nobody else's.
const SERVER: &str = "pidwatch-capture";
/// The demo fills its limit after 40 s.
const PATIENCE: Duration = Duration::from_mins(2);
/// Columns and rows.
const SCREEN: (usize, usize) = (80, 24);
/// Size of a character in the picture.
const CELL: (f64, f64) = (8.4, 17.0);
/// The sixteen colours of a dark terminal (VGA, softened).
const COLOURS: [&str; 16] = [
    "#1e1e1e", "#cc4b4b", "#4e9a5f", "#c9a03c", "#4a7fd0", "#a868b8", "#3f9ea8", "#d0d0d0",
    "#7a7a7a", "#e86a6a", "#6fc27f", "#e8c25a", "#6fa0ee", "#c58ad2", "#62c2cc", "#ffffff",
];

/// What follows `cargo xtask capture`.
#[derive(clap::Args)]
pub struct Options {
    /// A screen that was kept before, instead of a run
    screen: Option<PathBuf>,
}

/// Plays, waits and writes.
pub fn capture(options: &Options) -> Result<ExitCode> {
    let screen = match &options.screen {
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        }
        None => play()?,
    };
    let file = workspace::root().join("docs/top.svg");
    fs::write(&file, svg(&screen)).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("xtask: {} is new", file.display());
    Ok(ExitCode::SUCCESS)
}

/// The screen of a run.
fn play() -> Result<String> {
    programs::ensure(&["tmux"], "the picture of the screen")?;
    let pidwatch = build::build()?;
    let mut demo = Command::new(std::env::current_exe()?);
    let demo = demo.arg("demo").stdout(Stdio::null()).stdin(Stdio::null());
    let mut demo = demo.spawn().context("cannot start the demo")?;
    let top = process::as_root(&pidwatch, &[])?;
    let top = format!("{} top --cgroup '/pidwatch-demo*'", process::shown(&top));
    let outcome = picture(&top, &mut demo);
    let _ = tmux(&["kill-server"]);
    demo.wait()?;
    outcome
}

fn picture(top: &str, demo: &mut Child) -> Result<String> {
    let (columns, rows) = (SCREEN.0.to_string(), SCREEN.1.to_string());
    let locale = ["-e", "LC_ALL=C.UTF-8", "-e", "XDG_STATE_HOME=/dev/null"];
    let new = [
        "-f",
        "/dev/null",
        "new-session",
        "-d",
        "-x",
        &columns,
        "-y",
        &rows,
    ];
    tmux(&[&new[..], &locale, &[top]].concat())?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(500));
        ensure!(
            demo.try_wait()?.is_none(),
            "the demo ended before anybody was refused"
        );
        let screen = tmux(&["capture-pane", "-p"])?;
        if screen.contains("VICTIM") && screen.contains("FULL, ") {
            // A few refusals more make a better picture.
            std::thread::sleep(Duration::from_secs(4));
            return tmux(&["capture-pane", "-p", "-e"]);
        }
    }
    bail!("nobody was refused");
}

fn tmux(arguments: &[&str]) -> Result<String> {
    let mut tmux = programs::find("tmux")?.command();
    process::output(tmux.args(["-L", SERVER]).args(arguments).env_remove("TMUX"))
}

/// How a character looks.
#[derive(Clone, Default, PartialEq)]
struct Look {
    front: Option<String>,
    back: Option<String>,
    bold: bool,
    reverse: bool,
}

/// A piece of a line that looks alike.
struct Piece {
    column: usize,
    text: String,
    look: Look,
}

/// The pieces of a line; how what follows it looks.
fn pieces(line: &str, look: &mut Look) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut column = 0;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some((numbers, after)) = rest
            .strip_prefix("\x1b[")
            .and_then(|all| all.split_once('m'))
        {
            let numbers: Vec<usize> = numbers.split(';').map(|n| n.parse().unwrap_or(0)).collect();
            turn(look, &numbers);
            rest = after;
            continue;
        }
        match pieces.last_mut().filter(|piece| piece.look == *look) {
            Some(piece) => piece.text.push(c),
            None => pieces.push(Piece {
                column,
                text: c.into(),
                look: look.clone(),
            }),
        }
        column += 1;
        rest = &rest[c.len_utf8()..];
    }
    pieces
}

/// Takes what a sequence of SGR (ECMA-48, 8.3.117) says.
fn turn(look: &mut Look, numbers: &[usize]) {
    let mut numbers = numbers.iter().copied();
    while let Some(n) = numbers.next() {
        match n {
            0 => *look = Look::default(),
            1 => look.bold = true,
            22 => look.bold = false,
            7 => look.reverse = true,
            27 => look.reverse = false,
            30..=37 => look.front = Some(COLOURS[n - 30].into()),
            90..=97 => look.front = Some(COLOURS[n - 82].into()),
            39 => look.front = None,
            40..=47 => look.back = Some(COLOURS[n - 40].into()),
            100..=107 => look.back = Some(COLOURS[n - 92].into()),
            49 => look.back = None,
            // One of 256; only the first sixteen are used by the terminal's own theme.
            38 | 48 => {
                let index = numbers.nth(1).filter(|index| *index < 16);
                let colour = index.map(|index| COLOURS[index].to_owned());
                if n == 38 {
                    look.front = colour;
                } else {
                    look.back = colour;
                }
            }
            _ => {}
        }
    }
}

fn svg(screen: &str) -> String {
    let (width, height) = (
        SCREEN.0 as f64 * CELL.0 + 20.0,
        SCREEN.1 as f64 * CELL.1 + 20.0,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{}\"/>\n",
        COLOURS[0]
    );
    let mut look = Look::default();
    for (row, line) in screen.lines().enumerate() {
        for piece in pieces(line, &mut look) {
            draw(&mut svg, row, &piece);
        }
    }
    svg + "</svg>\n"
}

fn draw(svg: &mut String, row: usize, piece: &Piece) {
    let look = &piece.look;
    let front = look.front.as_deref().unwrap_or(COLOURS[7]);
    let back = look.back.as_deref();
    let (front, back) = if look.reverse {
        (back.unwrap_or(COLOURS[0]), Some(front))
    } else {
        (front, back)
    };
    let x = 10.0 + piece.column as f64 * CELL.0;
    let y = 10.0 + row as f64 * CELL.1;
    let width = piece.text.chars().count() as f64 * CELL.0;
    if let Some(back) = back {
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{back}\"/>",
            CELL.1
        );
    }
    if piece.text.trim().is_empty() {
        return;
    }
    let weight = if look.bold {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let text = piece
        .text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
         xml:space=\"preserve\" fill=\"{front}\"{weight}>{text}</text>",
        y + CELL.1 * 0.76
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_with_colours_is_a_picture_of_it() {
        let line = "\x1b[1m\x1b[37m\x1b[41mLEAK\x1b[0m a<b \x1b[7mx\x1b[27m";
        let texts: Vec<_> = pieces(line, &mut Look::default());
        let texts: Vec<_> = texts.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(texts, ["LEAK", " a<b ", "x"]);
        let picture = svg(line);
        assert!(
            picture.contains(">LEAK</text>") && picture.contains("a&lt;b"),
            "{picture}"
        );
        assert!(
            picture.contains(&format!("fill=\"{}\"/>", COLOURS[1])),
            "its background"
        );
    }
}
