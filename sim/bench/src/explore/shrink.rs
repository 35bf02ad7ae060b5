//! Makes the stream of a failing life short.

use bringup_core::Chooser;
use bringup_core::choice::Replay;

use super::found::Cause;
use crate::report::Report;

/// How often a life may be tried: at ten thousand lives a second, a second or two.
const MOST_TRIES: u32 = 20_000;

/// Makes a stream short for which `fails` holds: as few answers other than 0 as it manages, as small as it manages, and no
/// longer than needed. Deterministic. If `fails` does not hold for `stream` itself, `stream` is what comes back.
///
/// `fails` runs the life; see [`fails_with`].
pub fn shrink(stream: &[u8], fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    shrink_within(stream, MOST_TRIES, fails)
}

/// As [`shrink`], with at most `most` lives.
pub fn shrink_within(stream: &[u8], most: u32, mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut tries = Tries { fails: &mut fails, left: most };
    let mut best = trimmed(stream.to_vec());
    if !tries.fails(&best) {
        return stream.to_vec();
    }
    loop {
        let before = best.clone();
        best = shorter(best, &mut tries);
        best = quieter(best, &mut tries);
        best = without(best, &mut tries);
        best = lower(best, &mut tries);
        best = moved(best, &mut tries);
        if best == before || tries.left == 0 {
            return best;
        }
    }
}

/// Whether the life of these choices shows the same bug; for [`shrink`].
pub fn fails_with<'a>(
    cause: &'a Cause,
    life: impl Fn(Box<dyn Chooser>) -> Report + 'a,
) -> impl FnMut(&[u8]) -> bool + 'a {
    move |stream| {
        let report = life(Box::new(Replay::new(stream)));
        report.findings.iter().any(|finding| Cause::of(finding) == *cause)
    }
}

struct Tries<'a> {
    fails: &'a mut dyn FnMut(&[u8]) -> bool,
    left: u32,
}

impl Tries<'_> {
    fn fails(&mut self, stream: &[u8]) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        (self.fails)(stream)
    }
}

/// Zeros at the end mean nothing.
fn trimmed(mut stream: Vec<u8>) -> Vec<u8> {
    stream.truncate(stream.iter().rposition(|answer| *answer != 0).map_or(0, |last| last + 1));
    stream
}

/// Cuts off the end: whatever comes after the failure, and what it does not need.
fn shorter(mut best: Vec<u8>, tries: &mut Tries<'_>) -> Vec<u8> {
    let mut cut = best.len();
    while cut > 0 && !best.is_empty() {
        let candidate = trimmed(best[..best.len().saturating_sub(cut)].to_vec());
        if candidate.len() < best.len() && tries.fails(&candidate) {
            best = candidate;
            cut = cut.min(best.len());
        } else {
            cut /= 2;
        }
    }
    best
}

/// Makes answers 0, many at once first: those that are not 0 are halved until single ones are left.
fn quieter(mut best: Vec<u8>, tries: &mut Tries<'_>) -> Vec<u8> {
    let loud = |stream: &[u8]| -> Vec<usize> { (0..stream.len()).filter(|at| stream[*at] != 0).collect() };
    let mut places = loud(&best);
    let mut size = places.len();
    while size > 0 {
        // From the end: what comes early decides what comes later.
        let mut end = places.len();
        while end > 0 {
            let start = end.saturating_sub(size);
            let mut candidate = best.clone();
            places[start..end].iter().for_each(|at| candidate[*at] = 0);
            let candidate = trimmed(candidate);
            if tries.fails(&candidate) {
                best = candidate;
                places.drain(start..end);
            }
            end = start;
        }
        size = if size == 1 { 0 } else { size.div_ceil(2).min(places.len()) };
    }
    best
}

