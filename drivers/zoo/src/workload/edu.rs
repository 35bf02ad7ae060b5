//! Uses `/dev/edu`.

use bringup_bench::Bench;

use super::Trouble;

/// Carries bytes into the device and back, twice.
pub fn carry(bench: &Bench, trouble: &mut Trouble) {
    let Some(file) = trouble.check("open", bench.open("edu")) else {
        return;
    };
    for round in 0..2_u8 {
        let sent: Vec<u8> = (0..64).map(|at| at ^ (round * 0x5a)).collect();
        let mut back = vec![0; sent.len()];
        file.seek(0);
        if trouble.check("write", file.write(&sent)).is_none() {
            return;
        }
        file.seek(0);
        if trouble.check("read", file.read(&mut back)).is_some() && back != sent {
            trouble.wrong("what came back is not what was sent");
        }
    }
}

/// Interrupts a read by a signal while its transfer runs, and unbinds.
pub fn interrupted(bench: &Bench, trouble: &mut Trouble) {
    let job = bench.spawn("reader", || {
        let file = bringup_bench::open("edu")?;
        file.read(&mut [0; 64])
    });
    bench.advance(1_000_000);
    bench.signal(&job);
    // That it was interrupted is what it should say.
    let _ = bench.join(&job);
    trouble.check("unbind", bench.unbind("edu"));
}
