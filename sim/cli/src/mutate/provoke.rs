//! What users and administrators do to a driver seldom: calls that make no sense, unbinding and removal while it is in use. What it
//! answers is only compared with what it answers when nothing was removed; what it does wrong is for the checkers to find.

use std::cell::RefCell;
use std::rc::Rc;

use bringup_bench::{Bench, Errno, Job, open};

/// Larger than what drivers hold for one call.
const LONG: usize = 64 << 10;
/// A place behind the end of any device.
const FAR: i64 = 1 << 50;
/// How long a call is left to itself, in virtual nanoseconds: longer than a driver waits for its device.
const WAIT_NS: u64 = 2_000_000_000;

/// What a user gets for calls that make no sense, each node in turn.
pub(super) fn odd_answers(bench: &Bench) -> String {
    let answers: Rc<RefCell<String>> = Rc::default();
    for name in bench.dev_names() {
        let said = answers.clone();
        let job = bench.spawn("user", move || odd_calls(&name, &mut said.borrow_mut()));
        end(bench, vec![job]);
    }
    answers.take()
}

/// Does one of these things to the devices of these names, or none: a choice of the life.
pub(super) fn provoke(bench: &Bench, devices: &[String]) {
    let bound = || devices.iter().filter(|device| bench.driver_of(device).is_some());
    match bench.choose(5) {
        0 => {}
        1 => {
            let jobs = each_node(bench, |name| odd_calls(&name, &mut String::new()));
            end(bench, jobs);
        }
        2 => {
            let jobs = in_use(bench);
            for device in bound() {
                // That it cannot be done is an answer.
                let _ = bench.unbind(device);
            }
            end(bench, jobs);
        }
        3 => {
            let jobs = in_use(bench);
            for device in bound() {
                let _ = bench.surprise_remove(device);
            }
            end(bench, jobs);
        }
        _ => {
            for device in bound() {
                if bench.unbind(device).is_ok() {
                    let _ = bench.bind(device);
                }
            }
            let jobs = each_node(bench, |name| use_twice(&name));
            end(bench, jobs);
        }
    }
}

/// Starts a process for each device node.
fn each_node(bench: &Bench, body: impl Fn(String) + Clone + 'static) -> Vec<Job<()>> {
    let start = |name: String| {
        let body = body.clone();
        bench.spawn("user", move || body(name))
    };
    bench.dev_names().into_iter().map(start).collect()
}

/// Starts to use each device node, and leaves that under way.
fn in_use(bench: &Bench) -> Vec<Job<()>> {
    let jobs = each_node(bench, |name| use_twice(&name));
    let head_start = [0, 300, 2_000, 30_000, 1_000_000];
    let choice = bench.choose(head_start.len() as u32) as usize;
    bench.advance(head_start.get(choice).copied().unwrap_or(0));
    jobs
}

/// Gives processes some time, and those that wait after it a signal.
fn end(bench: &Bench, jobs: Vec<Job<()>>) {
    bench.advance(WAIT_NS);
    for job in jobs {
        // A process may wait more than once.
        for _ in 0..8 {
            if job.is_done() || bench.is_crashed() {
                break;
            }
            bench.signal(&job);
            bench.advance(WAIT_NS);
        }
        if job.is_done() {
            // It has no answer.
            let _ = bench.join(&job);
        }
    }
}

fn use_twice(name: &str) {
    let Ok(file) = open(name) else { return };
    let mut bytes = [0x5a; 512];
    for _ in 0..2 {
        file.seek(0);
        let _ = file.write(&bytes);
        file.seek(0);
        let _ = file.read(&mut bytes);
    }
}

/// Makes calls that make no sense, and notes what they come to.
fn odd_calls(name: &str, answers: &mut String) {
    let mut note = |what: &str, answer: Result<usize, Errno>| {
        answers.push_str(&format!("{name} {what}: {answer:?}\n"));
    };
    let file = match open(name) {
        Ok(file) => file,
        Err(error) => return note("open", Err(error)),
    };
    let mut long = vec![0xa5; LONG];
    note("ioctl", file.ioctl(0xdead_beef, 0));
    note("ioctl with data", file.ioctl_with(0xdead_beef, &mut long[..4]));
    note("write nothing", file.write(&[]));
    note("read nothing", file.read(&mut []));
    for place in [FAR, 100, 0] {
        file.seek(place);
        note("write", file.write(&long));
        file.seek(place);
        note("read", file.read(&mut long));
    }
}
