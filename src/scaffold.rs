//! `kimera new`: a crate for a strategy or a member of one's own, that compiles, is tested, and trades or votes as soon as a configuration names it.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};

use crate::cli::print;
use crate::exit::{Exit, Failure};
use crate::{extensions, line};

/// Arguments of `kimera new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    #[command(subcommand)]
    what: NewVerb,
    /// Checkout of the project.
    #[arg(long, default_value = ".", global = true)]
    root: PathBuf,
}

#[derive(Debug, Subcommand)]
enum NewVerb {
    /// A kind of strategy. Example: kimera new strategy contrarian
    Strategy {
        /// Its name: lower-case letters, digits and hyphens, a letter first.
        name: String,
    },
    /// A member of the ensemble. Example: kimera new member swings
    Member {
        /// Its name: lower-case letters, digits and hyphens, a letter first.
        name: String,
    },
}

/// What is made: what it is called, its text, the crate it builds on, and the line of `src/extensions.rs` behind which it is added.
struct Made {
    what: &'static str,
    lib: &'static str,
    builds_on: &'static str,
    line: &'static str,
    /// Its public constant.
    constant: &'static str,
}

const STRATEGY: Made = Made {
    what: "strategy",
    lib: include_str!("scaffold/strategy.rs.txt"),
    builds_on: "kimera-protocol.workspace = true\nkimera-strategy.workspace = true",
    line: "    // kimera new: a line a strategy\n",
    constant: "KIND",
};
const MEMBER: Made = Made {
    what: "member",
    lib: include_str!("scaffold/member.rs.txt"),
    builds_on: "kimera-ensemble.workspace = true\nkimera-protocol.workspace = true\nkimera-runtime.workspace = true",
    line: "    // kimera new: a line a member\n",
    constant: "MEMBER",
};
const MANIFEST: &str = include_str!("scaffold/Cargo.toml.txt");
/// Line behind which what is made is added to the manifest.
const DEPENDENCY_LINE: &str = "# kimera new: a line an extension\n";

/// `kimera new`.
///
/// # Errors
/// A name that is none or is taken, a folder that is no checkout, files that cannot be written.
pub fn new(a: &NewArgs) -> Result<Exit, Failure> {
    let (of, name) = match &a.what {
        NewVerb::Strategy { name } => (STRATEGY, name),
        NewVerb::Member { name } => (MEMBER, name),
    };
    make(&a.root, &of, name)?;
    let what = of.what;
    let then = match &a.what {
        NewVerb::Strategy { .. } => format!(
            "build the program again, then:  kimera session start {name} --capital 10000\n\
             or in a configuration:  [[session]] number = 2, kind = \"{name}\", capital = \"10000\""
        ),
        NewVerb::Member { .. } => {
            format!("build the program again, then in a configuration:  [ensemble] further = [\"{name}\"]")
        }
    };
    print(&format!(
        "extensions/{name}: a {what} that compiles and is tested: cargo test -p kimera-extension-{name}\n{then}"
    ))?;
    Ok(Exit::Ok)
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 40
        && name.chars().all(fits)
        && !name.ends_with('-')
        && !name.contains("--")
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| {
        Failure::usage(format!(
            "cannot read {}: {e}; --root must be a checkout of the project",
            path.display()
        ))
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|e| Failure::machine(format!("cannot write {}: {e}", path.display())))
}

fn added(path: &Path, line: &str, text: &str) -> Result<String, Failure> {
    let before = read(path)?;
    if before.matches(line).count() != 1 {
        let line = line.trim();
        return Err(Failure::usage(format!("{} has not exactly one line \"{line}\"", path.display())));
    }
    Ok(before.replace(line, &format!("{text}{line}")))
}

fn make(root: &Path, of: &Made, name: &str) -> Result<(), Failure> {
    if !is_name(name) {
        return Err(Failure::usage(format!(
            "\"{name}\" is no name: lower-case letters, digits and single hyphens, a letter first"
        )));
    }
    let folder = root.join("extensions").join(name);
    let is_taken =
        extensions::number_of(name).is_some() || line::branches().any(|seat| seat == line::member_seat(name));
    if is_taken || folder.exists() {
        return Err(Failure::usage(format!(
            "there is a strategy or a member \"{name}\" already; take another name"
        )));
    }
    // Everything is read before anything is written.
    let krate = format!("kimera-extension-{name}");
    let module = krate.replace('-', "_");
    let (manifest, registry) = (root.join("Cargo.toml"), root.join("src/extensions.rs"));
    let dependency = format!("{krate} = {{ path = \"extensions/{name}\" }}\n");
    let manifest_text = added(&manifest, DEPENDENCY_LINE, &dependency)?;
    let registry_text = added(&registry, of.line, &format!("    {module}::{},\n", of.constant))?;
    let fill = |text: &str| {
        let text = text.replace("@NAME@", name).replace("@CRATE@", &krate);
        text.replace("@WHAT@", of.what).replace("@BUILDS_ON@", of.builds_on)
    };
    let made = std::fs::create_dir_all(folder.join("src"));
    made.map_err(|e| Failure::machine(format!("cannot make {}: {e}", folder.display())))?;
    write(&folder.join("Cargo.toml"), &fill(MANIFEST))?;
    write(&folder.join("src/lib.rs"), &fill(of.lib))?;
    write(&manifest, &manifest_text)?;
    write(&registry, &registry_text)?;
    // The lock file is to know the new crate; nothing else of it changes.
    let locked =
        Command::new("cargo").args(["update", "--workspace", "--offline"]).current_dir(root).output();
    if !locked.is_ok_and(|output| output.status.success()) {
        print("Cargo.lock does not know the crate yet: run `cargo update --workspace` once")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_anything_is_written() {
        for name in ["", "9lives", "Upper", "a_b", "a--b", "a-", "../x", &"x".repeat(41)] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("contrarian") && is_name("two-legs-3"));
        let nowhere = Path::new("/nonexistent");
        assert!(make(nowhere, &STRATEGY, "trend").unwrap_err().message.contains("already"));
        assert!(make(nowhere, &MEMBER, "macro").unwrap_err().message.contains("already"));
        assert!(
            make(nowhere, &MEMBER, "detectors").unwrap_err().message.contains("already"),
            "a seat has that name"
        );
        assert!(make(nowhere, &MEMBER, "fresh").unwrap_err().message.contains("checkout"));
    }
}
