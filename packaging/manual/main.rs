//! Writes man pages and completions into a folder, for `packaging/build`: `manual FOLDER DATE`.
//!
//! They are made of what the programs themselves are made of, their arguments and the commented
//! configuration, so that they cannot tell something else.

mod config_page;
mod program_pages;

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use clap_complete::Shell;

/// Where completions lie in the folder, and how the shell wants their file called.
const SHELLS: [(Shell, &str, fn(&str) -> String); 3] = [
    (Shell::Bash, "bash", str::to_owned),
    (Shell::Zsh, "zsh", |program| format!("_{program}")),
    (Shell::Fish, "fish", |program| format!("{program}.fish")),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (folder, date) =
        arguments.next().zip(arguments.next()).ok_or("usage: manual FOLDER DATE")?;
    let folder = PathBuf::from(folder);
    let programs = [
        (balefire::cli::command(), "1"),
        (balefire::mcp::command(), "1"),
        (balefire::daemon::command(), "8"),
    ];
    for (command, section) in programs {
        for (name, page) in program_pages::pages(&command, section, &date)? {
            write(&folder.join(format!("man{section}")), &format!("{name}.{section}"), &page)?;
        }
        write_completions(&folder, command)?;
    }
    let page = config_page::page(include_str!("../balefire.toml"), &date);
    write(&folder.join("man5"), "balefire.toml.5", page.as_bytes())?;
    Ok(())
}

fn write_completions(folder: &Path, mut command: clap::Command) -> io::Result<()> {
    let program = command.get_name().to_owned();
    for (shell, subfolder, file_name) in SHELLS {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, &program, &mut script);
        write(&folder.join(subfolder), &file_name(&program), &script)?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(name), content)
}
