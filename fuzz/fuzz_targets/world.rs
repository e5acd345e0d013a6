//! Whatever is in a world file, it is read or refused, and every mistake has its place.
#![no_main]

use bramble_world::World;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match World::parse("fuzz.toml", text) {
        Ok(world) => assert!(!world.levels.is_empty() && !world.locations.is_empty()),
        Err(invalid) => assert!(invalid.to_string().starts_with("fuzz.toml:")),
    }
});
