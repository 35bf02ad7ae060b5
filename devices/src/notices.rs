//! What devices have to say to whoever runs the machine.

use std::sync::{Arc, Mutex, PoisonError};

/// The most lines that wait to be taken: a disk that is full would say so for every request.
const MOST: usize = 16;

/// Lines for people, from devices whose host let them down: a full disk, a file that became shorter. A device keeps one end and
/// adds, whoever made the device keeps another and takes. What a driver does wrong is not among them.
#[derive(Clone, Debug, Default)]
pub struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    /// Adds a line, unless it waits already or there are too many.
    pub fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MOST && !lines.contains(&line) {
            lines.push(line);
        }
    }

    /// Takes the lines that were added since the last call, in order.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_once_from_any_end() {
        let notices = Notices::default();
        notices.clone().add("full".into());
        notices.add("full".into());
        notices.add("short".into());
        assert_eq!(notices.take(), ["full", "short"]);
        assert!(notices.take().is_empty());
    }

    #[test]
    fn lines_that_nobody_takes_do_not_pile_up() {
        let notices = Notices::default();
        (0..1000).for_each(|number| notices.add(number.to_string()));
        assert_eq!(notices.take().len(), MOST);
    }
}
