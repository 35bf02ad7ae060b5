//! The guest's init: a script for busybox' shell. It says where it has got to in what is printed and in the kernel's log, since either
//! may be late, and by a channel of its own how it ended.

use super::Guest;
use crate::life::quote;

/// Said when the init begins, …
pub(crate) const BEGIN: &str = "the guest begins";
/// … when the modules are loaded, …
pub(crate) const LOADED: &str = "the modules are loaded";
/// … when the commands are over, …
pub(crate) const DONE: &str = "the commands are over";
/// … and when it is about to turn the guest off.
pub(crate) const END: &str = "the guest ends";

/// What every mark begins with.
pub(crate) const MARK: &str = "--- bringup ";

/// What stands in the marks and the status of this run, and does not stand in the script, so that a command does not print it because
/// it prints the script or another run's console.
pub(crate) fn token() -> u32 {
    std::process::id()
}

/// What the init says of these words.
pub(crate) fn mark(words: &str) -> String {
    format!("{MARK}{}: {words} ---", token())
}

/// What a guest is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose<'a> {
    /// To run these commands.
    Commands(&'a str),
    /// To give whoever is at the console a shell.
    Shell,
}

/// How the init says how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// On the second serial port.
    Serial,
    /// On the console, which is all that QEMU shows us.
    Console,
}

/// What stands before the token and the status on the second serial port.
const STATUS: &str = "bringup-status-";

/// The status that a line of the console says.
pub(crate) fn status_on_console(line: &str) -> Option<i32> {
    line.strip_prefix(&format!("{MARK}{}: status ", token()))?.trim().parse().ok()
}

/// The status that came over the second serial port, where commands may write too.
pub(crate) fn status_on_channel(said: &[u8]) -> Option<i32> {
    let word = format!("{STATUS}{}=", token());
    String::from_utf8_lossy(said).lines().rev().find_map(|line| line.trim().strip_prefix(&word)?.parse().ok())
}

/// Where the init lies.
pub(crate) fn path(beside: bool) -> &'static str {
    if beside { "bringup/init" } else { "init" }
}