/// Takes choices out, so that what follows is answered earlier: long runs of zeros mostly.
fn without(mut best: Vec<u8>, tries: &mut Tries<'_>) -> Vec<u8> {
    let mut size = (best.len() / 2).max(1);
    while size > 0 && !best.is_empty() {
        let mut end = best.len();
        while end > 0 {
            let start = end.saturating_sub(size);
            let mut candidate = best.clone();
            candidate.drain(start..end);
            let candidate = trimmed(candidate);
            if tries.fails(&candidate) {
                best = candidate;
            }
            end = start.min(best.len());
        }
        size /= 2;
        // Of single zeros there are too many to try in a long stream: what matters there is which answers are not 0.
        if size < best.len() / 256 {
            break;
        }
    }
    best
}

/// Makes answers smaller.
fn lower(mut best: Vec<u8>, tries: &mut Tries<'_>) -> Vec<u8> {
    for at in 0..best.len() {
        let Some(answer) = best.get(at).copied() else { break };
        let (mut low, mut high) = (0, answer);
        // The smallest that fails, if failing is a matter of size; else some smaller one.
        while high > low + 1 {
            let middle = low + (high - low) / 2;
            let mut candidate = best.clone();
            candidate[at] = middle;
            if tries.fails(&candidate) {
                best = candidate;
                high = middle;
            } else {
                low = middle;
            }
        }
    }
    best
}

/// The most answers that are tried in other places, and how far they are moved.
const MOST_MOVED: usize = 8;
const FARTHEST: usize = 16;

/// Leaves one answer out and moves another: two that only make up for each other's effect become one.
fn moved(mut best: Vec<u8>, tries: &mut Tries<'_>) -> Vec<u8> {
    let loud = |stream: &[u8]| -> Vec<usize> { (0..stream.len()).filter(|at| stream[*at] != 0).collect() };
    'again: loop {
        let places = loud(&best);
        if !(2..=MOST_MOVED).contains(&places.len()) {
            return best;
        }
        for left_out in &places {
            for from in places.iter().filter(|from| *from != left_out) {
                for to in from.saturating_sub(FARTHEST)..=from + FARTHEST {
                    let mut candidate = best.clone();
                    candidate[*left_out] = 0;
                    let answer = std::mem::take(&mut candidate[*from]);
                    candidate.resize(candidate.len().max(to + 1), 0);
                    candidate[to] = answer;
                    let candidate = trimmed(candidate);
                    if loud(&candidate).len() < places.len() && tries.fails(&candidate) {
                        best = candidate;
                        continue 'again;
                    }
                }
            }
        }
        return best;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_failure_needs_is_left() {
        let noisy: Vec<u8> = (0..2000_u32).map(|n| (n * 7 % 11) as u8).collect();
        // Fails if an answer of 3 or more is followed, anywhere, by one of 5 or more.
        let fails = |stream: &[u8]| {
            let first = stream.iter().position(|answer| *answer >= 3);
            first.is_some_and(|first| stream[first + 1..].iter().any(|answer| *answer >= 5))
        };
        assert_eq!(shrink(&noisy, fails), [3, 5]);
    }

    #[test]
    fn what_matters_by_its_place_keeps_its_place() {
        let mut noisy = vec![1; 500];
        noisy[400] = 9;
        let shrunk = shrink(&noisy, |stream| stream.get(400).is_some_and(|answer| *answer >= 2));
        let mut expected = vec![0; 401];
        expected[400] = 2;
        assert_eq!(shrunk, expected);
    }

    #[test]
    fn stream_that_does_not_fail_comes_back_as_it_is() {
        assert_eq!(shrink(&[1, 2, 0], |_| false), [1, 2, 0]);
        assert!(shrink(&[1, 2, 0], |_| true).is_empty());
    }

    #[test]
    fn tries_are_bounded() {
        let mut tries = 0_u32;
        let noisy = vec![255; 100_000];
        let _ = shrink(&noisy, |stream| {
            tries += 1;
            stream.len() == 100_000
        });
        assert!(tries <= MOST_TRIES);
    }
}
