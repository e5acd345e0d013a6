//! From seeds to placements and verdicts, compiled for each [`Machine`].

use bramble_world::Table;

#[cfg(target_arch = "x86_64")]
use crate::bag::Deposited;
#[cfg(target_arch = "aarch64")]
use crate::bag::Listed;
use crate::bag::{Bag, Counted};
use crate::demand::Demand;
#[cfg(target_arch = "aarch64")]
use crate::fill::Sliced;
use crate::fill::{Bags, Block, End, Fill, History, Open, Sets, place, place_gifts};
use crate::lanes::MAX_LANES;
use crate::machine::Machine;
use crate::rng::Rng;
use crate::verdict::{Walk, walk};

/// How many seeds advance together: as bytes, a register of AVX-512, two of AVX2, four of NEON. With fewer, instructions that need each
/// other's results would have nothing else to do meanwhile.
pub(crate) const LANES: usize = MAX_LANES;

/// What became of some seeds.
pub(crate) struct Outcomes<const W: usize> {
    pub(crate) block: Block<W, LANES>,
    pub(crate) walks: [Walk<W>; LANES],
}

impl<const W: usize> Outcomes<W> {
    pub(crate) const EMPTY: Self = Outcomes {
        block: Block::EMPTY,
        walks: [Walk::START; LANES],
    };
}

/// Works out a block of seeds. Those that the demand rules out are not walked.
pub(crate) type Engine<const W: usize> =
    fn(Fill, &Table<W>, &[u32; LANES], Option<&Demand<W>>, &mut Outcomes<W>);

/// An engine for a machine, with its draws by `R`. One that need tell of gifts alone is faster, if the fill has such a way, and heeds
/// no demand.
pub(crate) fn engine<const W: usize, R: Rng<LANES>, One: Rng<1>>(
    machine: Machine,
    fill: Fill,
    known: Known,
) -> Engine<W> {
    let gifts = known == Known::Gifts && fill.can_follow_gifts();
    match machine {
        Machine::Scalar => one_by_one::<W, One>,
        Machine::Baseline if gifts => baseline::<W, R, true>,
        Machine::Baseline => baseline::<W, R, false>,
        #[cfg(target_arch = "x86_64")]
        Machine::Avx2 if gifts => avx2::<W, R, true>,
        #[cfg(target_arch = "x86_64")]
        Machine::Avx2 => avx2::<W, R, false>,
        #[cfg(target_arch = "x86_64")]
        Machine::Avx512 if gifts => avx512::<W, R, true>,
        #[cfg(target_arch = "x86_64")]
        Machine::Avx512 => avx512::<W, R, false>,
    }
}

/// What of a seed is known when an engine is done with it, beside how it ended and how far a player gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Which item is where.
    Placement,
    /// Where those are that grant something.
    Gifts,
}

/// Everything below this is inlined into it, so that it can be compiled for different machines.
#[inline(always)]
fn run<
    const W: usize,
    R: Rng<LANES>,
    B: Bag<W>,
    S: Bag<W>,
    O: Open<W, LANES>,
    const GIFTS: bool,
>(
    fill: Fill,
    table: &Table<W>,
    seeds: &[u32; LANES],
    demand: Option<&Demand<W>>,
    outcomes: &mut Outcomes<W>,
) {
    let Outcomes { block, walks } = outcomes;
    block.clear();
    match GIFTS {
        true => place_gifts::<W, LANES, R, B, S, O>(fill, table, seeds, block),
        false => {
            place::<W, LANES, R, B, O, History<W, LANES>>(fill, table, seeds, demand, block);
        }
    }
    for (lane, walked) in walks.iter_mut().enumerate() {
        if matches!(block.ends[lane], End::Finished | End::Stuck) {
            *walked = walk(table, block.filled[lane], &block.gifts[lane], |_, _| ());
        }
    }
}

fn baseline<const W: usize, R: Rng<LANES>, const GIFTS: bool>(
    fill: Fill,
    table: &Table<W>,
    seeds: &[u32; LANES],
    demand: Option<&Demand<W>>,
    outcomes: &mut Outcomes<W>,
) {
    #[cfg(target_arch = "aarch64")]
    run::<W, R, Counted<W>, Listed<W>, Sliced<W>, GIFTS>(fill, table, seeds, demand, outcomes);
    #[cfg(not(target_arch = "aarch64"))]
    run::<W, R, Counted<W>, Counted<W>, Bags<LANES, Counted<W>>, GIFTS>(
        fill, table, seeds, demand, outcomes,
    );
}

fn one_by_one<const W: usize, R: Rng<1>>(
    fill: Fill,
    table: &Table<W>,
    seeds: &[u32; LANES],
    demand: Option<&Demand<W>>,
    outcomes: &mut Outcomes<W>,
) {
    let mut alone = Block::<W, 1>::EMPTY;
    for (lane, &seed) in seeds.iter().enumerate() {
        alone.clear();
        place::<W, 1, R, Counted<W>, Bags<1, Counted<W>>, Sets<W, 1, Counted<W>>>(
            fill,
            table,
            &[seed],
            demand,
            &mut alone,
        );
        let ([filled], [gifts]) = (alone.filled, &alone.gifts);
        outcomes.walks[lane] = walk(table, filled, gifts, |_, _| ());
        outcomes.block.set(lane, &alone);
    }
}

/// `run` compiled with more features than the program is, which is sound where the processor has them.
macro_rules! compiled_for {
    ($name:ident, $features:literal) => {
        #[cfg(target_arch = "x86_64")]
        fn $name<const W: usize, R: Rng<LANES>, const GIFTS: bool>(
            fill: Fill,
            table: &Table<W>,
            seeds: &[u32; LANES],
            demand: Option<&Demand<W>>,
            outcomes: &mut Outcomes<W>,
        ) {
            #[target_feature(enable = $features)]
            fn compiled<const W: usize, R: Rng<LANES>, const GIFTS: bool>(
                fill: Fill,
                table: &Table<W>,
                seeds: &[u32; LANES],
                demand: Option<&Demand<W>>,
                outcomes: &mut Outcomes<W>,
            ) {
                run::<W, R, Deposited<W>, Deposited<W>, Bags<LANES, Deposited<W>>, GIFTS>(
                    fill, table, seeds, demand, outcomes,
                );
            }
            // SAFETY: `engine` gives this out for this machine alone, and there is no such `Machine` where the processor
            // lacks the features: `Program::on` checks.
            unsafe { compiled::<W, R, GIFTS>(fill, table, seeds, demand, outcomes) }
        }
    };
}

compiled_for!(avx2, "avx2,bmi1,bmi2,popcnt,lzcnt");
// Without avx512bw: comparing bytes would go by way of the mask registers, which takes longer than the comparison.
compiled_for!(
    avx512,
    "avx512f,avx512dq,avx512cd,avx512vl,avx2,bmi1,bmi2,popcnt,lzcnt"
);
