//! "Did you mean …?": the known word nearest to one that is not known.

/// The candidate nearest to `word`, if one is near enough to be what was meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| distance(word, candidate) <= (candidate.len().max(word.len()) / 3).max(1);
    candidates.into_iter().filter(near).min_by_key(|candidate| distance(word, candidate))
}

/// `; did you mean "…"?`, or nothing.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |found| format!("; did you mean \"{found}\"?"))
}

/// How many letters have to be inserted, removed, replaced or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // Three rows of the table suffice: the swap looks two back.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut best = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_each_kind_of_slip_once() {
        let slips = ["edo", "ed", "eddu", "eud", "edu"].map(|word| distance(word, "edu"));
        assert_eq!(slips, [1, 1, 1, 1, 0]);
    }

    #[test]
    fn a_word_unlike_all_others_has_no_neighbour() {
        assert_eq!(nearest("dma-unmaped", ["dma-overrun", "dma-unmapped"]), Some("dma-unmapped"));
        assert_eq!(nearest("teapot", ["dma-overrun", "dma-unmapped"]), None);
    }
}
