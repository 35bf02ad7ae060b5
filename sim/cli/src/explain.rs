//! `bringup explain ID`: the page of a rule.

use bringup_bench::rules;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Out, Style, severity_style, wrap};
use crate::suggest;

/// The JSON of `bringup explain`.
#[derive(Serialize)]
struct Page {
    id: &'static str,
    severity: String,
    title: &'static str,
    fix: &'static str,
    reference: &'static str,
    /// Markdown.
    page: &'static str,
}

/// Readable in any terminal, whatever its width is.
const WIDTH: usize = 80;

pub(crate) fn explain(id: &str, out: &mut Out) -> Result<u8, Failure> {
    let Some(rule) = rules::find(id) else {
        let hint = suggest::hint(id, rules::all().map(|rule| rule.id));
        return Err(Failure::new(format_args!("unknown rule \"{id}\"{hint} (bringup list checks shows them all)")));
    };
    out.document(&Page {
        id: rule.id,
        severity: rule.severity.to_string(),
        title: rule.title,
        fix: rule.fix,
        reference: rule.reference,
        page: rule.page,
    });
    let head = out.paint(severity_style(rule.severity), &format!("{}[{}]", rule.severity, rule.id));
    out.line(&format!("{head}: {}", rule.title));
    for paragraph in rule
        .page
        .split("\n\n")
        .chain([&*format!("## How to mend it\n{}", rule.fix), &*format!("## See\n{}", rule.reference)])
    {
        out.line("");
        let (heading, text) = match paragraph.trim().strip_prefix("## ") {
            Some(rest) => rest.split_once('\n').unwrap_or((rest, "")),
            None => ("", paragraph),
        };
        if !heading.is_empty() {
            let heading = out.paint(Style::Bold, heading);
            out.line(&heading);
        }
        for line in wrap(text, WIDTH - 2) {
            out.line(&format!("  {line}"));
        }
    }
    Ok(0)
}
