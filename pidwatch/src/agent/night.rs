//! The report of an incident from the flight recorder: last night, told in the morning.
//!
//! Reads everything that was recorded, a little at a time, so that the watch goes on meanwhile.

use std::{
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use http::StatusCode;

use super::{
    flight,
    shared::{CountGuard, Shared},
};
use crate::{
    recording::{ReadError, Reader},
    report::{Report, ReportError, Reporter},
};

/// The watch has its turn after this.
const AT_A_TIME: Duration = Duration::from_millis(5);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum NightError {
    /// Another one is being made.
    #[error("a report is being made")]
    Busy,
    /// There is no recorder.
    #[error(
        "there is no report, for there is no recording: the flight recorder is off or its folder cannot \
         be used; start the agent with --flight-recorder SIZE and a --state-dir that it can write to"
    )]
    Off,
    /// The recorder's folder cannot be read.
    #[error("cannot read the recordings in {0}: {1}")]
    Io(String, std::io::Error),
    /// No such incident, or nothing at all.
    #[error("{0}; the oldest recordings go when --flight-recorder is full")]
    Missing(ReportError),
}

impl NightError {
    /// What it is in HTTP.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Off | Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Io(..) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The report of an incident, or of everything.
///
/// # Errors
/// When there is no recording, it cannot be read or has no such incident, or another report is being
/// made.
pub async fn report(shared: &Rc<Shared>, id: Option<&str>) -> Result<Report, NightError> {
    if shared.reports.get() > 0 {
        return Err(NightError::Busy);
    }
    let _one = CountGuard::new(&shared.reports);
    let usable = shared.flight.borrow_mut().as_mut().and_then(|flight| {
        flight.write();
        flight.usable_folder().map(Path::to_owned)
    });
    let folder = usable.ok_or(NightError::Off)?;
    let reporter = read(&folder).await?;
    reporter.finish(id).map_err(NightError::Missing)
}

async fn read(folder: &Path) -> Result<Reporter, NightError> {
    let files = flight::files(folder)
        .map_err(|error| NightError::Io(folder.display().to_string(), error))?;
    let mut reporter = Reporter::default();
    let mut began = Instant::now();
    let mut unread = 0_u64;
    for file in files {
        // One may have gone to make room, or have nothing but what was cut off.
        let Ok(reader) = Reader::open(&file.path) else {
            continue;
        };
        for line in reader {
            match line {
                Ok(line) => reporter.push(&line),
                Err(ReadError::Broken { .. }) => unread += 1,
                Err(_) => {
                    unread += 1;
                    break;
                }
            }
            if began.elapsed() >= AT_A_TIME {
                tokio::task::yield_now().await;
                began = Instant::now();
            }
        }
    }
    if unread > 0 {
        reporter.note(format!("{unread} lines of the recordings could not be read.").into());
    }
    Ok(reporter)
}
