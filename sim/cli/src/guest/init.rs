//! The guest's init: a script for busybox' shell. It says on the console, by lines of the kernel's log that nothing can tear apart,
//! where it has got to, and by a channel of its own how it ended.

use super::Guest;
use crate::life::quote;

/// Said when the init begins, …
pub(crate) const BEGIN: &str = "--- bringup: the guest begins ---";
/// … when the modules are loaded, …
pub(crate) const LOADED: &str = "--- bringup: the modules are loaded ---";
/// … when the commands are over, …
pub(crate) const DONE: &str = "--- bringup: the commands are over ---";
/// … and when it is about to turn the guest off.
pub(crate) const END: &str = "--- bringup: the guest ends ---";

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

/// What stands before the status on the console, …
const STATUS: &str = "--- bringup: status ";
/// … and on the second serial port.
const STATUS_WORD: &str = "bringup-status=";

/// The status that a line of the console says.
pub(crate) fn status_on_console(line: &str) -> Option<i32> {
    line.strip_prefix(STATUS)?.trim().parse().ok()
}

/// The status that came over the second serial port.
pub(crate) fn status_on_channel(said: &[u8]) -> Option<i32> {
    String::from_utf8_lossy(said).lines().rev().find_map(|line| line.trim().strip_prefix(STATUS_WORD)?.parse().ok())
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
            // Level 0 is shown whatever the command line says of levels. A file there that is no device is not the log.
            "say() { if [ -c /dev/kmsg ]; then echo \"<0>$1\" > /dev/kmsg; else echo; echo \"$1\"; fi; }".into(),
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
        lines.push("stty opost 2>/dev/null < /dev/console".into());
        lines.push(format!("say '{DONE}'"));
        for module in modules.iter().rev().filter(|_| self.unloads) {
            let name = module.strip_suffix(".ko").unwrap_or(module).replace('-', "_");
            lines.push(format!("[ ! -d /sys/module/{0} ] || rmmod {0} || status=$?", quote(&name)));
        }
        lines.push(format!("say '{END}'"));
        lines.push(match self.channel {
            Channel::Serial => format!(
                "if [ -c /dev/ttyS1 ]; then echo {STATUS_WORD}$status > /dev/ttyS1; \
                 else echo 'bringup: this kernel has no second serial port, /dev/ttyS1, to say the status by'; fi"
            ),
            Channel::Console => format!("echo; echo \"{STATUS}$status\""),
        });
        // Without ACPI a kernel would halt, and the machine go on.
        lines.push("sync; if [ -d /sys/firmware/acpi ]; then poweroff -f; else reboot -f; fi".into());
        lines.join("\n") + "\n"
    }
}

/// Stands before the status of an insmod that failed and the module's name, with a colon between, on the second serial port.
const FAILED_WORD: &str = "bringup-insmod=";

/// The module that could not be loaded, and insmod's status, if the second serial port was told of one.
pub(crate) fn failed_module_on_channel(said: &[u8]) -> Option<(String, i32)> {
    String::from_utf8_lossy(said).lines().find_map(|line| {
        let (status, module) = line.trim().strip_prefix(FAILED_WORD)?.split_once(':')?;
        Some((module.to_owned(), status.parse().ok()?))
    })
}

impl Guest<'_> {
    /// The function that says that a module could not be loaded.
    fn failed(&self) -> String {
        match self.channel {
            Channel::Serial => {
                format!("failed() {{ [ ! -c /dev/ttyS1 ] || echo \"{FAILED_WORD}$status:$1\" > /dev/ttyS1; }}")
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

    #[test]
    fn status_is_found_among_what_else_came_over_the_channel() {
        assert_eq!(status_on_channel(b"noise\r\nbringup-status=3\r\n"), Some(3));
        assert_eq!(status_on_channel(b"bringup-status=\r\n"), None);
        assert_eq!(status_on_channel(b""), None);
        assert_eq!(status_on_console("--- bringup: status 0"), Some(0));
    }

    #[test]
    fn init_of_a_guest_beside_another_touches_only_what_is_its_own() {
        let guest = Guest {
            busybox: None,
            modules: &[],
            shares: &[],
            purpose: Purpose::Commands("true"),
            taken: &[],
            unloads: true,
            channel: Channel::Serial,
            beside: true,
            most: 0,
        };
        let script = guest.script("bringup/bin", &["my-driver.ko".into()]);
        assert!(script.starts_with("#!/bringup/bin/busybox sh\n"), "{script}");
        assert!(script.contains("insmod /p/my-driver.ko ") && script.contains("rmmod my_driver "), "{script}");
        assert_eq!(guest.command_line(), "rdinit=/bringup/init");
    }

    #[test]
    fn module_that_failed_is_found_in_what_came_over_the_channel() {
        let said = b"bringup-insmod=1:my driver.ko\r\nbringup-insmod=2:other.ko\r\nbringup-status=1\r\n";
        assert_eq!(failed_module_on_channel(said), Some(("my driver.ko".into(), 1)));
        assert_eq!(failed_module_on_channel(b"bringup-insmod=x:a.ko\nbringup-insmod=1\nbringup-status=1\n"), None);
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
