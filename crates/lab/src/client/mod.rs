//! A lab as seen by whoever started it, and by those who come later.

mod attached;
mod lab;
mod said;

use std::time::Duration;

pub use attached::Attached;
pub use lab::{Lab, Waiting};
pub use said::last_line;

/// How long a supervisor may take to start all QEMUs, to say what it knows, and to clear everything away: an engine takes
/// up to seconds for each container on a busy machine.
const PROMPT: Duration = Duration::from_secs(120);
