//! Threads under their filters: what they need works, what they do not need ends the process with a line. Each case is a process of
//! its own, which is this program again.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use bringup_devices::virtio::{FileImage, Files, Image, PortBackend};
use bringup_vmm::seccomp::{Filter, Role, allowed, is_available};

const CASE: &str = "BRINGUP_SECCOMP_CASE";

/// Runs a case in a process of its own.
fn run(case: &str) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["case_in_a_process_of_its_own", "--exact", "--nocapture"]).env(CASE, case);
    child.env("RUST_BACKTRACE", "1").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether there are filters here; says so if not.
fn has_filters() -> bool {
    let there = is_available();
    if !there {
        let _ = writeln!(std::io::stderr(), "SKIPPED seccomp filters: this host's kernel has none");
    }
    there
}

/// Does something on a thread under a filter, and says "survived" if that was possible.
fn under<T: Send>(role: Role, act: impl FnOnce() -> T + Send) -> T {
    let filter = Filter::new(role).unwrap();
    let done = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            filter.install().unwrap();
            act()
        });
        thread.join().unwrap()
    });
    println!("survived");
    done
}

#[expect(unsafe_code, reason = "system calls as an intruder would make them")]
fn system_call(number: i64, arguments: [usize; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the calls made here take no pointers but to what is passed, or are stopped.
    unsafe { libc::syscall(number, a, b, c, d, e, f) }
}

#[test]
fn case_in_a_process_of_its_own() {
    let Ok(case) = std::env::var(CASE) else { return };
    let (role, what) = case.split_once(' ').unwrap();
    let role = Role::ALL.into_iter().find(|known| format!("{known:?}") == role).unwrap();
    let executable = (libc::PROT_READ | libc::PROT_EXEC) as usize;
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let all_ones = usize::MAX;
    match what {
        "open" => drop(under(role, || File::open("/etc/passwd"))),
        "socket" => drop(under(role, || std::net::TcpListener::bind("127.0.0.1:0"))),
        "execve" => {
            under(role, || system_call(libc::SYS_execve, [c"/bin/true".as_ptr() as usize, 0, 0, 0, 0, 0]));
        }
        "child" => {
            under(role, || system_call(libc::SYS_clone3, [0; 6]));
        }
        "thread" => under(role, || std::thread::spawn(|| ()).join().unwrap()),
        "executable memory" => {
            under(role, || system_call(libc::SYS_mmap, [0, 4096, executable, anonymous, all_ones, 0]));
        }
        "typing into a terminal" => {
            under(role, || system_call(libc::SYS_ioctl, [0, libc::TIOCSTI as usize, 0, 0, 0, 0]));
        }
        "signal to another process" => under(role, || {
            system_call(libc::SYS_tgkill, [1, 1, 0, 0, 0, 0]);
        }),
        "undoing" => {
            under(role, || system_call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 1, 0, 0, 0, 0]));
        }
        "unknown" => {
            under(role, || system_call(9999, [0; 6]));
        }
        "panic" => {
            let filter = Filter::new(role).unwrap();
            let thread = std::thread::spawn(move || {
                filter.install().unwrap();
                panic!("something was wrong");
            });
            assert!(thread.join().is_err());
            println!("the machine goes on to its end");
        }
        "abort" => under(role, || std::process::abort()),
        "life" => under(role, live),
        "files" => files(role),
        other => panic!("no case {other:?}"),
    }
}

/// What a program's threads do without thinking of system calls.
fn live() {
    use std::collections::HashMap;
    use std::sync::{Arc, Condvar, Mutex, mpsc};
    use std::time::{Duration, Instant};

    struct Last(Vec<u8>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.resize(1 << 20, 1);
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Last> = const { std::cell::RefCell::new(Last(Vec::new())) };
    }
    LAST.with_borrow_mut(|last| last.0.push(1));
    let mut blocks: Vec<Vec<u8>> = (0..24).map(|shift| vec![1; 1 << shift]).collect();
    blocks.iter_mut().for_each(|block| block.resize(block.len() * 3, 2));
    assert_eq!(HashMap::from([(1, 2)])[&1], 2);
    assert!(Instant::now().elapsed() < Duration::from_secs(60));
    let (sender, receiver) = mpsc::channel();
    sender.send(1).unwrap();
    assert_eq!(receiver.recv(), Ok(1));
    assert!(receiver.recv_timeout(Duration::from_millis(1)).is_err());
    let pair = Arc::new((Mutex::new(()), Condvar::new()));
    let _ = pair.1.wait_timeout(pair.0.lock().unwrap(), Duration::from_millis(1)).unwrap();
    std::io::stdout().write_all(b"a line\n").unwrap();
    eprintln!("{}", std::process::id());
}

