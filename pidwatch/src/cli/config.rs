//! The configuration file: TOML whose keys are the command's long options. Each becomes that
//! option's default, so a value is checked by the same rules as on the command line.

use std::{fs, path::Path};

use clap::{Command, error::ErrorKind};
use toml::{Table, Value};

/// Keys nearer than this (Jaro-Winkler, 0 to 1) are worth suggesting.
const SIMILAR: f64 = 0.7;

/// Makes the file's values the defaults of the named subcommand. One file may serve all commands: what
/// is an option of another one is passed over.
///
/// # Errors
/// When the file cannot be read, is no TOML, or has a key that is no command's option: named, with
/// the nearest one there is.
pub fn apply(command: Command, subcommand: &str, file: &Path) -> Result<Command, clap::Error> {
    let fail = |kind: ErrorKind, text: String| {
        clap::Error::raw(
            kind,
            format!("configuration file {}: {text}\n", file.display()),
        )
    };
    let text = fs::read_to_string(file)
        .map_err(|error| fail(ErrorKind::Io, format!("cannot be read: {error}")))?;
    let table: Table = text
        .parse()
        .map_err(|error| fail(ErrorKind::InvalidValue, format!("no TOML: {error}")))?;
    let options_of = |command: &Command| -> Vec<String> {
        command
            .get_arguments()
            .filter(|arg| arg.get_id() != "config")
            .map(|arg| arg.get_id().to_string())
            .collect()
    };
    let options = command
        .find_subcommand(subcommand)
        .map(options_of)
        .unwrap_or_default();
    let others: Vec<String> = command.get_subcommands().flat_map(options_of).collect();
    let mut defaults = Vec::new();
    for (key, value) in table {
        let id = key.replace('-', "_");
        if !options.contains(&id) {
            if others.contains(&id) {
                continue;
            }
            let nearest = options
                .iter()
                .map(|option| (strsim::jaro_winkler(option, &id), option))
                .filter(|(similarity, _)| *similarity >= SIMILAR)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let hint = match nearest {
                Some((_, option)) => format!("did you mean `{option}`?"),
                None => format!("there are {}", options.join(", ")),
            };
            return Err(fail(
                ErrorKind::UnknownArgument,
                format!("unknown key `{key}`; {hint}"),
            ));
        }
        let value = scalar(&value).ok_or_else(|| {
            fail(
                ErrorKind::InvalidValue,
                format!("`{key}` is neither text, number nor boolean"),
            )
        })?;
        defaults.push((id, value));
    }
    Ok(command.mut_subcommand(subcommand, |mut command| {
        for (id, value) in defaults {
            command = command.mut_arg(id, |arg| arg.default_value(value));
        }
        command
    }))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Array(values) => {
            let values: Option<Vec<_>> = values.iter().map(scalar).collect();
            Some(values?.join(","))
        }
        _ => None,
    }
}
