//! What a copy engine does wrong now and then, for drivers to prove themselves on.

use bringup_core::Cx;

/// What is odd about it. By default nothing. Each oddity strikes when the life's choices say so, and never in a quiet life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oddity {
    /// A completion bears an id that was never submitted, up to 0xffff.
    pub wrong_id: bool,
    /// A completion is written twice.
    pub duplicate: bool,
    /// A completion says that far more was written than there was room for.
    pub len_large: bool,
    /// A completion says that nothing was written.
    pub len_small: bool,
    /// A completion's id or length becomes another one a moment after the phase said that they are there.
    pub changing: bool,
    /// A descriptor is never completed.
    pub never_complete: bool,
    /// A descriptor is overwritten with ones once it was taken.
    pub dirty_ring: bool,
    /// An interrupt says that completions were written, and none was.
    pub spurious_irq: bool,
    /// An interrupt comes as soon as the device is enabled.
    pub irq_at_once: bool,
    /// INFO_LEN says far more than there is.
    pub info_large: bool,
    /// A reset takes 50 times as long.
    pub slow_reset: bool,
}

impl Oddity {
    /// The words that [`parse`](Self::parse) knows.
    pub const WORDS: [&'static str; 11] = [
        "changing",
        "dirty-ring",
        "duplicate",
        "info-large",
        "irq-at-once",
        "len-large",
        "len-small",
        "never-complete",
        "slow-reset",
        "spurious-irq",
        "wrong-id",
    ];

    /// Oddities by their words, with `+` between them.
    ///
    /// # Errors
    /// Names the word that is none, and those that there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut odd = Self::default();
        for word in text.split('+') {
            *odd.flag(word).ok_or_else(|| {
                let known = Self::WORDS.join(", ");
                format!("odd takes words with + between them, and \"{word}\" is none (there are {known})")
            })? = true;
        }
        Ok(odd)
    }

    fn flag(&mut self, word: &str) -> Option<&mut bool> {
        Some(match word {
            "changing" => &mut self.changing,
            "dirty-ring" => &mut self.dirty_ring,
            "duplicate" => &mut self.duplicate,
            "info-large" => &mut self.info_large,
            "irq-at-once" => &mut self.irq_at_once,
            "len-large" => &mut self.len_large,
            "len-small" => &mut self.len_small,
            "never-complete" => &mut self.never_complete,
            "slow-reset" => &mut self.slow_reset,
            "spurious-irq" => &mut self.spurious_irq,
            "wrong-id" => &mut self.wrong_id,
            _ => return None,
        })
    }

    /// Whether an oddity strikes here.
    #[expect(clippy::unused_self, reason = "how often may become a property of it")]
    pub(super) fn strikes(&self, cx: &mut Cx<'_>) -> bool {
        cx.choose(2) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_makes_a_device_odd_in_its_own_way() {
        let odd: Vec<Oddity> = Oddity::WORDS.iter().map(|word| Oddity::parse(word).unwrap()).collect();
        for (at, one) in odd.iter().enumerate() {
            assert_ne!(*one, Oddity::default());
            assert!(!odd[..at].contains(one));
        }
    }

    #[test]
    fn unknown_words_are_named_with_those_that_there_are() {
        assert!(Oddity::parse("wrong-id+late").unwrap_err().contains("\"late\" is none"));
    }
}
