//! The post-mortem of a recording: what happened, who it was, why nothing stopped it, what to do.
//!
//! In: the lines of a stream, once, in order. Out: a [`Report`], and its forms for people
//! ([`markdown`], [`text`], [`html`]) and programs (serde). Pure: neither clock nor files; a stream of
//! any length takes bounded room.

mod actions;
mod alert;
mod case;
mod chart;
mod collect;
mod compose;
mod curve;
mod document;
mod findings;
pub mod html;
pub mod markdown;
mod markup;
mod members;
mod model;
mod overview;
mod scene;
mod story;
pub mod text;
mod trust;
pub mod words;

pub use self::model::*;
use self::{
    case::case,
    collect::Collected,
    scene::Scene,
    words::{Clock, Words, code, words},
};
use crate::{cgroup::LayoutKind, stream::Line};

/// There is nothing to report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Not one line.
    #[error(
        "the recording is empty: it has no line that can be read; make one with `pidwatch trace -o \
         json > FILE`"
    )]
    Empty,
    /// An incident was asked for that is not there.
    #[error("no incident `{asked}` is in the recording; {known}")]
    NoSuchIncident {
        /// Its id.
        asked: String,
        /// Those that are.
        known: String,
    },
}

/// Reads a stream, line by line, and then tells what it held.
#[derive(Clone, Debug, Default)]
pub struct Reporter {
    all: Collected,
    notes: Vec<Words>,
}

impl Reporter {
    /// Takes the next line in.
    pub fn push(&mut self, line: &Line) {
        self.all.push(line);
    }

    /// Something that the reader should know of the recording: it ends in the midst of a line.
    pub fn note(&mut self, note: Words) {
        self.notes.push(note);
    }

    /// The report; about one incident alone when its id is given.
    ///
    /// # Errors
    /// When there was no line, or no such incident.
    pub fn finish(mut self, only: Option<&str>) -> Result<Report, ReportError> {
        self.all.finish();
        let all = &self.all;
        let (from, to) = all.span.ok_or(ReportError::Empty)?;
        if let Some(asked) = only
            && !all.incidents.contains_key(asked)
        {
            return Err(no_such_incident(asked, all));
        }
        let clock = Clock::new(from, to);
        let told = all.incidents.values();
        let told = told.filter(|told| only.is_none_or(|only| told.incident.id == only));
        let mut incidents: Vec<_> = told
            .map(|told| {
                case(&Scene {
                    all,
                    told,
                    from,
                    to,
                    clock,
                })
            })
            .collect();
        incidents.sort_by(|a, b| {
            let rank = |case: &Case| (case.severity, !case.culprits.is_empty(), case.failures);
            (rank(b), &a.id).cmp(&(rank(a), &b.id))
        });
        let mut trust = trust::trust(all, &incidents, (from, to));
        trust.notes.extend(self.notes);
        trust.complete = trust.lost.is_empty() && trust.notes.is_empty();
        let limits = overview::limits(all);
        let owners = overview::owners(all, &incidents, (from, to));
        let started = all.started.as_ref();
        Ok(Report {
            node: all.node.clone(),
            kernel: started.map(|started| started.kernel.clone()),
            pidwatch: started.map(|started| started.version.clone()),
            cgroup_layout: started
                .map(|started| started.cgroup_layout.name(LayoutKind::name).to_owned()),
            summary: overview::summary(all, &incidents, &limits, &owners, (from, to)),
            from,
            to,
            incidents,
            limits,
            owners,
            other_failures: overview::other_failures(all),
            findings: overview::forbidden(all),
            tasks: overview::tasks(all, (from, to)),
            trust,
        })
    }
}

fn no_such_incident(asked: &str, all: &Collected) -> ReportError {
    let mut ids: Vec<&str> = all.incidents.keys().map(String::as_str).collect();
    ids.sort_unstable();
    ids.truncate(20);
    let known = match ids.len() {
        0 => "there is none in it".to_owned(),
        _ => words![
            "there are: ",
            code(ids[0]),
            ids[1..]
                .iter()
                .map(|id| format!(", {}", words::shown(id)))
                .collect::<String>()
        ]
        .to_string(),
    };
    ReportError::NoSuchIncident {
        asked: words::shown(asked),
        known,
    }
}

#[cfg(test)]
mod tests;