/// What devices do with files: opened before, used under the filter.
fn files(role: Role) {
    let room = tempfile::tempdir().unwrap();
    let (disk, input, output) = (room.path().join("disk"), room.path().join("in"), room.path().join("out"));
    std::fs::write(&disk, vec![7; 1 << 20]).unwrap();
    std::fs::write(&input, "typed").unwrap();
    let mut image = FileImage::open(&disk, false).unwrap();
    let mut port = Files::open(Some(&input), Some(&output), bringup_devices::Notices::default()).unwrap();
    let recording = File::create(room.path().join("packets")).unwrap();
    under(role, move || {
        let mut block = [0; 4096];
        image.read(4096, &mut block).unwrap();
        assert_eq!(block, [7; 4096]);
        image.write(8192, &[9; 4096]).unwrap();
        image.zero(65536, 65536, true).unwrap();
        image.zero(0, 4096, false).unwrap();
        image.flush().unwrap();
        let mut typed = [0; 16];
        assert_eq!(port.read(0, &mut typed), 5);
        assert_eq!(port.write(0, b"shown"), 5);
        // A recording whose last block was written in part.
        recording.set_len(0).unwrap();
        drop((image, port, recording));
    });
    let written = std::fs::read(&disk).unwrap();
    assert_eq!((written[0], written[8192], written[65536]), (0, 9, 0));
    assert_eq!(std::fs::read(&output).unwrap(), b"shown");
}

#[test]
fn call_that_no_thread_needs_ends_the_process_with_a_line_that_names_it() {
    if !has_filters() {
        return;
    }
    let cases = [
        ("open", "openat"),
        ("socket", "socket"),
        ("execve", "execve"),
        ("child", "clone3"),
        ("executable memory", "mmap"),
        ("typing into a terminal", "ioctl"),
        ("signal to another process", "tgkill"),
        ("undoing", "prctl"),
        ("unknown", "an unknown one"),
    ];
    for role in Role::ALL {
        for (case, call) in cases {
            let output = run(&format!("{role:?} {case}"));
            let (out, err) = (text(&output.stdout), text(&output.stderr));
            assert_eq!(output.status.code(), Some(2), "{role:?} {case}: {out}{err}");
            assert!(
                err.contains(&format!("no need for: {call} (number ")) && err.contains(role.name()),
                "{case}: {err}"
            );
            assert_eq!(err.trim_end().lines().count(), 1, "{case}: {err}");
            assert!(!out.contains("survived"), "{role:?} {case}");
        }
    }
}

#[test]
fn thread_that_is_started_under_a_filter_ends_the_process_by_the_signal_itself() {
    if !has_filters() {
        return;
    }
    // The C library blocks all signals meanwhile, so that there is no handler to say so.
    let output = run("Cpu thread");
    assert_eq!(output.status.signal(), Some(libc::SIGSYS));
    assert!(!text(&output.stdout).contains("survived"));
}

#[test]
fn what_programs_do_without_thinking_works_under_every_filter() {
    if !has_filters() {
        return;
    }
    for role in Role::ALL {
        let output = run(&format!("{role:?} life"));
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && out.contains("survived") && out.contains("a line"), "{role:?}: {out}{err}");
    }
}

#[test]
fn devices_use_their_files_under_the_filters_of_the_threads_that_carry_accesses() {
    if !has_filters() {
        return;
    }
    for role in [Role::Cpu, Role::DebuggedCpu, Role::Events] {
        let output = run(&format!("{role:?} files"));
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && out.contains("survived"), "{role:?}: {out}{err}");
    }
}

#[test]
fn thread_that_only_waits_may_not_touch_a_devices_files() {
    if !has_filters() {
        return;
    }
    for role in [Role::Console, Role::Debugger] {
        let output = run(&format!("{role:?} files"));
        assert_eq!(output.status.code(), Some(2), "{role:?}");
        assert!(text(&output.stderr).contains("pread64"), "{role:?}");
    }
}

#[test]
fn panic_under_a_filter_is_told_with_its_message_and_the_process_lives() {
    if !has_filters() {
        return;
    }
    let output = run("Cpu panic");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.contains("goes on to its end"), "{out}{err}");
    assert!(err.contains("something was wrong") && !err.contains("seccomp filter ended"), "{err}");
}

#[test]
fn abort_under_a_filter_is_an_abort() {
    if !has_filters() {
        return;
    }
    let output = run("Events abort");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", text(&output.stderr));
}

#[test]
fn book_lists_what_each_thread_may_do() {
    let page = include_str!("../../../docs/src/vm-hardening.md");
    let mut table = String::new();
    for role in Role::ALL {
        let calls = allowed(role).into_iter();
        let calls = calls.map(|(name, only)| if only.is_empty() { name.into() } else { format!("{name} ({only})") });
        table += &format!("| {} | {} |\n", role.name(), calls.collect::<Vec<_>>().join("; "));
    }
    assert!(page.contains(&table), "docs/src/vm-hardening.md is to have these lines:\n{table}");
}
