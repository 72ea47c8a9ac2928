//! `kimera new`: a crate for a strategy of one's own, that compiles, is tested, and trades as soon as a configuration names it.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};

use crate::cli::print;
use crate::exit::{Exit, Failure};
use crate::extensions;

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
}

const LIB: &str = include_str!("scaffold/strategy.rs.txt");
const MANIFEST: &str = include_str!("scaffold/Cargo.toml.txt");
/// Lines behind which what is made is added.
const KIND_LINE: &str = "    // kimera new: a line a strategy\n";
const DEPENDENCY_LINE: &str = "# kimera new: a line an extension\n";

/// `kimera new`.
///
/// # Errors
/// A name that is none or is taken, a folder that is no checkout, files that cannot be written.
pub fn new(a: &NewArgs) -> Result<Exit, Failure> {
    let NewVerb::Strategy { name } = &a.what;
    strategy(&a.root, name)?;
    print(&format!(
        "extensions/{name}: a strategy that compiles and is tested: cargo test -p kimera-extension-{name}\n\
         build the program again, then:  kimera session start {name} --capital 10000\n\
         or in a configuration:  [[session]] number = 2, kind = \"{name}\", capital = \"10000\""
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

fn strategy(root: &Path, name: &str) -> Result<(), Failure> {
    if !is_name(name) {
        return Err(Failure::usage(format!(
            "\"{name}\" is no name: lower-case letters, digits and single hyphens, a letter first"
        )));
    }
    let folder = root.join("extensions").join(name);
    if extensions::number_of(name).is_some() || folder.exists() {
        return Err(Failure::usage(format!("there is a kind \"{name}\" already; take another name")));
    }
    // Everything is read before anything is written.
    let krate = format!("kimera-extension-{name}");
    let module = krate.replace('-', "_");
    let (manifest, registry) = (root.join("Cargo.toml"), root.join("src/extensions.rs"));
    let dependency = format!("{krate} = {{ path = \"extensions/{name}\" }}\n");
    let manifest_text = added(&manifest, DEPENDENCY_LINE, &dependency)?;
    let registry_text = added(&registry, KIND_LINE, &format!("    {module}::KIND,\n"))?;
    let fill = |text: &str| text.replace("@NAME@", name).replace("@CRATE@", &krate);
    let made = std::fs::create_dir_all(folder.join("src"));
    made.map_err(|e| Failure::machine(format!("cannot make {}: {e}", folder.display())))?;
    write(&folder.join("Cargo.toml"), &fill(MANIFEST))?;
    write(&folder.join("src/lib.rs"), &fill(LIB))?;
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
        assert!(strategy(nowhere, "trend").unwrap_err().message.contains("already"));
        assert!(strategy(nowhere, "fresh").unwrap_err().message.contains("checkout"));
    }
}
