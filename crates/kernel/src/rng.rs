//! The random number generators of the randomizers we follow, `L` seeds at a time.
//!
//! A lane is a seed. What is drawn is laid out by draw and not by seed, so that a vector register holds the same draw of
//! several seeds, and everything the generators do is done to all of them at once.

mod dotnet;
mod pcg32;

pub use dotnet::Dotnet;
pub use pcg32::Pcg32;

/// `L` streams of draws, each determined by its seed.
pub trait Rng<const L: usize> {
    /// The streams of `seeds`. A generator that takes a signed seed reads its bits as `i32`.
    fn seeded(seeds: &[u32; L]) -> Self;

    /// The next number of each stream, as wide as the generator makes them.
    fn numbers(&mut self) -> [u32; L];

    /// Each number brought into the range from 0 to `below - 1`, for `below` from 1 to 255. Where `below` is 0 the result is any.
    fn reduce(numbers: &[u32; L], below: &[u8; L]) -> [u8; L];

    /// As `reduce`, where the range is the same for all.
    fn reduce_all(numbers: &[u32; L], below: u8) -> [u8; L];

    /// Whether [`reduce`](Rng::reduce) is all that [`draw`](Rng::draw) does with these numbers, whatever is asked for.
    fn are_plain(numbers: &[u32; L]) -> bool;

    /// The next draw of each stream: a number from 0 to `below - 1`, as `reduce` has it.
    fn draw(&mut self, below: &[u8; L]) -> [u8; L];

    /// As `draw`, where the range is the same for all.
    fn draw_all(&mut self, below: u8) -> [u8; L];

    /// Begins all streams anew.
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

    /// The other seed with the same stream, if there is one that is easily named.
    #[inline(always)]
    pub(crate) fn twin(self, seed: u32) -> Option<u32> {
        let twin = seed.wrapping_neg();
        (self == Random::Dotnet && twin != seed).then_some(twin)
    }
}
