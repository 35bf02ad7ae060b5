//! Uses the small drivers of `edu`: as their files say, and in the moments in which they come and go.

use bringup_bench::{open, Bench, Errno};

use super::Trouble;

const ENODEV: Errno = Errno(-19);

/// The ioctl of `edu_copy` that reads a register.
const EDU_REGISTER: u32 = (b'e' as u32) << 8 | 1;

/// Two processes use `edu_irq` at once: one computes, one rings.
pub fn compute_and_ring(bench: &Bench, trouble: &mut Trouble) {
    // A factorial takes the device a microsecond and a nanosecond for each number below.
    let slow: [u32; 3] = core::array::from_fn(|_| 40 + bench.choose(32) * 100);
    let computer = bench.spawn("computer", move || {
        let file = open("edu_irq")?;
        slow.into_iter()
            .chain([5])
            .try_for_each(|number| file.write(&number.to_le_bytes()).map(drop))
    });
    let ringer = bench.spawn("ringer", || {
        let file = open("edu_irq")?;
        (0..4).try_for_each(|_| file.read(&mut [0; 4]).map(drop))
    });
    let computed = trouble.check(
        "the computer",
        bench.join(&computer).and_then(|result| result),
    );
    trouble.check("the ringer", bench.join(&ringer).and_then(|result| result));
    if computed.is_none() {
        return;
    }
    let last = bench.run("last", || {
        let mut bytes = [0; 4];
        open("edu_irq")?.read(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    });
    if trouble
        .check("the last read", last.and_then(|last| last))
        .is_some_and(|last| last != 120)
    {
        trouble.wrong("the factorial of 5 is not 120");
    }
}

/// Two processes use `edu_irq` once each, at the same time; several times over.
pub fn one_each(bench: &Bench, trouble: &mut Trouble) {
    for _ in 0..6 {
        let computer = bench.spawn("computer", || {
            open("edu_irq")?.write(&3000_u32.to_le_bytes())
        });
        let ringer = bench.spawn("ringer", || open("edu_irq")?.read(&mut [0; 4]));
        for job in [computer, ringer] {
            trouble.check("a process", bench.join(&job).and_then(|result| result));
        }
    }
}

/// Takes the device away from `edu_irq` while a process computes and another one rings, as fast as they can.
pub fn unbind_while_waiting(bench: &Bench, trouble: &mut Trouble) {
    let computer = bench.spawn("computer", || {
        let file = open("edu_irq")?;
        (0..32_u32).try_for_each(|number| file.write(&number.to_le_bytes()).map(drop))
    });
    let ringer = bench.spawn("ringer", || {
        let file = open("edu_irq")?;
        (0..32).try_for_each(|_| file.read(&mut [0; 4]).map(drop))
    });
    bench.advance(u64::from(bench.choose(64)) * 500);
    trouble.check("unbind", bench.unbind("edu"));
    for job in [computer, ringer] {
        match bench.join(&job) {
            // That the device, or the file, is gone is what they are to be told.
            Ok(_) => {}
            Err(error) => trouble.failed("a process", error),
        }
    }
}

/// Two files of `edu_listen`: the one that listens is closed first, then the other has the bell rung.
pub fn listen(bench: &Bench, trouble: &mut Trouble) {
    let ring = bench.run("user", || {
        let other = open("edu_listen")?;
        let listener = open("edu_listen")?;
        listener.write(&[1])?;
        listener.read(&mut [0; 4])?;
        drop(listener);
        other.write(&[1])?;
        other.read(&mut [0; 4])
    });
    trouble.check("the user", ring.and_then(|ring| ring));
    bench.advance(1_000_000);
}

/// Has the bell of `edu_listen` rung, and unloads at once.
pub fn ring_and_leave(bench: &Bench, trouble: &mut Trouble) {
    let ring = bench.run("user", || open("edu_listen")?.write(&[1]));
    trouble.check("the user", ring.and_then(|ring| ring));
    trouble.check("unbind", bench.unbind("edu"));
}

/// Carries bytes with `edu_copy` and compares; looks at registers, also at those that it must not look at.
pub fn copy(bench: &Bench, trouble: &mut Trouble) {
    let Some(file) = trouble.check("open", bench.open("edu_copy")) else {
        return;
    };
    let sent: [u8; 60] = core::array::from_fn(|at| at as u8 ^ 0x5a);
    let mut back = [0; 60];
    if trouble.check("write", file.write(&sent)).is_none() {
        return;
    }
    if trouble.check("read", file.read(&mut back)).is_some() && back != sent {
        trouble.wrong("what came back is not what was sent");
    }
    if trouble
        .check("ioctl", file.ioctl(EDU_REGISTER, 0))
        .is_some_and(|id| id != 0xed)
    {
        trouble.wrong("the identification is not that of edu");
    }
    for offset in [0x0c, 0x60, 0x64, 0x1000] {
        if file.ioctl(EDU_REGISTER, offset).is_ok() {
            trouble.wrong("user space may read any register");
        }
    }
}

/// Reads from `edu_copy` many times over.
pub fn copy_often(bench: &Bench, trouble: &mut Trouble) {
    let Some(file) = trouble.check("open", bench.open("edu_copy")) else {
        return;
    };
    if trouble.check("write", file.write(&[7; 60])).is_none() {
        return;
    }
    for _ in 0..16 {
        trouble.check("read", file.read(&mut [0; 60]));
    }
}

/// Has a file of `edu_copy` open while the device is taken away from the driver, and goes on using it.
pub fn copy_after_unbind(bench: &Bench, trouble: &mut Trouble) {
    let Some(file) = trouble.check("open", bench.open("edu_copy")) else {
        return;
    };
    trouble.check("ioctl", file.ioctl(EDU_REGISTER, 4));
    trouble.check("unbind", bench.unbind("edu"));
    for result in [file.ioctl(EDU_REGISTER, 4), file.write(&[0; 64])] {
        if result != Err(ENODEV) {
            trouble.wrong("a device that is gone is not said to be");
        }
    }
}

/// Pulls the device out while `edu_copy` carries bytes.
pub fn copy_while_removed(bench: &Bench, trouble: &mut Trouble) {
    let job = bench.spawn("user", || {
        let file = open("edu_copy")?;
        for _ in 0..4 {
            file.write(&[7; 60])?;
            file.read(&mut [0; 60])?;
        }
        Ok::<_, Errno>(())
    });
    bench.advance(u64::from(bench.choose(64)) * 10_000_000);
    trouble.check("removal", bench.surprise_remove("edu"));
    // That the device is gone is what it is to be told.
    if let Err(error) = bench.join(&job) {
        trouble.failed("the user", error);
    }
}

/// Binds `edu_copy` anew while a process opens the node as soon as it is there, and uses it.
pub fn copy_at_once(bench: &Bench, trouble: &mut Trouble) {
    trouble.check("unbind", bench.unbind("edu"));
    let job = bench.spawn("eager", || {
        for _ in 0..256 {
            if let Ok(file) = open("edu_copy") {
                return file.write(&[7; 60]).map(drop);
            }
            bringup_bench::rt::sched::sleep(300);
        }
        Ok(())
    });
    trouble.check("bind", bench.bind("edu"));
    trouble.check("write", bench.join(&job).and_then(|result| result));
}

/// Queues work of `edu_work`, and takes the device away before or after it ran.
pub fn work(bench: &Bench, trouble: &mut Trouble) {
    let queued = bench.run("user", || open("edu_work")?.write(&[1]));
    trouble.check("write", queued.and_then(|queued| queued));
    bench.advance(u64::from(bench.choose(8)) * 5_000_000);
    trouble.check("unbind", bench.unbind("edu"));
    // What the work does after it said that it is done: there is no call yet that waits for its end.
    bench.advance(1_000_000);
}

/// Reads from `edu_tick`, and takes the device away while another process reads.
pub fn tick(bench: &Bench, trouble: &mut Trouble) {
    let first = bench.run("first", || {
        let file = open("edu_tick")?;
        (0..3).try_for_each(|_| file.read(&mut [0; 4]).map(drop))
    });
    trouble.check("read", first.and_then(|first| first));
    let second = bench.spawn("second", || {
        let file = open("edu_tick")?;
        (0..8).try_for_each(|_| file.read(&mut [0; 4]).map(drop))
    });
    bench.advance(u64::from(bench.choose(8)) * 500_000);
    trouble.check("unbind", bench.unbind("edu"));
    // That the device is gone is what it is to be told.
    if let Err(error) = bench.join(&second) {
        trouble.failed("the second process", error);
    }
}

/// As [`tick`], and lets some time pass before the module is unloaded.
pub fn tick_on(bench: &Bench, trouble: &mut Trouble) {
    tick(bench, trouble);
    bench.advance(5_000_000);
}

/// Asks `edu_steps` whether the device is alive, then binds it anew.
pub fn alive(bench: &Bench, trouble: &mut Trouble) {
    let read = bench.run("user", || open("edu_steps")?.read(&mut [0; 6]));
    trouble.check("read", read.and_then(|read| read));
    trouble.check("unbind", bench.unbind("edu"));
    trouble.check("bind", bench.bind("edu"));
}

/// Leaves the driver to itself.
pub fn nothing(_bench: &Bench, _trouble: &mut Trouble) {}

/// Reads from `vstart` until its ring has come round.
pub fn random(bench: &Bench, trouble: &mut Trouble) {
    let Some(file) = trouble.check("open", bench.open("vstart")) else {
        return;
    };
    for _ in 0..6 {
        let mut bytes = [0; 64];
        match trouble.check("read", file.read(&mut bytes)) {
            Some(64) if bytes != [0; 64] => {}
            Some(_) => trouble.wrong("the bytes are not random"),
            None => return,
        }
    }
}
