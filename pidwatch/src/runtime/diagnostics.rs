//! pidwatch's own diagnostics, its libraries' and its kernel side's, as lines on standard error, or kept
//! for a screen that has none.

use std::{
    fmt,
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    subscriber::set_global_default,
};
use tracing_log::{LogTracer, NormalizeEvent};
use tracing_subscriber::{Layer, filter::Targets, layer::Context, layer::SubscriberExt, registry};

/// This program's part, whose kernel side logs under the name of its crate, pidwatch_ebpf.
const OWN: &str = "pidwatch";
/// Tells each answer that is an error by itself; whoever asks says it in full.
const KUBE: &str = "kube_client";
/// Says that it could not raise RLIMIT_MEMLOCK; where that mattered, the error of the map says it.
const AYA: &str = "aya::sys::bpf";

/// Hands over each message.
struct Messenger<F>(F);

impl<S: Subscriber, F: Fn(Level, &str) + 'static> Layer<S> for Messenger<F> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        // What comes by `log` has another level than its own otherwise.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or(event.metadata());
        (self.0)(*metadata.level(), &message.0);
    }
}

/// The text of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Of this program what is as grave as `own` at least; of libraries what a person should know.
fn listen(own: LevelFilter, take: impl Fn(Level, &str) + Send + Sync + 'static) {
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(OWN, own)
        .with_target(KUBE, LevelFilter::OFF)
        .with_target(AYA, LevelFilter::OFF);
    // A second call (in tests) changes nothing.
    if set_global_default(registry().with(filter).with(Messenger(take))).is_ok() {
        // BPF's libraries speak `log`.
        let _ = LogTracer::init();
    }
}

/// Sends messages to standard error: with `kernel` everything, which the kernel side's part needs;
/// otherwise what is as grave as `least` at least.
pub fn init(kernel: bool, least: LevelFilter) {
    let own = if kernel { LevelFilter::TRACE } else { least };
    listen(own, |level, text| {
        let level = level.as_str().to_ascii_lowercase();
        // A reader that has gone is no reason to panic.
        let _ = writeln!(io::stderr(), "pidwatch: {level}: {text}");
    });
}

/// The last thing that was said and not shown.
static LAST: Mutex<Option<String>> = Mutex::new(None);

/// What a person should know, for whoever has a screen to show it on.
#[derive(Debug)]
pub struct Messages(());

impl Messages {
    /// The last message that was not taken yet.
    pub fn take(&self) -> Option<String> {
        LAST.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Keeps what a person should know: standard error is where the screen is.
pub fn collect() -> Messages {
    listen(LevelFilter::WARN, |_, text| {
        let text = crate::escape::for_terminal(text.as_bytes());
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    });
    Messages(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_message_comes_with_its_level_and_nothing_else() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let take = {
            let heard = heard.clone();
            move |level: Level, text: &str| {
                let line = format!("{level} {text}");
                heard.lock().unwrap().push(line);
            }
        };
        let subscriber = registry().with(Messenger(take));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!("{} is full", "the disk");
            tracing::info!(number = 7, "with a field");
        });
        let heard = heard.lock().unwrap();
        assert_eq!(*heard, ["WARN the disk is full", "INFO with a field"]);
    }
}
