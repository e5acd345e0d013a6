//! The random number generators of the randomizers we follow.

mod dotnet;
mod pcg32;

pub use dotnet::Dotnet;
pub use pcg32::Pcg32;

/// A stream of draws that a seed determines.
pub trait Rng {
    /// The stream of `seed`. A generator that takes a signed seed reads its bits as `i32`.
    fn seeded(seed: u32) -> Self;

    /// The next number from 0 to `n - 1`, for `n` from 1 to 255.
    fn draw(&mut self, n: u32) -> u32;

    /// Begins the stream anew.
    fn restart(&mut self);
}

/// Which generator to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Random {
    /// [`Dotnet`].
    Dotnet,
    /// [`Pcg32`].
    Pcg32,
}

impl Random {
    /// All of them.
    pub const ALL: [Random; 2] = [Random::Dotnet, Random::Pcg32];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Random::Dotnet => "dotnet",
            Random::Pcg32 => "pcg32",
        }
    }

    /// The generator of that name.
    pub fn from_name(name: &str) -> Option<Random> {
        Random::ALL.into_iter().find(|random| random.name() == name)
    }
}
