//! What is made from the command line's own definition, so that it cannot go astray: completions and
//! the manual.

use std::io;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// Completions for a shell.
///
/// # Errors
/// None that is known of.
pub fn completions(shell: Shell) -> io::Result<Vec<u8>> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pidwatch", &mut script);
    Ok(script)
}

/// The manual: one page, every command with its options in it.
///
/// # Errors
/// None that is known of.
pub fn man() -> io::Result<Vec<u8>> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let whole = clap_mangen::Man::new(command.clone()).manual("User commands");
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    for command in described(&command) {
        let man = clap_mangen::Man::new(command.clone());
        // Its own sections, one level below.
        let mut part = Vec::new();
        man.render_description_section(&mut part)?;
        man.render_options_section(&mut part)?;
        let name = command.get_name().to_uppercase();
        page.extend(format!(".SH {name}\n").as_bytes());
        page.extend(
            String::from_utf8_lossy(&part)
                .replace(".SH DESCRIPTION\n", "")
                .replace(".SH OPTIONS\n", ".SS Options\n")
                .as_bytes(),
        );
    }
    whole.render_version_section(&mut page)?;
    Ok(page)
}

/// The commands that a person looks up.
fn described(command: &Command) -> impl Iterator<Item = &Command> {
    let commands = command.get_subcommands();
    commands.filter(|command| command.get_name() != "help" && !command.is_hide_set())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in [
            Shell::Bash,
            Shell::Elvish,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Zsh,
        ] {
            let script = String::from_utf8(completions(shell).unwrap()).unwrap();
            for command in described(&Cli::command()) {
                assert!(script.contains(command.get_name()), "{shell}");
            }
            assert!(script.contains("proc-root"), "{shell}");
        }
    }

    #[test]
    fn the_manual_has_every_option_of_every_command() {
        let page = String::from_utf8(man().unwrap()).unwrap();
        let page = page.replace("\\-", "-");
        for command in described(&Cli::command()) {
            let heading = format!(".SH {}\n", command.get_name().to_uppercase());
            let (_, section) = page.split_once(&heading).expect("a section");
            let section = section.split("\n.SH ").next().unwrap();
            for option in command
                .get_arguments()
                .filter_map(|option| option.get_long())
            {
                let name = format!("--{option}");
                assert!(section.contains(&name), "{}: {name}", command.get_name());
            }
        }
    }
}
