//! The command line, as clap reads it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bringup_bench::explore;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::exercise::work::Load;
use crate::suggest;
use crate::vm::args::{VmArgs, seconds};

/// Bring up a Linux driver written in Rust before it meets hardware.
#[derive(Debug, Parser)]
#[command(name = "bringup", bin_name = "bringup", version, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print one JSON document to standard output instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say on standard error what is built and what is taken from the cache; show also how a guest boots.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one life of a driver: load, probe, use, unload; report what it did wrong.
    ///
    /// Exit status: 0 clean, 1 something was found, 2 the life could not be run.
    Run(RunArgs),
    /// Try a virtio driver in many machines, odd ones among them: which clauses of VIRTIO 1.4 it passes, violates, does not meet.
    ///
    /// Exit status: 0 no clause violated, 1 one was, 2 it could not be tried.
    Conform(ConformArgs),
    /// Run the life that a stream file holds again, exactly.
    Replay(ReplayArgs),
    /// Remove each barrier, check, release and register write of a driver in turn: what notices that it is missing?
    ///
    /// Exit status: 0 everything was noticed, 1 something was not, 2 it could not be tried.
    Mutate(MutateArgs),
    /// Make a failing stream file short: as few choices as the same finding needs.
    ///
    /// Exit status: 0 the file is written, 2 it cannot be (its life does not fail, say).
    Shrink(ShrinkArgs),
    /// List what there is.
    List {
        /// What to list.
        what: ListOf,
        /// With checks: which clauses of virtio 1.4 are checked, need a stimulus, or cannot be seen.
        #[arg(long)]
        virtio: bool,
    },
    /// Run drivers with planted historical bugs and their correct twins: which check catches what, after how long.
    ///
    /// Exit status: 0 as expected, 1 a bug was not caught or a correct driver blamed, 2 it could not be tried.
    Zoo(ZooArgs),
    /// Boot a real kernel in a virtual machine with devices, load modules, run commands there; report what the guest did wrong.
    ///
    /// Exit status: that of the commands; 1 something was found or the guest failed, 2 the machine could not run, 130 a signal ended it.
    Vm(VmArgs),
    /// Build a driver's file, as it is, as a module of a real kernel, and run it there.
    #[command(subcommand)]
    Upstream(UpstreamCommand),
    /// Explain a rule: what it means, why it matters, how to mend it.
    Explain {
        /// The rule's id, as findings show it.
        id: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ListOf {
    /// The devices that can be plugged in, with their options.
    Devices,
    /// The drivers that come with Bringup.
    Drivers,
    /// The rules that are checked.
    Checks,
    /// What a fault plan can do.
    Faults,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A bundled driver's name, or the path of a .rs file.
    pub(crate) driver: String,
    /// Plug in a device: KIND or KIND,OPTION=VALUE,… (may be repeated).
    #[arg(long, value_name = "SPEC")]
    pub(crate) device: Vec<String>,
    /// Carry this file through the device and back, and compare.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Write what the device gave to this file: a disk's sectors, what came back, random bytes.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Put a disk under load: randread, randwrite or randrw (these two overwrite), then ,count=N ,size=BYTES ,depth=N.
    #[arg(long, value_name = "LOAD", value_parser = Load::parse)]
    pub(crate) bench: Option<Load>,
    /// Let chance decide, the same way each time: task order, late interrupts, failing allocations.
    #[arg(long, value_name = "N", value_parser = number, conflicts_with = "choices")]
    pub(crate) seed: Option<u64>,
    /// Take the choices from a stream file.
    #[arg(long, value_name = "FILE")]
    pub(crate) choices: Option<PathBuf>,
    /// Write the trace: .perfetto-trace or .json (for ui.perfetto.dev), .txt, .jsonl, .pcapng (packets).
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// What goes wrong in the machine (TOML; see bringup list faults).
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// Set a module parameter (may be repeated).
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) param: Vec<(String, String)>,
    /// Save the life as a stream file, for bringup replay.
    #[arg(long, value_name = "FILE")]
    pub(crate) save_choices: Option<PathBuf>,
    /// Run so many lives instead of one, each with other choices, and report what was found, each cause once.
    #[arg(long, value_name = "N", conflicts_with_all = ["output", "trace", "choices", "save_choices"], value_parser = number)]
    pub(crate) explore: Option<u64>,
    /// Where the choices of --explore come from: mixed, random, pct[:DEPTH], exhaustive[:PREEMPTIONS] or failures.
    #[arg(long, value_name = "HOW", requires = "explore", value_parser = strategy, default_value = "mixed")]
    pub(crate) strategy: Strategy,
    /// End --explore after so much time: 30s, 5m, 2h.
    #[arg(long, value_name = "TIME", requires = "explore", value_parser = duration)]
    pub(crate) time: Option<Duration>,
    /// Threads of --explore; else one for each processor. What is found does not depend on it.
    #[arg(long, value_name = "N", requires = "explore", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) jobs: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct ShrinkArgs {
    /// The stream file.
    pub(crate) stream: PathBuf,
    /// Where the short one goes; else it takes the place of the long one.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ConformArgs {
    /// A bundled driver's name, or the path of a .rs file.
    pub(crate) driver: String,
    /// The device that it is tried with; else the first virtio kind that it binds to. Options given here stand in every machine.
    #[arg(long, value_name = "SPEC")]
    pub(crate) device: Option<String>,
    /// In each machine, how many more lives with chance deciding.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(..=100_000))]
    pub(crate) seeds: u64,
    /// Set a module parameter in every life (may be repeated).
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) param: Vec<(String, String)>,
    /// Show every clause in a line of its own: also those for other types of devices, and those that nobody can see.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MutateArgs {
    /// A bundled driver's name, or the path of a .rs file.
    pub(crate) driver: String,
    /// Plug in a device: KIND or KIND,OPTION=VALUE,… (may be repeated).
    #[arg(long, value_name = "SPEC")]
    pub(crate) device: Vec<String>,
    /// How many lives each removal has at most.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) lives: u64,
    /// How many removals are tried at once; else as many as there are processors.
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    /// Only removals in files whose path has this in it (may be repeated).
    #[arg(long, value_name = "TEXT")]
    pub(crate) file: Vec<String>,
    /// Set a module parameter in every life (may be repeated).
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) param: Vec<(String, String)>,
    /// Tries this removal: what the command runs itself with.
    #[arg(long, value_name = "NUMBER", hide = true)]
    pub(crate) removal: Option<u32>,
    /// Rules that the driver breaks with nothing removed.
    #[arg(long, value_name = "RULE", hide = true)]
    pub(crate) known: Vec<String>,
    /// The check sum of what a user gets from the driver with nothing removed.
    #[arg(long, value_name = "NUMBER", hide = true)]
    pub(crate) account: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ZooArgs {
    /// Which bugs; all if none is named.
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// How often each bug is hunted, each time with other chances.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: u64,
    /// The most lives of a hunt.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) lives: u64,
    /// How many lives of the correct twin must pass; else as many as of a hunt.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) twin_lives: Option<u64>,
    /// How many threads run lives.
    #[arg(long, value_name = "J", default_value_t = 1, value_parser = jobs)]
    pub(crate) jobs: usize,
    /// Print Markdown, as the README and the book have it.
    #[arg(long, conflicts_with_all = ["json", "list"])]
    pub(crate) markdown: bool,
    /// List the bugs instead.
    #[arg(long, conflicts_with = "show")]
    pub(crate) list: bool,
    /// Tell their stories, and show what makes each of them, instead.
    #[arg(long)]
    pub(crate) show: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UpstreamCommand {
    /// Build the module.
    Build(UpstreamArgs),
    /// Build the module, boot the kernel, load the module, run commands, unload it.
    ///
    /// Exit status: 0 clean, 1 the kernel complained, a command failed or (--door vm) the driver's log differs from the bench's,
    /// 2 it could not be built or booted.
    Run(UpstreamArgs),
}

#[derive(Debug, Args)]
pub(crate) struct UpstreamArgs {
    /// The driver's .rs file.
    pub(crate) driver: PathBuf,
    /// The directory that a kernel with Rust was configured and built in.
    #[arg(long, value_name = "DIR")]
    pub(crate) kernel_tree: PathBuf,
    /// Where build puts the module; else the current directory.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Who runs the kernel.
    #[arg(long, value_enum, default_value_t = Door::Qemu)]
    pub(crate) door: Door,
    /// A device: of QEMU's, as its -device takes it, or with --door vm of ours, as bringup run takes it; then, if none is given,
    /// those that the driver binds to (may be repeated).
    #[arg(long, value_name = "SPEC")]
    pub(crate) device: Vec<String>,
    /// With --door vm: end the machine if it has not ended by itself after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// With --door vm: let the machine's threads make any system call.
    #[arg(long)]
    pub(crate) no_seccomp: bool,
    /// What stands behind a device, as QEMU's -drive takes it: if=none,id=d,format=raw,file=disk.img (may be repeated).
    #[arg(long, value_name = "SPEC")]
    pub(crate) drive: Vec<String>,
    /// Shell commands for the guest, between loading and unloading.
    #[arg(long, value_name = "COMMANDS")]
    pub(crate) run: Option<String>,
    /// Put a file into the guest's /p, which is on its PATH (may be repeated).
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// A statically linked busybox; else the one on the PATH.
    #[arg(long, value_name = "FILE")]
    pub(crate) busybox: Option<PathBuf>,
    /// More of the kernel's command line.
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub(crate) append: String,
}

/// Where the real kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Door {
    /// Under QEMU's software emulation, with QEMU's devices.
    Qemu,
    /// In our own machine (bringup vm), with our devices: the guest's log of the driver is laid beside the bench's.
    Vm,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The stream file.
    pub(crate) stream: PathBuf,
    /// Write the trace: .perfetto-trace or .json (for ui.perfetto.dev), .txt, .jsonl, .pcapng (packets).
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Write a Rust test that fails for the same reason, with the shrunk choices in it; to standard output without a FILE.
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "trace")]
    pub(crate) emit_test: Option<Option<PathBuf>>,
}

