//! World files: TOML in, a checked [`World`] or everything that is wrong with it out.
//!
//! ```
//! let text = r#"
//! version = 1
//! name = "two doors"
//! powers = ["Key"]
//! levels = ["normal"]
//! [[locations]]
//! id = 1
//! name = "Hall"
//! requires.normal = [[]]
//! [[locations]]
//! id = 2
//! name = "Vault"
//! requires.normal = [["Key"]]
//! [[items]]
//! name = "Key"
//! [[items]]
//! name = "Coin"
//! [pools]
//! normal = [{ item = "Key", grants = ["Key"] }, { item = "Coin" }]
//! "#;
//! let world = bramble_world::World::parse("two-doors.toml", text)?;
//! assert_eq!(world.levels[0].requires, [vec![0], vec![1]]);
//! # Ok::<(), bramble_world::parse::Invalid>(())
//! ```

mod check;
mod problem;
mod wire;

pub use problem::{Invalid, Problem};

use crate::World;

impl World {
    /// Reads a world file. `name` stands for the file in errors.
    ///
    /// # Errors
    /// All that is wrong with the file, each with its place.
    pub fn parse(name: &str, text: &str) -> Result<World, Invalid> {
        let file =
            toml::from_str::<wire::File>(text).map_err(|error| Problem::syntax(&error, text));
        file.map_err(|problem| vec![problem])
            .and_then(check::world)
            .map_err(|problems| Invalid::new(name, text, problems))
    }
}
