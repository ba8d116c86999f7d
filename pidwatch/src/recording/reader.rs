//! Reads a recording, or the plain stream that `trace -o json` prints.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::{FORMAT, RecordingHeader, older};
use crate::stream::{self, Line};

/// Longer lines are none of ours. The worst line of this length tried (a `rate` with 65,000 `creators`) took 52 MiB: `replay`
/// had 72 MiB resident, and 20 with a short one (ru_maxrss of getrusage(2)).
const LONGEST_LINE: u64 = 2 << 20;
/// First bytes of a zstd frame (RFC 8878, 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        error: io::Error,
    },
    /// Another program's file.
    #[error("{path} is no recording of pidwatch: {cause}; make one with `pidwatch record {path}`")]
    Foreign {
        /// The file.
        path: String,
        /// What is wrong.
        cause: String,
    },
    /// A later pidwatch's.
    #[error(
        "{path} has format {format}, written by pidwatch {version}; this one ({own}) reads up to \
         format {FORMAT}: use that version or a later one",
        own = env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        format: u32,
        /// Who wrote it.
        version: String,
    },
    /// It begins well and then is no stream.
    #[error("{path}: line {line} is no event: {cause}")]
    Broken {
        /// The file.
        path: String,
        /// Which line of the file, counted from 1.
        line: u64,
        /// What is wrong.
        cause: String,
    },
}

/// The events of a recording, oldest first. Ends at the end of the file, or where a crash has cut it
/// off.
pub struct Reader {
    path: PathBuf,
    input: Box<dyn BufRead>,
    /// What comes after it: a path, when this is the older part.
    then: Option<PathBuf>,
    line: u64,
    was_cut: bool,
}

impl Reader {
    /// Opens a recording with its older part, or `-` for standard input.
    ///
    /// # Errors
    /// When it cannot be opened, is no recording, or a later version's.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        if path == Path::new("-") {
            return Self::new(path, Box::new(io::stdin()), None);
        }
        let older = older(path);
        if older.exists() && path.exists() {
            return Self::of_file(&older, Some(path.to_owned()));
        }
        Self::of_file(path, None)
    }

    fn of_file(path: &Path, then: Option<PathBuf>) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(|error| ReadError::Io {
            path: path.display().to_string(),
            error,
        })?;
        Self::new(path, Box::new(file), then)
    }

    fn new(path: &Path, input: Box<dyn Read>, then: Option<PathBuf>) -> Result<Self, ReadError> {
        let shown = path.display().to_string();
        let io = |error| ReadError::Io {
            path: shown.clone(),
            error,
        };
        let mut input = BufReader::new(input);
        let begin = input.fill_buf().map_err(io)?;
        let is_compressed = begin.starts_with(&ZSTD);
        if !is_compressed && !begin.starts_with(b"{") {
            let cause = if begin.is_empty() {
                "it is empty"
            } else {
                "it is of another kind"
            };
            return Err(ReadError::Foreign {
                path: shown,
                cause: cause.into(),
            });
        }
        let mut reader = Self {
            path: path.to_owned(),
            input: if is_compressed {
                Box::new(BufReader::new(
                    zstd::Decoder::with_buffer(input).map_err(io)?,
                ))
            } else {
                Box::new(input)
            },
            then,
            line: 0,
            was_cut: false,
        };
        if is_compressed {
            reader.check_header()?;
        }
        Ok(reader)
    }

    fn check_header(&mut self) -> Result<(), ReadError> {
        let line = self
            .raw_line()
            .map_err(|error| self.io(error))?
            .unwrap_or_default();
        let header: RecordingHeader =
            serde_json::from_slice(&line).map_err(|error| ReadError::Foreign {
                path: self.shown(),
                cause: format!("its first line is another one's ({error})"),
            })?;
        if header.pidwatch_recording > FORMAT {
            return Err(ReadError::Newer {
                path: self.shown(),
                format: header.pidwatch_recording,
                version: header.version,
            });
        }
        Ok(())
    }

    /// Whether the end was missing: a crash, a full disk, or a recording that still goes on.
    pub fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// The next line without its newline; `None` at the end. A line without a newline at the very
    /// end was cut off and is none.
    fn raw_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = (&mut self.input)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line);
        match read {
            Ok(0) => Ok(None),
            Ok(_) if line.ends_with(b"\n") => {
                line.pop();
                self.line += 1;
                Ok(Some(line))
            }
            Ok(_) if line.len() as u64 == LONGEST_LINE => Err(io::ErrorKind::InvalidData.into()),
            Ok(_) => {
                self.was_cut = true;
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.was_cut = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn next_line(&mut self) -> Result<Option<Line>, ReadError> {
        loop {
            let line = self.raw_line().map_err(|error| self.io(error))?;
            let Some(line) = line else {
                let Some(then) = self.then.take() else {
                    return Ok(None);
                };
                let was_cut = self.was_cut;
                *self = Self::of_file(&then, None)?;
                self.was_cut |= was_cut;
                continue;
            };
            match stream::parse(&line) {
                Ok(line) => return Ok(Some(line)),
                // A type that a later pidwatch has added.
                Err(_) if is_of_a_later_type(&line) => {}
                Err(error) => {
                    return Err(ReadError::Broken {
                        path: self.shown(),
                        line: self.line,
                        cause: error.to_string(),
                    });
                }
            }
        }
    }

    fn io(&self, error: io::Error) -> ReadError {
        ReadError::Io {
            path: self.shown(),
            error,
        }
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

/// Whether a line has what every event has, with a type that is not known here.
fn is_of_a_later_type(line: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(line) else {
        return false;
    };
    let has = |field: &str| event.get(field).is_some_and(serde_json::Value::is_string);
    has("time") && has("node") && has("type") && !stream::is_known(event["type"].as_str())
}

impl Iterator for Reader {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line().transpose()
    }
}