/// The strategies of `--explore`, as the command line and reports name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strategy(pub(crate) explore::Strategy);

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            explore::Strategy::Random => f.write_str("random"),
            explore::Strategy::Pct { depth } => write!(f, "pct:{depth}"),
            explore::Strategy::Exhaustive { preemptions } => write!(f, "exhaustive:{preemptions}"),
            explore::Strategy::FailNth => f.write_str("failures"),
            _ => f.write_str("mixed"),
        }
    }
}

fn strategy(text: &str) -> Result<Strategy, String> {
    let (name, bound) = text.split_once(':').map_or((text, None), |(name, bound)| (name, Some(bound)));
    let bound = |default: u32| match bound.map(str::parse) {
        None => Ok(default),
        Some(Ok(bound)) if bound <= 64 => Ok(bound),
        Some(_) => Err(format!("{name} takes a number up to 64 behind its colon")),
    };
    let strategy = match name {
        "pct" => explore::Strategy::Pct { depth: bound(3)? },
        "exhaustive" => explore::Strategy::Exhaustive { preemptions: bound(2)? },
        "random" if text == name => explore::Strategy::Random,
        "failures" if text == name => explore::Strategy::FailNth,
        "mixed" if text == name => explore::Strategy::Mixed,
        _ => {
            return Err(
                "there are mixed, random, pct, pct:DEPTH, exhaustive, exhaustive:PREEMPTIONS and failures".into()
            );
        }
    };
    Ok(Strategy(strategy))
}

fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || "it takes a number and a unit: 30s, 5m, 2h".to_owned();
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(refuse)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(refuse()),
    };
    let count: u64 = digits.parse().map_err(|_| refuse())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(refuse)
}

/// A decimal number, or one with 0x before it.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "it takes a number from 0 to 18446744073709551615, or 0x and hexadecimal digits".into())
}

fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=256) => Ok(jobs),
        _ => Err("it takes 1 to 256".into()),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("it takes NAME=VALUE".into()),
    }
}

/// What clap has to say, as one line; `None` when it is help that was asked for.
pub(crate) fn one_line(error: &clap::Error) -> Option<String> {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return None;
    }
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
    {
        let command = Cli::command();
        let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let hint = suggest::hint(word, known.iter().copied());
        return Some(format!("unknown command \"{word}\"{hint} (there are {})", known.join(", ")));
    }
    let text = error.to_string();
    let mut parts: Vec<String> = Vec::new();
    for paragraph in text.split("\n\n") {
        let words = paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        if words.starts_with("Usage:") || words.starts_with("For more information") || words.is_empty() {
            continue;
        }
        let words = words.strip_prefix("error: ").unwrap_or(&words);
        parts.push(words.replace("tip: ", ""));
    }
    Some(format!("{} (bringup --help says more)", parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(arguments: &[&str]) -> String {
        let error = Cli::try_parse_from(arguments).expect_err("refused");
        one_line(&error).expect("no help")
    }

    #[test]
    fn complaints_are_one_line_and_name_the_word() {
        for (arguments, word) in [
            (&["bringup", "rnu"][..], "did you mean \"run\"?"),
            (&["bringup", "run", "edu", "--sed", "1"][..], "--seed"),
            (&["bringup", "run", "edu", "--seed", "many"][..], "many"),
            (&["bringup", "run"][..], "<DRIVER>"),
            (&["bringup", "list", "device"][..], "devices"),
            (&["bringup", "run", "edu", "--jobs", "2"][..], "--explore"),
            (&["bringup", "run", "edu", "--explore", "9", "--strategy", "luck"][..], "exhaustive:PREEMPTIONS"),
            (&["bringup", "run", "edu", "--explore", "9", "--time", "5"][..], "30s"),
            (&["bringup", "run", "edu", "--explore", "9", "--output", "x"][..], "--output"),
        ] {
            let line = complaint(arguments);
            assert!(!line.contains('\n') && line.contains(word), "{line}");
        }
    }

    #[test]
    fn seeds_are_decimal_or_hexadecimal() {
        assert_eq!((number("16"), number("0x10")), (Ok(16), Ok(16)));
        assert!(number("-1").is_err());
    }
}
