//! How far each card is, and how fast it goes. Shown on a terminal only.

use std::path::Path;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::write::Step;

/// One line on the terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// An image whose size is only known in the end.
    pub(crate) fn unpacking(image: &Path) -> Progress {
        let name = image
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let bar = ProgressBar::new_spinner();
        bar.set_style(style("{spinner} unpacking {msg} {bytes} {bytes_per_sec}"));
        bar.set_message(name);
        Progress { bar }
    }

    /// One for each `(name, bytes)`.
    pub(crate) fn writing(cards: impl Iterator<Item = (String, u64)>) -> Vec<Progress> {
        let all = MultiProgress::new();
        let card = |(name, bytes)| {
            let bar = all.add(ProgressBar::new(bytes));
            bar.set_style(style(
                "{prefix:16} {msg:8} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            ));
            bar.set_prefix(name);
            bar.enable_steady_tick(Duration::from_millis(500));
            Progress { bar }
        };
        cards.map(card).collect()
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    pub(crate) fn step(&self, step: Step) {
        let (what, bytes) = match step {
            Step::Wrote(bytes) => ("writing", bytes),
            Step::Verified(bytes) => ("reading", bytes),
        };
        self.bar.set_message(what);
        self.bar.inc(bytes);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_counted() {
        let cards = Progress::writing([("worker1".to_owned(), 10)].into_iter());
        cards[0].step(Step::Wrote(4));
        cards[0].step(Step::Verified(6));
        assert_eq!(
            (cards[0].bar.position(), cards[0].bar.message().as_str()),
            (10, "reading")
        );
        cards[0].finish();
        let unpacking = Progress::unpacking(Path::new("dir/card.img.xz"));
        assert_eq!(unpacking.bar.message(), "card.img.xz");
    }
}
