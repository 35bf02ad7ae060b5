//! What a bug is: a line in a list, or its story and the difference that it makes.

use serde_json::{Value, json};
use zoo::Bug;

use crate::output::Out;

/// A line for each.
pub(crate) fn list(bugs: &[&'static Bug], out: &mut Out) {
    out.document(&bugs.iter().map(|bug| json(bug)).collect::<Vec<_>>());
    let mut table = vec![["bug", "class", "driver", "title"].map(str::to_owned).to_vec()];
    table.extend(bugs.iter().map(|bug| vec![bug.id.into(), classes(bug), bug.base.into(), bug.title.into()]));
    out.table(&table);
}

/// All of it.
pub(crate) fn show(bugs: &[&'static Bug], out: &mut Out) {
    out.document(&bugs.iter().map(|bug| json(bug)).collect::<Vec<_>>());
    for bug in bugs {
        let mut facts = vec![
            ("class", classes(bug)),
            ("driver", bug.file.map_or_else(|| format!("{}.rs", bug.base), str::to_owned)),
            ("devices", bug.devices.join(" ")),
            ("seen in", bug.reference.to_owned()),
        ];
        match bug.uncaught {
            Some(why) => facts.push(("not caught", why.into())),
            None => facts.push(("caught by", bug.expect.join(" or "))),
        }
        if !bug.plan.is_empty() {
            facts.push(("plan", bug.plan.trim().replace('\n', "; ")));
        }
        out.line(&format!("{}: {}\n\n{}\n", bug.id, bug.title, bug.story));
        facts.iter().for_each(|(name, text)| out.line(&format!("{name:<10} {text}")));
        for (find, replace) in bug.edits {
            out.line("");
            find.lines().for_each(|line| out.line(&format!("- {line}")));
            replace.lines().for_each(|line| out.line(&format!("+ {line}")));
        }
        out.line("");
    }
}

fn classes(bug: &Bug) -> String {
    // Class 0 is that of bugs that are none of the numbered ones.
    let numbered = bug.classes.iter().filter(|class| **class != 0);
    let numbers = numbered.map(u8::to_string).collect::<Vec<_>>().join(" ");
    if numbers.is_empty() { "–".into() } else { numbers }
}

fn json(bug: &Bug) -> Value {
    json!({
        "id": bug.id, "classes": bug.classes, "title": bug.title, "story": bug.story, "reference": bug.reference,
        "driver": bug.file.unwrap_or(bug.base), "devices": bug.devices, "plan": bug.plan,
        "edits": bug.edits.iter().map(|(find, replace)| json!({"find": find, "replace": replace})).collect::<Vec<_>>(),
        "expect": bug.expect, "uncaught": bug.uncaught,
    })
}
