//! The command line of the guest program: what to run, and how to end.
//!
//! | word | what it does |
//! |---|---|
//! | `tests=a,b,…` | these steps only: `acpi`, `pci`, `move`, `clock`, `edu`, `testdev`, `blk`, `crate`; `none` for none |
//! | `smp` | starts the other CPUs, counts them, lets all of them access the bus at once, sends each an IPI |
//! | `bench=exit,N` | times N reads of a device register and N reads of an unused port, both from ring 0 |
//! | `bench=bell,N` | times N doorbells of virtio-blk that have nothing to say |
//! | `bench=blk,N[,DEPTH]` | times N random 4 KiB reads of virtio-blk, DEPTH (1) at a time, by polling |
//! | `bench=irq,N` | the same with an interrupt for each |
//! | `fuzz=SEED,N[,master]` | N random accesses: configuration space, BARs and their moves, MSI-X tables, ports; with `master` also as bus masters, which may end the program |
//! | `echo` | waits for a line on COM1 and says it again |
//! | `com2=TEXT` | writes TEXT and a newline to COM2 |
//! | `polite` | leaves out what a checker of the machine would rightly report: DMA without bus mastering, a read past a disk's end, a dead queue's doorbell |
//! | `fail` | a step that fails, to see that a failure is seen |
//! | `exit=off` | powers off through ACPI (the default) |
//! | `exit=reset`, `exit=i8042` | resets by the FADT's register; by the keyboard controller |
//! | `exit=triple`, `exit=halt`, `exit=spin` | triple fault; a halt without interrupts; a loop without interrupts |
//! | `exit=fault` | reads memory that is not mapped, which is reported as a failure |
//!
//! Without `tests=`, all steps run that find their device, unless another of these words asks for something (`exit=`,
//! `com2=` and `polite` do not count). A word that it does not know is reported as a failure, and the rest is done.

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Powers off by ACPI's sleep state 5.
    Off,
    /// The reset register of the FADT.
    Reset,
    /// Port 0x64.
    Keyboard,
    /// A fault while a fault is handled while a fault is handled.
    Triple,
    /// `cli; hlt`.
    Halt,
    /// `cli` and a loop.
    Spin,
    /// An access to memory that is not mapped.
    Fault,
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bench {
    /// Exits to a device and to nothing.
    Exit,
    /// Doorbells.
    Bell,
    /// Reads of virtio-blk, polled.
    Blk,
    /// Reads of virtio-blk, with interrupts.
    Irq,
}

