//! Insertions into a text, none of which moves a line.

use std::ops::Range;

/// What is inserted for one removal: a piece before a range of the text, a piece behind it.
#[derive(Clone, Debug)]
struct Edit {
    number: u32,
    range: Range<usize>,
    before: String,
    behind: String,
}

/// Insertions into one text.
#[derive(Clone, Debug, Default)]
pub(super) struct Edits(Vec<Edit>);

/// A text with insertions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edited {
    pub(super) text: String,
    /// Where each removal's range came to stand, with what was inserted.
    pub(super) places: Vec<(u32, Range<usize>)>,
}

impl Edits {
    /// Puts `before` and `behind` around a range of bytes. Ranges are nested in each other or apart; an outer one is added before those
    /// in it. Neither piece has a line feed.
    pub(super) fn around(&mut self, number: u32, range: Range<usize>, before: String, behind: String) {
        self.0.push(Edit { number, range, before, behind });
    }

    /// The text with the insertions of those removals that are `wanted`.
    pub(super) fn apply(&self, text: &str, wanted: impl Fn(u32) -> bool) -> Edited {
        let edits: Vec<&Edit> = self.0.iter().filter(|edit| wanted(edit.number)).collect();
        // At one place what ends comes before what begins; of what begins the outer one first, of what ends the inner one.
        let mut pieces: Vec<(usize, bool, usize, usize)> = Vec::new();
        for (index, edit) in edits.iter().enumerate() {
            pieces.push((edit.range.start, true, index, index));
            pieces.push((edit.range.end, false, edits.len() - index, index));
        }
        pieces.sort_unstable();
        let mut out = String::with_capacity(text.len() + 64 * edits.len());
        let mut places: Vec<(u32, Range<usize>)> = edits.iter().map(|edit| (edit.number, 0..0)).collect();
        let mut copied = 0;
        for (at, begins, _, index) in pieces {
            out.push_str(text.get(copied..at).unwrap_or_default());
            copied = at;
            if begins {
                places[index].1.start = out.len();
                out.push_str(&edits[index].before);
            } else {
                out.push_str(&edits[index].behind);
                places[index].1.end = out.len();
            }
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        Edited { text: out, places }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_insertions_at_one_place_stay_nested() {
        let mut edits = Edits::default();
        edits.around(1, 0..4, "(".into(), ")".into());
        edits.around(2, 0..2, "[".into(), "]".into());
        edits.around(3, 2..4, "{".into(), "}".into());
        assert_eq!(edits.apply("abcd", |_| true).text, "([ab]{cd})");
    }

    #[test]
    fn removal_that_is_not_wanted_leaves_no_trace() {
        let mut edits = Edits::default();
        edits.around(1, 0..4, "(".into(), ")".into());
        edits.around(2, 1..2, "[".into(), "]".into());
        let edited = edits.apply("abcd", |number| number == 2);
        assert_eq!((&*edited.text, edited.places), ("a[b]cd", vec![(2, 1..4)]));
    }
}
