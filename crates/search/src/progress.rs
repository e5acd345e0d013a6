//! How far a search has come, for a person who watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error if that is a terminal, else nothing.
pub(crate) fn bar(label: &str, seeds: u64) -> ProgressBar {
    const TEMPLATE: &str = "{prefix:>10} {wide_bar} {percent:>3} %  {per_sec}  {eta} left";
    let style =
        ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(seeds)
        .with_style(style)
        .with_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