impl Guest<'_> {
    /// The init, where busybox lies in `bin` and the modules are called `modules` in `/p`.
    pub(super) fn script(&self, bin: &str, modules: &[String]) -> String {
        let mut lines = vec![
            format!("#!/{bin}/busybox sh"),
            format!("/{bin}/busybox --install -s /{bin} 2>/dev/null"),
            format!("export PATH=/p:/{bin}:/usr/sbin:/usr/bin:/sbin:/bin HOME=/ TERM=vt102"),
            "mkdir -p /proc /sys /dev /tmp".into(),
            "mount -t proc proc /proc 2>/dev/null".into(),
            "mount -t sysfs sys /sys 2>/dev/null".into(),
            // The kernel may have mounted it.
            "[ -c /dev/null ] || mount -t devtmpfs dev /dev 2>/dev/null".into(),
            "mount -t debugfs debug /sys/kernel/debug 2>/dev/null".into(),
            // It is said nowhere what that makes.
            format!("unset token; token=$(({}-{FAR}))", FAR + u64::from(token())),
            self.say(),
            "cd /p; status=0".into(),
            format!("say '{BEGIN}'"),
        ];
        for (function, driver) in self.taken {
            lines.push(format!("take {} {}", quote(function), quote(driver)));
        }
        lines.push(self.failed());
        for module in modules {
            let path = quote(&format!("/p/{module}"));
            // The first one that fails is the one to look at.
            lines.push(format!("[ $status != 0 ] || insmod {path} || {{ status=$?; failed {}; }}", quote(module)));
        }
        lines.push(format!("say '{LOADED}'"));
        lines.push(match self.purpose {
            Purpose::Commands(_) => "if [ $status = 0 ]; then sh /bringup/commands; status=$?; fi".into(),
            // A shell's last command is nobody's failure.
            Purpose::Shell => "if type cttyhack >/dev/null 2>&1; then setsid cttyhack sh -l; else sh -l; fi".into(),
        });
        // What was printed is out before that is said: setting a terminal up waits for it.
        const DRAIN: &str = "stty opost 2>/dev/null < /dev/console";
        lines.push(DRAIN.into());
        lines.push(format!("say '{DONE}'"));
        for module in modules.iter().rev().filter(|_| self.unloads) {
            let name = module.strip_suffix(".ko").unwrap_or(module).replace('-', "_");
            lines.push(format!("[ ! -d /sys/module/{0} ] || rmmod {0} || status=$?", quote(&name)));
        }
        lines.push(format!("say '{END}'"));
        lines.push(DRAIN.into());
        lines.push(match self.channel {
            // Whatever stands there before it.
            Channel::Serial => format!(
                "if [ -c /dev/ttyS1 ]; then {{ echo; echo \"{STATUS}$token=$status\"; stty opost 2>/dev/null <&1; }} > /dev/ttyS1 < /dev/null; \
                 else echo 'bringup: this kernel has no second serial port, /dev/ttyS1, to say the status by'; fi"
            ),
            Channel::Console => format!("echo; echo \"{MARK}$token: status $status\""),
        });
        // Without ACPI a kernel would halt, and the machine go on.
        lines.push("sync; if [ -d /sys/firmware/acpi ]; then poweroff -f; else reboot -f; fi".into());
        lines.join("\n") + "\n"
    }

    /// The function that says where the init is. Level 0 is shown whatever the command line says of levels. A file there that is no
    /// device is not the log.
    fn say(&self) -> String {
        let text = format!("text=\"{MARK}$token: $1 ---\"");
        let logged = "if [ -c /dev/kmsg ]; then { echo \"<0>$text\" > /dev/kmsg; } 2>/dev/null";
        match self.channel {
            Channel::Serial => format!("say() {{ {text}; echo \"$text\"; {logged}; fi; }}"),
            // QEMU's console is looked at line by line, and nothing tears the log's apart.
            Channel::Console => format!("say() {{ {text}; {logged}; else echo; echo \"$text\"; fi; }}"),
        }
    }
}

/// Far from every token.
const FAR: u64 = 7_000_000_000;

/// Stands before the token, the status of an insmod that failed and the module's name, with a colon between, on the second serial port.
const FAILED_WORD: &str = "bringup-insmod-";

/// The module that could not be loaded, and insmod's status, if the second serial port was told of one.
pub(crate) fn failed_module_on_channel(said: &[u8]) -> Option<(String, i32)> {
    let word = format!("{FAILED_WORD}{}=", token());
    String::from_utf8_lossy(said).lines().find_map(|line| {
        let (status, module) = line.trim().strip_prefix(&word)?.split_once(':')?;
        Some((module.to_owned(), status.parse().ok()?))
    })
}

impl Guest<'_> {
    /// The function that says that a module could not be loaded.
    fn failed(&self) -> String {
        match self.channel {
            Channel::Serial => {
                format!("failed() {{ [ ! -c /dev/ttyS1 ] || echo \"{FAILED_WORD}$token=$status:$1\" > /dev/ttyS1; }}")
            }
            Channel::Console => "failed() { echo; echo \"insmod $1: status $status\"; }".into(),
        }
    }
}

