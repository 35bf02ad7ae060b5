//! Lives of `edu` in a row, to be profiled: `valgrind --tool=callgrind target/release/examples/lives 200`.

use bringup_bench::Bench;
use bringup_devices::Edu;

fn main() {
    let lives = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(1000);
    for _ in 0..lives {
        let bench = Bench::builder()
            .device("edu", Edu::default())
            .build()
            .expect("a bench");
        bench.load(&edu::BRINGUP_MODULE).expect("the driver loads");
        bench
            .run("user", || {
                let file = bringup_bench::open("edu").expect("it opens");
                let mut piece = [7; 256];
                for _ in 0..8 {
                    file.seek(0);
                    file.write(&piece).expect("a transfer");
                    file.seek(0);
                    file.read(&mut piece).expect("a transfer");
                }
            })
            .expect("no crash");
        assert!(bench.finish().is_clean());
    }
}
