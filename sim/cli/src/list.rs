//! `bringup list`: devices, drivers, checks and faults.

mod clauses;

use bringup_bench::rules;
use bringup_core::fault::{Behaviour, Verb};
use bringup_devices::registry;
use serde_json::{Value, json};

use crate::args::ListOf;
use crate::bundled;
use crate::failure::Failure;
use crate::output::Out;
use crate::plug;

pub(crate) fn list(what: ListOf, virtio: bool, out: &mut Out) -> Result<u8, Failure> {
    match what {
        ListOf::Checks if virtio => clauses::clauses(out),
        _ if virtio => return Err(Failure::new("--virtio goes with \"list checks\"")),
        ListOf::Devices => devices(out),
        ListOf::Drivers => drivers(out),
        ListOf::Checks => checks(out),
        ListOf::Faults => faults(out),
    }
    Ok(0)
}

/// Prints either form of a list: an array of objects, or a table.
fn show(out: &mut Out, objects: &[Value], heading: &[&str], rows: Vec<Vec<String>>) {
    out.document(&objects);
    let mut table = vec![heading.iter().map(ToString::to_string).collect()];
    table.extend(rows);
    out.table(&table);
}

fn devices(out: &mut Out) {
    let ids = |kind: &registry::DeviceKind| {
        kind.ids.iter().map(|(vendor, device)| format!("{vendor:04x}:{device:04x}")).collect::<Vec<_>>()
    };
    let mut objects = Vec::new();
    let mut rows = Vec::new();
    for kind in registry::kinds() {
        let options: Vec<Value> = kind
            .options
            .iter()
            .map(|option| json!({"name": option.name, "value": option.value.word(), "default": option.default, "summary": option.summary}))
            .collect();
        objects.push(json!({"name": kind.name, "ids": ids(kind), "summary": kind.summary, "options": options}));
        rows.push(vec![kind.name.into(), ids(kind).join(" "), kind.summary.into()]);
        for option in kind.options {
            let default = match option.default {
                "" => option.summary.to_owned(),
                default => format!("{} (if not said: {default})", option.summary),
            };
            rows.push(vec![format!("  ,{}={}", option.name, option.value), String::new(), default]);
        }
    }
    for kind in &plug::PLATFORM {
        let options: Vec<Value> = kind
            .options
            .iter()
            .map(|option| json!({"name": option.name, "value": option.value, "default": option.default, "summary": option.summary}))
            .collect();
        objects.push(json!({"name": kind.name, "ids": [], "summary": kind.summary, "options": options}));
        rows.push(vec![kind.name.into(), String::new(), kind.summary.into()]);
        for option in kind.options {
            let default = option.default.map_or_else(|| "required".into(), |default| format!("if not said: {default}"));
            let summary = format!("{} ({default})", option.summary);
            rows.push(vec![format!("  ,{}={}", option.name, option.value), String::new(), summary]);
        }
    }
    show(out, &objects, &["DEVICE", "IDS", "WHAT IT IS"], rows);
}

fn drivers(out: &mut Out) {
    let mut objects = Vec::new();
    let mut rows = Vec::new();
    for driver in bundled::all() {
        let params: Vec<Value> = driver
            .module
            .params
            .iter()
            .map(|param| json!({"name": param.name, "type": param.ty, "description": param.description}))
            .collect();
        objects.push(json!({"name": driver.name, "summary": driver.summary, "devices": driver.default_devices, "params": params}));
        rows.push(vec![driver.name.into(), driver.default_devices.join(" "), driver.summary.into()]);
        for param in driver.module.params {
            rows.push(vec![format!("  {}={}", param.name, param.ty), String::new(), param.description.into()]);
        }
    }
    show(out, &objects, &["DRIVER", "DEVICES", "WHAT IT DOES"], rows);
}

fn checks(out: &mut Out) {
    let objects: Vec<Value> = rules::all()
        .map(|rule| json!({"id": rule.id, "severity": rule.severity.to_string(), "title": rule.title, "reference": rule.reference}))
        .collect();
    let rows = rules::all().map(|rule| vec![rule.id.into(), rule.severity.to_string(), rule.title.into()]).collect();
    show(out, &objects, &["CHECK", "SEVERITY", "WHAT IT FINDS"], rows);
}

fn faults(out: &mut Out) {
    let verbs = |behaviour: Behaviour| {
        Verb::ALL.into_iter().filter(|verb| behaviour.applies_to(*verb)).map(Verb::word).collect::<Vec<_>>()
    };
    let objects: Vec<Value> = Behaviour::ALL
        .into_iter()
        .map(|behaviour| json!({"do": behaviour.word(), "summary": behaviour.summary(), "verbs": verbs(behaviour)}))
        .collect();
    let rows = Behaviour::ALL
        .into_iter()
        .map(|behaviour| {
            let verbs = verbs(behaviour);
            let others: Vec<&str> =
                Verb::ALL.map(Verb::word).into_iter().filter(|word| !verbs.contains(word)).collect();
            let verbs = match others.len() {
                0 => "all".to_owned(),
                1 | 2 => format!("all but {}", others.join(" ")),
                _ => verbs.join(" "),
            };
            vec![behaviour.word().into(), behaviour.summary().into(), verbs]
        })
        .collect();
    show(out, &objects, &["DO", "WHAT IT DOES", "VERBS"], rows);
    out.line("");
    out.line(&format!("verbs: {}", Verb::ALL.map(Verb::word).join(" ")));
}
