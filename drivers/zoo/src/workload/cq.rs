//! Uses `/dev/cq`.

use bringup_bench::{Bench, BenchFile};

use super::Trouble;

/// Copies several times, so that both rings come round more than twice, and compares. The device is stopped by the unload.
pub fn copy(bench: &Bench, trouble: &mut Trouble) {
    let Some(file) = trouble.check("open", bench.open("cq")) else {
        return;
    };
    for (round, len) in [40, 200, 640, 100].into_iter().enumerate() {
        if !copy_once(&file, round as u8, len, trouble) {
            return;
        }
    }
}

/// Copies `len` bytes that differ from one `round` to the next; false if that cannot go on.
fn copy_once(file: &BenchFile<'_>, round: u8, len: usize, trouble: &mut Trouble) -> bool {
    let sent: Vec<u8> = (0..len)
        .map(|at| (at as u8).wrapping_mul(3) ^ (round + 1) << 5)
        .collect();
    let mut back = vec![0; len];
    file.seek(0);
    if trouble.check("write", file.write(&sent)).is_none() {
        return false;
    }
    file.seek(0);
    match trouble.check("read", file.read(&mut back)) {
        Some(count) if count == len && back == sent => {}
        Some(count) => {
            let at = back
                .iter()
                .zip(&sent)
                .position(|(a, b)| a != b)
                .unwrap_or(count);
            trouble.wrong(format!(
                "the copy of {len} bytes differs from them at byte {at}"
            ));
        }
        None => return false,
    }
    true
}

/// Copies while another process does, and unbinds while the file is open.
pub fn unbind_open(bench: &Bench, trouble: &mut Trouble) {
    let Some(file) = trouble.check("open", bench.open("cq")) else {
        return;
    };
    copy_once(&file, 0, 300, trouble);
    let job = bench.spawn("writer", || {
        let file = bringup_bench::open("cq")?;
        file.write(&[7; 600])
    });
    bench.advance(1_500);
    trouble.check("unbind", bench.unbind("cq"));
    // The device may have gone before it was done, or before it was there.
    let _ = bench.join(&job);
    let mut back = [0; 8];
    file.seek(0);
    let _ = file.read(&mut back);
}

/// Unbinds and binds between copies.
pub fn rebind(bench: &Bench, trouble: &mut Trouble) {
    for round in 0..3 {
        {
            let Some(file) = trouble.check("open", bench.open("cq")) else {
                return;
            };
            if !copy_once(&file, round, 300, trouble) {
                return;
            }
        }
        trouble.check("unbind", bench.unbind("cq"));
        trouble.check("bind", bench.bind("cq"));
    }
}

/// A write is interrupted by a signal, and then one is not: the driver begins again in between.
pub fn interrupted(bench: &Bench, trouble: &mut Trouble) {
    let job = bench.spawn("writer", || {
        let file = bringup_bench::open("cq")?;
        file.write(&[7; 600])
    });
    bench.advance(3_000);
    bench.signal(&job);
    // That it was interrupted is what it should say.
    let _ = bench.join(&job);
    copy(bench, trouble);
}

/// Copies all that the buffers hold.
pub fn full(bench: &Bench, trouble: &mut Trouble) {
    let Some(file) = trouble.check("open", bench.open("cq")) else {
        return;
    };
    copy_once(&file, 0, 1024, trouble);
}

/// Copies so often that the counters pass 256.
pub fn many(bench: &Bench, trouble: &mut Trouble) {
    let Some(file) = trouble.check("open", bench.open("cq")) else {
        return;
    };
    for round in 0..18 {
        if !copy_once(&file, round, 1024, trouble) {
            return;
        }
    }
}
