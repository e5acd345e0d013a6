//! What people and other programs read on standard output. They may leave before all is said, as `head` does: that is no
//! failure, and what is under way goes on.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether whoever read it has left.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Whether something is missing from it that somebody waits for.
static INCOMPLETE: AtomicBool = AtomicBool::new(false);

/// Instead of the standard library's, which panics where nobody reads any more.
macro_rules! print {
    ($($text:tt)*) => { $crate::output::say(format_args!($($text)*)) };
}

/// The same, with a line's end.
macro_rules! println {
    ($($text:tt)*) => { $crate::output::say(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) fn say(text: Arguments) {
    match io::stdout().lock().write_fmt(text) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            UNREAD.store(true, Ordering::Relaxed);
        }
        Err(error) => {
            eprintln!("error: cannot write to standard output: {error}");
            INCOMPLETE.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether there is somebody who reads on.
pub(crate) fn is_read() -> bool {
    !UNREAD.load(Ordering::Relaxed)
}

/// Whether it was taken to its end, or for as long as somebody wanted it.
pub(crate) fn is_complete() -> bool {
    !INCOMPLETE.load(Ordering::Relaxed)
}
