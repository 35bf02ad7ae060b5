//! Uses `/dev/vzoo`, the file of the small virtqueues.

use std::collections::BTreeSet;

use bringup_bench::Bench;

use super::Trouble;

/// Reads often enough that the ring comes round several times. No eight bytes come twice, and none are what memory held before.
pub fn read(bench: &Bench, trouble: &mut Trouble) {
    let Some(file) = trouble.check("open", bench.open("vzoo")) else { return };
    let mut seen = BTreeSet::from([0]);
    for len in [32, 64, 64, 32, 64, 32, 32, 64] {
        let mut bytes = vec![0; len];
        let count = match file.read(&mut bytes) {
            Ok(count) => count,
            // One chain is all that there is room for.
            Err(bringup_bench::Errno(-5)) if len == 64 && seen.len() > 1 => match file.read(&mut bytes[..32]) {
                Ok(count) => count,
                Err(error) => return trouble.failed("read", error),
            },
            Err(error) => return trouble.failed("read", error),
        };
        for piece in bytes[..count].chunks_exact(8) {
            let word = piece.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            if !seen.insert(word) {
                trouble.wrong(format!("the random bytes {word:#018x} were read twice, or are what memory held"));
                return;
            }
        }
    }
}

/// Unbinds while a read is under way.
pub fn unbind_reading(bench: &Bench, trouble: &mut Trouble) {
    let job = bench.spawn("reader", || {
        let file = bringup_bench::open("vzoo")?;
        file.read(&mut [0; 64])
    });
    bench.advance(5_000);
    trouble.check("unbind", bench.unbind("virtio-rng"));
    // The device may have gone before it was done, or before it was there.
    let _ = bench.join(&job);
}