/// One word, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// `tests=`, with the list.
    Tests(&'a str),
    /// `smp`.
    Smp,
    /// `bench=`: what, how often, how many at a time.
    Bench(Bench, u64, u64),
    /// `fuzz=`: seed, how often, whether devices may be bus masters.
    Fuzz(u64, u64, bool),
    /// `echo`.
    Echo,
    /// `com2=`, with the text.
    Com2(&'a str),
    /// `polite`.
    Polite,
    /// `fail`.
    Fail,
    /// `exit=`.
    Exit(Exit),
    /// Anything else.
    Unknown(&'a str),
}

/// Beginnings of words that are for Linux: whoever boots it has them on every command line.
const LINUX: [&str; 6] = ["console=", "panic=", "printk.", "quiet", "loglevel=", "rdinit="];

/// The words of a command line, in order. Empty ones, and those that are for Linux, are left out.
pub fn words(line: &str) -> impl Iterator<Item = Word<'_>> {
    let ours = |word: &&str| !LINUX.iter().any(|theirs| word.starts_with(theirs));
    line.split_ascii_whitespace().filter(ours).map(|word| understand(word).unwrap_or(Word::Unknown(word)))
}

/// Whether the step `name` is to run.
#[must_use]
pub fn wants(line: &str, name: &str) -> bool {
    let mut something_else = false;
    for word in words(line) {
        match word {
            Word::Tests(list) => return list.split(',').any(|step| step == name),
            Word::Exit(_) | Word::Com2(_) | Word::Polite => {}
            _ => something_else = true,
        }
    }
    !something_else
}

/// How to end: the last word decides.
#[must_use]
pub fn exit(line: &str) -> Exit {
    words(line)
        .filter_map(|word| if let Word::Exit(exit) = word { Some(exit) } else { None })
        .last()
        .unwrap_or(Exit::Off)
}

/// Whether the machine's checkers are to have nothing to report.
#[must_use]
pub fn polite(line: &str) -> bool {
    words(line).any(|word| word == Word::Polite)
}

/// The steps that `tests=` may name.
pub const STEPS: [&str; 8] = ["acpi", "clock", "pci", "move", "edu", "testdev", "blk", "crate"];

fn understand(word: &str) -> Option<Word<'_>> {
    match word {
        "smp" => return Some(Word::Smp),
        "echo" => return Some(Word::Echo),
        "polite" => return Some(Word::Polite),
        "fail" => return Some(Word::Fail),
        _ => {}
    }
    let (key, value) = word.split_once('=')?;
    match key {
        "tests" => value.split(',').all(|step| step == "none" || STEPS.contains(&step)).then_some(Word::Tests(value)),
        "com2" => Some(Word::Com2(value)),
        "exit" => Some(Word::Exit(match value {
            "off" => Exit::Off,
            "reset" => Exit::Reset,
            "i8042" => Exit::Keyboard,
            "triple" => Exit::Triple,
            "halt" => Exit::Halt,
            "spin" => Exit::Spin,
            "fault" => Exit::Fault,
            _ => return None,
        })),
        "bench" => {
            let mut parts = value.split(',');
            let what = match parts.next()? {
                "exit" => Bench::Exit,
                "bell" => Bench::Bell,
                "blk" => Bench::Blk,
                "irq" => Bench::Irq,
                _ => return None,
            };
            let count = number(parts.next()?).filter(|count| *count > 0)?;
            let depth = parts.next().map_or(Some(1), number)?;
            (parts.next().is_none() && (1..=5).contains(&depth)).then_some(Word::Bench(what, count, depth))
        }
        "fuzz" => {
            let mut parts = value.split(',');
            let seed = number(parts.next()?)?;
            let count = number(parts.next()?)?;
            let master = match parts.next() {
                None => false,
                Some("master") => true,
                Some(_) => return None,
            };
            parts.next().is_none().then_some(Word::Fuzz(seed, count, master))
        }
        _ => None,
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn all_steps_run_on_an_empty_line_and_the_machine_powers_off() {
        assert!(STEPS.iter().all(|step| wants("", step)));
        assert_eq!(exit(""), Exit::Off);
    }

    #[test]
    fn a_list_of_steps_leaves_the_others_out() {
        assert!(wants("smp tests=pci,edu", "edu"));
        assert!(!wants("tests=pci,edu", "blk"));
        assert!(!wants("tests=none", "pci"));
    }

    #[test]
    fn another_word_replaces_the_steps_but_how_to_end_does_not() {
        assert!(!wants("fuzz=1,2", "pci"));
        assert!(wants("exit=reset polite", "pci"));
        assert!(polite("exit=reset polite"));
        assert!(!polite("exit=reset"));
        assert_eq!(exit("exit=reset exit=triple"), Exit::Triple);
    }

    #[test]
    fn words_for_linux_are_not_ours_to_know() {
        assert_eq!(words("console=ttyS0 panic=-1 printk.time=1 quiet loglevel=7 smp").collect::<Vec<_>>(), [Word::Smp]);
        assert_eq!(words("loud").collect::<Vec<_>>(), [Word::Unknown("loud")]);
    }

    #[test]
    fn words_with_numbers_are_understood() {
        let found: Vec<_> = words("bench=blk,100,4 fuzz=0x10,20 fuzz=1,2,master bench=exit,5").collect();
        assert_eq!(
            found,
            [
                Word::Bench(Bench::Blk, 100, 4),
                Word::Fuzz(16, 20, false),
                Word::Fuzz(1, 2, true),
                Word::Bench(Bench::Exit, 5, 1)
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_given_back_whole() {
        for word in [
            "bench=blk",
            "bench=blk,0",
            "bench=blk,5,6",
            "bench=x,1",
            "fuzz=1",
            "fuzz=a,1",
            "exit=",
            "tests=edo",
            "x",
            "a=b",
        ] {
            assert_eq!(words(word).collect::<Vec<_>>(), [Word::Unknown(word)]);
        }
    }
}
