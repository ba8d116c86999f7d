//! What several outputs say of an event in the same words.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    escape,
    identity::identify,
    limits::{Basis, Reason},
    stream::{CloneFailure, LimitHolder, TaskNames},
};

/// Text of a stream, safe to show: it may come from a file that anybody wrote.
pub(super) fn safe(text: &str) -> String {
    escape::for_terminal(text.as_bytes())
}

/// `490 of 500 tasks looked at are `pool-*`; the largest process is java[4711] with 1480 threads`
pub fn called(names: &TaskNames) -> String {
    let largest = &names.largest;
    let patterns = names.patterns.iter().take(2);
    let patterns: Vec<_> = patterns
        .map(|pattern| format!("{} are `{}`", pattern.count, safe(&pattern.name)))
        .collect();
    format!(
        "of {} tasks looked at {}; the largest process is {}[{}] with {} threads",
        names.sampled,
        patterns.join(", "),
        safe(&largest.comm),
        largest.pid,
        largest.threads,
    )
}

/// The limit that refused with its use, or the reason, or at least the error.
pub fn why(failed: &CloneFailure) -> String {
    let errno = safe(&failed.errno.to_string());
    let sure = if failed.evidence == Some(Basis::Inferred.into()) {
        " (inferred)"
    } else {
        ""
    };
    let Some(limit) = &failed.limit else {
        return match failed.reason.known() {
            Some(Reason::Unknown) => errno,
            Some(Reason::PidNamespaceDying) => {
                format!("{errno}, the PID namespace's init is gone{sure}")
            }
            Some(Reason::Memory) => format!("{errno}, no memory{sure}"),
            Some(Reason::RlimitNproc) => format!("{errno}, RLIMIT_NPROC{sure}"),
            _ => format!("{errno}, {}{sure}", safe(failed.reason.name(Reason::name))),
        };
    };
    let whose = match limit.holder() {
        LimitHolder::Cgroup(path) if path.is_some() && path == failed.owner.path() => String::new(),
        LimitHolder::Cgroup(Some(path)) => format!(" of {}", above(path)),
        LimitHolder::Cgroup(None) => " of a removed cgroup".to_owned(),
        LimitHolder::User(uid) => format!(" of user {uid}"),
        LimitHolder::PidNamespace(_) => " of its PID namespace".to_owned(),
        LimitHolder::Node => String::new(),
    };
    format!(
        "{}{whose}, {} of {}{sure}",
        safe(&limit.name),
        limit.usage,
        limit.value
    )
}

/// A cgroup above the one that the line ends with: what it is, or the end of its path.
pub(super) fn above(path: &str) -> String {
    /// Enough to know it again in the path.
    const ROOM: usize = 24;
    let identity = identify(path.as_bytes());
    if identity.pod_uid.is_some() && identity.container.is_none() {
        return "its pod".to_owned();
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    cut_front(&safe(name), ROOM)
}

/// The end of a text that is wider than `room` columns: a path's end says the most.
pub(super) fn cut_front(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut kept = 1;
    let start = text
        .char_indices()
        .rev()
        .take_while(|(_, c)| {
            kept += c.width().unwrap_or(0);
            kept <= room
        })
        .last()
        .map_or(text.len(), |(index, _)| index);
    format!("\u{2026}{}", &text[start..])
}
