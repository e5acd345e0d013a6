//! Whatever is given to `find --where`, it is read or refused with its place.
#![no_main]

use bramble_search::filter::check_syntax;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(message) = check_syntax(text) {
        assert!(message.starts_with("--where:"));
    }
});
