//! Clocks, spans, delays and timers.

use bringup_bench::Bench;
use core::pin::Pin;
use kernel::impl_has_hr_timer;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{new_spinlock_irq, Arc, ArcBorrow, Completion, SpinLockIrq};
use kernel::time::delay::{fsleep, udelay};
use kernel::time::hrtimer::{
    AbsoluteMode, ArcHrTimerHandle, HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerHandle, HrTimerInstant,
    HrTimerPointer, HrTimerRestart, RelativeHardMode, RelativeMode, RelativeSoftMode, ScopedHrTimerPointer,
};
use kernel::time::{msecs_to_jiffies, BootTime, Delta, Instant, Jiffy, Monotonic, RealTime, Tai};
use pin_init::stack_pin_init;

fn bench() -> Bench {
    Bench::builder().build().unwrap()
}

#[test]
fn spans_round_as_they_say() {
    let span = |nanos| Delta::from_nanos(nanos);
    assert_eq!(span(1_000_001).as_micros_ceil(), 1_001);
    assert_eq!(span(-1_500).as_micros_ceil(), -1);
    assert_eq!(span(1_999_999).as_millis(), 1);
    assert_eq!(span(1_000_001).as_millis_ceil(), 2);
    assert_eq!(span(1_000_000).as_millis_ceil(), 1);
    assert_eq!(span(-1_999_999).as_millis_ceil(), -1);
    assert_eq!(span(-7).rem_nanos(4).as_nanos(), -3);
    assert_eq!(Delta::from_secs(i64::MAX).as_nanos(), i64::MAX);
    assert_eq!(Delta::from_millis(i64::MIN).as_nanos(), i64::MIN);
    assert!(span(-1).is_negative() && Delta::ZERO.is_zero());
    assert_eq!(Delta::<Jiffy>::from_jiffies(-4).as_jiffies(), -4);
}

#[test]
fn spans_are_calculated_with() {
    let mut span = Delta::from_micros(3);
    span += Delta::from_nanos(1);
    span -= Delta::from_micros(1);
    span *= 2;
    assert_eq!(span.as_nanos(), 4_002);
    assert_eq!((span - span * 2) / Delta::from_micros(1), -4);
    assert!(Delta::from_micros(1) < Delta::from_millis(1));
}

#[test]
#[should_panic(expected = "overflow")]
fn a_span_that_does_not_fit_is_a_panic() {
    let _ = Delta::from_nanos(i64::MAX) + Delta::from_nanos(1);
}

#[test]
#[should_panic(expected = "before the clock's zero")]
fn a_negative_moment_is_a_panic() {
    let _ = Instant::<Monotonic>::now() - Delta::from_secs(1);
}

#[test]
fn ticks_are_milliseconds_and_negative_times_are_for_ever() {
    assert_eq!(msecs_to_jiffies(0), 0);
    assert_eq!(msecs_to_jiffies(250), 250);
    assert_eq!(msecs_to_jiffies(u32::MAX), (isize::MAX as usize >> 1) - 1);
}

