//! `bringup replay FILE --emit-test`: a Rust test that lives the life of a stream file, made short, and fails for the same reason.

use std::fmt::Write as _;

use bringup_bench::explore::Cause;

use crate::failure::Failure;
use crate::life::{Driver, Life, VERSION};
use crate::output::Out;
use crate::shrink::{Short, shorten};

/// The text of the test.
pub(crate) fn emit(life: &Life, name: &str, out: &Out) -> Result<String, Failure> {
    let short = shorten(life, name, out)?;
    text(life, &short).map_err(|error| Failure::new(format_args!("cannot write the test: {error}")))
}

fn text(life: &Life, short: &Short) -> Result<String, std::fmt::Error> {
    let rule = short.finding.rule.id;
    let (crate_name, place) = match &life.driver {
        Driver::Bundled(driver) => {
            let crate_name = driver.name.to_owned();
            let place =
                format!("the tests/ of the crate of {crate_name}, which needs bringup among its dev-dependencies");
            (crate_name, place)
        }
        Driver::File(file, _) => {
            let crate_name = file.crate_name();
            let place = format!(
                "the tests/ of a crate called {crate_name} whose library is {} (lib.path), which depends on Bringup's kernel and\n\
                 //! pin-init as that file needs them, and on bringup for tests",
                file.given
            );
            (crate_name, place)
        }
    };
    let mut out = String::new();
    writeln!(out, "//! Lives one life of {} and fails while {rule} is found in it.", life.driver.name())?;
    writeln!(out, "//!")?;
    writeln!(out, "//! Written by bringup {VERSION}. It belongs into {place}.")?;
    writeln!(out)?;
    writeln!(out, "/// The life: its machine, and the choices that are not as in a quiet life.")?;
    writeln!(out, "const LIFE: &str = {};", raw(&life.stream(&short.choices).to_string()))?;
    writeln!(out)?;
    writeln!(out, "#[test]")?;
    writeln!(out, "fn {}() {{", test_name(&crate_name, rule))?;
    writeln!(out, "    let report = bringup::lives::replay(LIFE, &{crate_name}::BRINGUP_MODULE).expect(\"a life\");")?;
    writeln!(out, "    let found: Vec<String> = report")?;
    writeln!(out, "        .findings")?;
    writeln!(out, "        .iter()")?;
    writeln!(out, "        .filter(|finding| finding.rule.id == \"{rule}\")")?;
    let what = Cause::of(&short.finding).what;
    if !what.is_empty() {
        // The rule alone would take another bug for this one.
        writeln!(out, "        .filter(|finding| bringup::lives::kind(finding) == {})", raw(&what))?;
    }
    writeln!(out, "        .map(ToString::to_string)")?;
    writeln!(out, "        .collect();")?;
    writeln!(out, "    assert!(found.is_empty(), \"{{}}\", found.join(\"\\n\"));")?;
    writeln!(out, "}}")?;
    Ok(out)
}

fn test_name(driver: &str, rule: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let rule: String = rule.chars().map(word).collect();
    format!("{driver}_is_free_of_{rule}")
}

/// A text as a raw string literal.
fn raw(text: &str) -> String {
    let mut hashes = String::from("#");
    while text.contains(&format!("\"{hashes}")) {
        hashes.push('#');
    }
    format!("r{hashes}\"{text}\"{hashes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_hold_any_text() {
        assert_eq!(raw("a"), "r#\"a\"#");
        assert_eq!(raw("a\"#b"), "r##\"a\"#b\"##");
    }

    #[test]
    fn names_of_tests_are_names() {
        assert_eq!(test_name("edu", "virtio-VQ-SPLIT-D-08"), "edu_is_free_of_virtio_VQ_SPLIT_D_08");
    }
}
