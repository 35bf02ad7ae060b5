//! `bringup list checks --virtio`: what becomes of each clause of virtio 1.4 that binds drivers.

use bringup_monitor::virtio::coverage::{CLAUSES, Clause, How, Weight};
use serde_json::{Map, Value, json};

use crate::output::Out;

/// The table fits in this many columns.
const WIDTH: usize = 100;

/// How many of these clauses are in each state.
fn counts<'a>(clauses: &(impl Iterator<Item = &'a Clause> + Clone)) -> Vec<(&'static str, usize)> {
    How::WORDS.map(|(word, _)| (word, clauses.clone().filter(|clause| clause.how.word() == word).count())).into()
}

fn object(clause: &Clause) -> Value {
    json!({
        "id": clause.id,
        "section": clause.section,
        "area": clause.area,
        "strength": clause.strength.to_string(),
        "core": clause.weight == Weight::Core,
        "says": clause.says,
        "state": clause.how.word(),
        "rule": clause.rule().map(|rule| rule.id),
        "remark": clause.remark(),
    })
}

fn row(clause: &Clause) -> Vec<String> {
    let what = match clause.how {
        How::Checked => clause.says.to_owned(),
        How::Same(id) => format!("{} [by {id}]", clause.says),
        How::Stimulus(remark) | How::Unseen(remark) | How::Open(remark) => format!("{} [{remark}]", clause.says),
    };
    let binds = clause.strength.to_string();
    vec![clause.id.into(), clause.section.into(), binds, clause.how.word().into(), what]
}

pub(super) fn clauses(out: &mut Out) {
    let core = CLAUSES.iter().filter(|clause| clause.weight == Weight::Core);
    let (all, of_core) = (counts(&CLAUSES.iter()), counts(&core));
    let totals = |counts: &[(&'static str, usize)]| {
        counts.iter().map(|(word, count)| ((*word).to_owned(), json!(count))).collect::<Map<_, _>>()
    };
    out.document(&json!({
        "clauses": CLAUSES.iter().map(object).collect::<Vec<_>>(),
        "totals": {"all": totals(&all), "core": totals(&of_core)},
    }));
    let mut rows = vec![["CLAUSE", "SECTION", "BINDS", "STATE", "WHAT IT SAYS"].map(String::from).to_vec()];
    let mut groups = Vec::new();
    let mut area = "";
    for clause in CLAUSES {
        if clause.area != area {
            area = clause.area;
            let of_area = CLAUSES.iter().filter(|clause| clause.area == area);
            let checked = of_area.clone().filter(|clause| clause.rule().is_some()).count();
            groups.push((rows.len(), format!("{area} ({checked} of {} checked)", of_area.count())));
        }
        rows.push(row(clause));
    }
    out.grouped_table(&rows, WIDTH, &groups);
    out.line("");
    out.line(&format!("{} clauses of virtio 1.4 say what a driver must or must not do:", CLAUSES.len()));
    for ((word, count), (_, means)) in all.iter().zip(How::WORDS) {
        out.line(&format!("  {count:>3}  {word:<8}  {means}"));
    }
    let checked = core.clone().filter(|clause| clause.rule().is_some()).count();
    let why = "which hold for every device and can be seen by watching";
    out.line(&format!("Of the {} core clauses, {why}, {checked} are checked.", core.count()));
    out.line("`bringup explain CLAUSE` tells more of one that is checked.");
}