/// For the guest's commands: `take VENDOR:DEVICE DRIVER` or `take ADDRESS DRIVER` gives functions to a driver, also if one of the
/// kernel's has them.
pub(super) fn take(bin: &str) -> String {
    format!(
        r#"#!/{bin}/busybox sh
for function in /sys/bus/pci/devices/*; do
    [ "$(cat $function/vendor):$(cat $function/device)" = "0x${{1%%:*}}:0x${{1##*:}}" ] ||
        [ "${{function##*/}}" = "$1" ] || continue
    [ -e $function/driver ] && echo ${{function##*/}} > $function/driver/unbind
    echo $2 > $function/driver_override
    echo ${{function##*/}} > /sys/bus/pci/drivers_probe
done
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::console::Mark;

    #[test]
    fn status_is_found_among_what_else_came_over_the_channel() {
        let said = |text: &str| status_on_channel(text.replace("TOKEN", &token().to_string()).as_bytes());
        assert_eq!(said("noise\r\nbringup-status-TOKEN=3\r\n"), Some(3));
        assert_eq!(said("no line's end\r\nbringup-status-TOKEN=4\r\nbringup-status-TOKEN=\r\nmore"), Some(4));
        assert_eq!(said("bringup-status-TOKEN=\r\n"), None);
        // Another's.
        assert_eq!(said("bringup-status=0\r\nbringup-status-1x=0\r\n"), None);
        assert_eq!(said(""), None);
        assert_eq!(status_on_console(&format!("--- bringup {}: status 0", token())), Some(0));
        assert_eq!(status_on_console("--- bringup: status 0"), None);
    }

    #[test]
    fn script_that_is_printed_is_neither_mark_nor_status() {
        for channel in [Channel::Serial, Channel::Console] {
            let script = guest(channel).script("bin", &[]);
            assert!(!script.contains(&format!("{MARK}{}", token())) && status_on_channel(script.as_bytes()).is_none());
            assert!(script.lines().all(|line| Mark::find(line).is_none() && status_on_console(line).is_none()));
        }
    }

    /// One beside another.
    fn guest(channel: Channel) -> Guest<'static> {
        Guest {
            busybox: None,
            modules: &[],
            shares: &[],
            purpose: Purpose::Commands("true"),
            taken: &[],
            unloads: true,
            channel,
            beside: true,
            most: 0,
        }
    }

    #[test]
    fn init_of_a_guest_beside_another_touches_only_what_is_its_own() {
        let guest = guest(Channel::Serial);
        let script = guest.script("bringup/bin", &["my-driver.ko".into()]);
        assert!(script.starts_with("#!/bringup/bin/busybox sh\n"), "{script}");
        assert!(script.contains("insmod /p/my-driver.ko ") && script.contains("rmmod my_driver "), "{script}");
        assert_eq!(guest.command_line(), "rdinit=/bringup/init");
    }

    #[test]
    fn module_that_failed_is_found_in_what_came_over_the_channel() {
        let said =
            |text: &str| failed_module_on_channel(text.replace("insmod=", &format!("insmod-{}=", token())).as_bytes());
        let two = "bringup-insmod=1:my driver.ko\r\nbringup-insmod=2:other.ko\r\nbringup-status=1\r\n";
        assert_eq!(said(two), Some(("my driver.ko".into(), 1)));
        assert_eq!(said("bringup-insmod=x:a.ko\nbringup-insmod=1\nbringup-status=1\n"), None);
        // Another's.
        assert_eq!(failed_module_on_channel(two.as_bytes()), None);
    }

    #[test]
    fn first_module_that_fails_is_named_and_no_other_is_tried() {
        let guest = Guest {
            busybox: None,
            modules: &[],
            shares: &[],
            purpose: Purpose::Shell,
            taken: &[],
            unloads: false,
            channel: Channel::Console,
            beside: false,
            most: 0,
        };
        let script = guest.script("bin", &["good.ko".into(), "my driver.ko".into(), "late.ko".into()]);
        let ours = |line: &&str| line.contains("insmod") || line.starts_with("failed()");
        let lines: Vec<&str> = script.lines().filter(ours).collect();
        let insmod = "status=0; insmod() { [ \"$1\" != '/p/my driver.ko' ] || return 7; }";

        let said = std::process::Command::new("sh").arg("-c").arg(format!("{insmod}\n{}", lines.join("\n"))).output();

        assert_eq!(String::from_utf8(said.unwrap().stdout).unwrap().trim(), "insmod my driver.ko: status 7");
    }
}