#[test]
fn clocks_go_together_from_their_own_zeros() {
    let bench = bench();
    bench
        .run("clocks", || {
            let before = (Instant::<Monotonic>::now(), Instant::<RealTime>::now(), Instant::<BootTime>::now());
            fsleep(Delta::from_secs(2));
            assert_eq!(before.0.elapsed().as_millis(), 2_000);
            assert_eq!(before.1.elapsed().as_millis(), 2_000);
            assert_eq!(before.2.elapsed().as_millis(), 2_000);
            let _: Delta = Instant::<Tai>::now() - Instant::<Tai>::now();
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

#[test]
fn a_loop_around_the_clock_ends() {
    let bench = bench();
    bench
        .run("spinner", || {
            let began = Instant::<Monotonic>::now();
            while began.elapsed() < Delta::from_micros(50) {
                kernel::processor::cpu_relax();
            }
        })
        .unwrap();
    assert!((50_000..60_000).contains(&bench.now()));
}

#[test]
fn delays_take_at_least_what_they_say_in_whole_microseconds() {
    let bench = bench();
    let spent = |delay: fn(Delta), nanos| {
        let before = bench.now();
        bench.run("delay", || delay(Delta::from_nanos(nanos))).unwrap();
        bench.now() - before
    };
    assert_eq!(spent(udelay, 1_500), 2_000);
    assert_eq!(spent(fsleep, 1_500), 2_000);
    assert_eq!(spent(fsleep, 30_000_001), 30_001_000);
    assert!(bench.finish().is_clean());
}

#[test]
fn a_delay_that_is_too_long_is_a_warning() {
    let bench = bench();
    bench.run("delay", || udelay(Delta::from_millis(6))).unwrap();
    assert_eq!(bench.now(), 5_000_000);
    assert_eq!(bench.finish().rules(), ["kernel-warning"]);
}

/// Fires five times, a millisecond apart.
#[pin_data]
struct Five {
    #[pin]
    timer: HrTimer<Self>,
    fired: Atomic<u32>,
    #[pin]
    times: SpinLockIrq<KVec<i64>>,
    #[pin]
    done: Completion,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Five {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

impl HrTimerCallback for Five {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let fired = this.fired.fetch_add(1u32, Relaxed) + 1;
        let _ = this.times.lock().push(this.timer.expires().elapsed().as_micros_ceil(), GFP_ATOMIC);
        if fired == 5 {
            this.done.complete_all();
            return HrTimerRestart::NoRestart;
        }
        assert_eq!(ctx.forward_now(Delta::from_millis(1)), 1);
        HrTimerRestart::Restart
    }
}

fn five() -> Arc<Five> {
    let new = pin_init!(Five {
        timer <- HrTimer::new(),
        fired: Atomic::new(0),
        times <- new_spinlock_irq!(KVec::new()),
        done <- Completion::new(),
    });
    Arc::pin_init(new, GFP_KERNEL).unwrap()
}

#[test]
fn a_timer_that_is_forwarded_is_periodic() {
    let bench = bench();
    bench
        .run("five", || {
            let five = five();
            let mut handle = five.clone().start(Delta::from_millis(3));
            five.done.wait_for_completion();
            assert_eq!(five.fired.load(Relaxed), 5);
            assert!(five.times.lock().iter().all(|late| *late <= 1));
            assert!(!handle.cancel());
        })
        .unwrap();
    assert_eq!(bench.now() / 1_000_000, 7);
    assert!(bench.finish().is_clean());
}

#[test]
fn a_cancelled_timer_does_not_fire_and_one_started_anew_fires_once() {
    let bench = bench();
    bench
        .run("five", || {
            let five = five();
            let mut early = five.clone().start(Delta::from_millis(1));
            let mut late = five.clone().start(Delta::from_secs(1));
            fsleep(Delta::from_millis(10));
            assert_eq!(five.fired.load(Relaxed), 0);
            assert!(late.cancel());
            assert!(!early.cancel());
            fsleep(Delta::from_secs(2));
            assert_eq!(five.fired.load(Relaxed), 0);
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

/// Fires once, at a moment by the clock of the day, and owns itself.
#[pin_data]
struct Alarm {
    #[pin]
    timer: HrTimer<Self>,
    rang: Arc<Atomic<u32>>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Alarm {
        mode: AbsoluteMode<RealTime>, field: self.timer
    }
}

impl HrTimerCallback for Alarm {
    type Pointer<'a> = Pin<KBox<Self>>;

    fn run(this: Pin<&mut Self>, _ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        this.rang.add(1u32, Relaxed);
        HrTimerRestart::NoRestart
    }
}

#[test]
fn a_boxed_timer_fires_at_its_moment_and_goes_with_its_handle() {
    let bench = bench();
    bench
        .run("alarm", || {
            let rang = Arc::new(Atomic::new(0), GFP_KERNEL).unwrap();
            let ring = rang.clone();
            let alarm = pin_init!(Alarm { timer <- HrTimer::new(), rang: ring });
            let alarm = KBox::pin_init(alarm, GFP_KERNEL).unwrap();
            let handle = alarm.start(Instant::now() + Delta::from_secs(3));
            fsleep(Delta::from_millis(2_999));
            assert_eq!(rang.load(Relaxed), 0);
            fsleep(Delta::from_millis(1));
            assert_eq!(rang.load(Relaxed), 1);
            drop(handle);
            assert!(Arc::into_unique_or_drop(rang).is_some());
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

#[pin_data]
struct OnStack {
    #[pin]
    timer: HrTimer<Self>,
    #[pin]
    done: Completion,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for OnStack {
        mode: RelativeSoftMode<Monotonic>, field: self.timer
    }
}

impl HrTimerCallback for OnStack {
    type Pointer<'a> = Pin<&'a Self>;

    fn run(this: Pin<&Self>, _ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        this.done.complete_all();
        HrTimerRestart::NoRestart
    }
}

#[test]
fn a_timer_on_the_stack_fires_within_its_scope() {
    let bench = bench();
    bench
        .run("scope", || {
            stack_pin_init!(let timer = pin_init!(OnStack { timer <- HrTimer::new(), done <- Completion::new() }));
            let timer = timer.as_ref();
            let answer = timer.start_scoped(Delta::from_micros(200), || {
                timer.done.wait_for_completion();
                7
            });
            assert_eq!(answer, 7);
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

#[pin_data]
struct Ticker {
    #[pin]
    timer: HrTimer<Self>,
    ticks: Arc<Atomic<u32>>,
    lasts: u32,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Ticker {
        mode: RelativeHardMode<BootTime>, field: self.timer,
    }
}

impl HrTimerCallback for Ticker {
    type Pointer<'a> = Pin<&'a mut Self>;

    fn run(this: Pin<&mut Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let this = this.project();
        this.ticks.add(1u32, Relaxed);
        *this.lasts -= 1;
        ctx.forward(HrTimerInstant::<Self>::now(), Delta::from_micros(10));
        if *this.lasts == 0 {
            HrTimerRestart::NoRestart
        } else {
            HrTimerRestart::Restart
        }
    }
}

#[test]
fn a_timer_that_is_borrowed_alone_changes_its_structure_and_stops_with_the_scope() {
    let bench = bench();
    bench
        .run("scope", || {
            let ticks = Arc::new(Atomic::new(0), GFP_KERNEL).unwrap();
            let shared = ticks.clone();
            stack_pin_init!(let ticker = pin_init!(Ticker { timer <- HrTimer::new(), ticks: shared, lasts: 100 }));
            ticker.as_mut().start_scoped(Delta::from_micros(10), || fsleep(Delta::from_micros(35)));
            assert_eq!(ticks.load(Relaxed), 3);
            fsleep(Delta::from_millis(1));
            assert_eq!(ticks.load(Relaxed), 3);
            assert_eq!(ticker.lasts, 97);
        })
        .unwrap();
    assert!(bench.finish().is_clean());
}

#[test]
fn a_stopped_timer_is_forwarded_by_whole_intervals() {
    let bench = bench();
    bench
        .run("forward", || {
            fsleep(Delta::from_micros(95));
            stack_pin_init!(let timer = pin_init!(OnStack { timer <- HrTimer::new(), done <- Completion::new() }));
            let mut field = timer.as_mut().project().timer;
            assert_eq!(field.as_mut().forward_now(Delta::from_micros(10)), 10);
            assert!(field.expires() - Instant::now() <= Delta::from_micros(5));
            assert_eq!(field.forward_now(Delta::from_micros(10)), 0);
        })
        .unwrap();
}

#[test]
fn a_timer_that_is_leaked_is_still_there() {
    let bench = bench();
    let five = bench
        .run("leak", || {
            let five = five();
            core::mem::forget(five.clone().start(Delta::from_millis(1)));
            five
        })
        .unwrap();
    bench.advance(20_000_000);
    assert_eq!(five.fired.load(Relaxed), 5);
}

/// Cancels itself in its own function.
#[pin_data]
struct SelfCancelling {
    #[pin]
    timer: HrTimer<Self>,
    #[pin]
    handle: SpinLockIrq<Option<KBox<ArcHrTimerHandle<Self>>>>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for SelfCancelling {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

impl HrTimerCallback for SelfCancelling {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, _ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        drop(this.handle.lock().take());
        HrTimerRestart::NoRestart
    }
}

#[test]
fn a_timer_that_waits_for_itself_is_found() {
    let bench = bench();
    let result = bench.run("driver", || {
        let new = pin_init!(SelfCancelling { timer <- HrTimer::new(), handle <- new_spinlock_irq!(None) });
        let timer: Arc<SelfCancelling> = Arc::pin_init(new, GFP_KERNEL).unwrap();
        let handle = KBox::new(timer.clone().start(Delta::from_millis(1)), GFP_KERNEL).unwrap();
        *timer.handle.lock() = Some(handle);
        fsleep(Delta::from_millis(5));
    });
    assert!(result.is_err());
    assert_eq!(bench.finish().rules(), ["lock-recursion"]);
}
