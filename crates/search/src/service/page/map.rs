//! The map of a level: its seeds in equal squares, each with what is known of it. Squares of one reservation hang together.

use maud::{Markup, html};

use super::super::snapshot::{CellState, LevelView, Snapshot};
use super::view::{Span, seeds, spans};
use super::words::{count, percent};
use crate::report::thousands;

/// More would be smaller than a finger on a phone can be sure of, or an eye on a desk.
const MOST_SQUARES: u64 = 512;

/// What is known of the seeds of one square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Square {
    kind: Kind,
    /// Dead seeds were found in it, or such as the filter says.
    marked: bool,
    /// The next one is of the same reservation.
    joined: bool,
}

/// Most urgent last: a square with several kinds is of the last, except that of what is settled it needs to be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Open,
    Lent,
    /// Some has a result, and nothing is on loan.
    Part,
    Claimed,
    Done,
    Verified,
    Disputed,
}

/// Each kind with its letter, the class in the style sheet and the code in events; and in words.
const KINDS: [(Kind, char, &str); 7] = [
    (Kind::Open, 'o', "open"),
    (Kind::Lent, 'l', "on loan"),
    (Kind::Part, 'p', "partly done"),
    (Kind::Claimed, 'c', "awaits a second opinion"),
    (Kind::Done, 'd', "done"),
    (Kind::Verified, 'v', "verified"),
    (Kind::Disputed, 'x', "disputed"),
];

impl Kind {
    fn letter(self) -> char {
        KINDS[self as usize].1
    }

    fn word(self) -> &'static str {
        KINDS[self as usize].2
    }
}

impl Square {
    /// A capital letter where seeds were found that are worth a look.
    fn letter(self) -> char {
        match self.marked {
            true => self.kind.letter().to_ascii_uppercase(),
            false => self.kind.letter(),
        }
    }

    fn class(self) -> String {
        let joined = if self.joined { " j" } else { "" };
        format!("{}{joined}", self.letter())
    }
}

/// Seeds in a square: a power of two, so that squares stay what they are while reservations come and go.
pub(super) fn size(len: u64) -> u64 {
    len.div_ceil(MOST_SQUARES).next_power_of_two()
}

/// All squares of a level, in the order of the seeds.
///
/// Reservations need not begin where squares do: mirror images are off by one. So it is the larger part that counts.
pub(super) fn squares(job: &Snapshot, level: &LevelView) -> Vec<Square> {
    let (first, len) = (u64::from(job.job.start), job.job.len);
    let size = size(len);
    let spans = spans(level);
    let mut next = 0;
    let held = |index: u64| {
        let begin = first + index * size;
        let end = (begin + size).min(first + len);
        let mut held = Held::default();
        while let Some(span) = spans.get(next).filter(|span| span.start < end) {
            held.add(next, span, begin, end);
            if span.end > end {
                break;
            }
            next += 1;
        }
        (end - begin, held)
    };
    let held: Vec<(u64, Held)> = (0..len.div_ceil(size)).map(held).collect();
    let of = |index: usize| held.get(index).and_then(|(_, held)| held.most);
    let square = |(index, (len, held)): (usize, &(u64, Held))| Square {
        kind: held.kind(*len),
        marked: held.marked,
        joined: of(index)
            .is_some_and(|(span, _)| of(index + 1).is_some_and(|(next, _)| next == span)),
    };
    held.iter().enumerate().map(square).collect()
}

/// Seeds of a square by state.
#[derive(Default)]
struct Held {
    lent: u64,
    claimed: u64,
    done: u64,
    verified: u64,
    disputed: u64,
    marked: bool,
    /// The span that has most of it, by number, and how many seeds that is.
    most: Option<(usize, u64)>,
}

impl Held {
    fn add(&mut self, number: usize, span: &Span<'_>, begin: u64, end: u64) {
        let seeds = span.end.min(end).saturating_sub(span.start.max(begin));
        match span.cell.state {
            CellState::Open => {}
            CellState::Lent => self.lent += seeds,
            CellState::Claimed => self.claimed += seeds,
            CellState::Done => self.done += seeds,
            CellState::Verified => self.verified += seeds,
            CellState::Disputed => self.disputed += seeds,
        }
        // How the seeds found in a span lie in it is not known, so all squares bear the mark of which it has a good part.
        let good = (span.end - span.start).min(end - begin).div_ceil(2);
        self.marked |= (span.cell.dead > 0 || span.cell.found > 0) && seeds >= good;
        if seeds > self.most.map_or(0, |(_, most)| most) {
            self.most = Some((number, seeds));
        }
    }

    fn kind(&self, len: u64) -> Kind {
        let settled = self.verified + self.done;
        match self {
            _ if self.disputed > 0 => Kind::Disputed,
            _ if settled >= len && self.verified > self.done => Kind::Verified,
            _ if settled >= len => Kind::Done,
            _ if self.lent > 0 => Kind::Lent,
            _ if self.claimed > 0 => Kind::Claimed,
            _ if settled > 0 => Kind::Part,
            _ => Kind::Open,
        }
    }
}

/// The squares in one word: a letter each, and a hyphen after those that hang together with the next.
pub(super) fn code(squares: &[Square]) -> String {
    let mut code = String::with_capacity(2 * squares.len());
    for square in squares {
        code.push(square.letter());
        if square.joined {
            code.push('-');
        }
    }
    code
}

/// The map of one level. `index` tells the levels apart in the page.
pub(super) fn figure(job: &Snapshot, level: &LevelView, index: usize) -> Markup {
    let squares = squares(job, level);
    let size = size(job.job.len);
    html! {
        figure class="level" {
            figcaption {
                h3 { (level.level) }
                p id=(format!("level-{index}")) data-live { (summary(job, level)) }
            }
            div class="map" id=(format!("map-{index}")) role="img"
                aria-label=(format!("Map of level {}; the table below says the same", level.level))
                data-start=(job.job.start) data-len=(job.job.len) data-size=(size) data-mark=(mark(job))
            {
                @for square in &squares { i class=(square.class()) {} }
            }
            p class="readout" id=(format!("readout-{index}")) {
                "A square is " (count(size.min(job.job.len), "seed")) "."
            }
        }
    }
}

/// One line on how far a level is.
pub(super) fn summary(job: &Snapshot, level: &LevelView) -> Markup {
    let (tally, verified) = (&level.tally, seeds(level, CellState::Verified));
    html! {
        span { b { (percent(tally.scanned, job.job.len)) } " done" }
        @if verified > 0 { span { b { (percent(verified, job.job.len)) } " verified" } }
        @if tally.found.is_some() {
            span { b { (thousands(tally.completable + tally.dead)) } " found" }
        } @else if tally.dead > 0 {
            span class="bad" { b { (thousands(tally.dead)) } " dead" }
        } @else if tally.scanned > 0 {
            span { "none dead" }
        }
    }
}

/// What the notch of a square means.
fn mark(job: &Snapshot) -> &'static str {
    match job.job.search.filter {
        Some(_) => "seeds found",
        None => "dead seeds found",
    }
}

/// What the marks mean.
pub(super) fn legend(job: &Snapshot) -> Markup {
    html! {
        ul class="legend" aria-label="What the squares mean" {
            @for (kind, _, word) in KINDS { li { i class=(kind.letter()) {} (word) } }
            li { i class="D" {} (mark(job)) }
        }
    }
}

/// The same in a table: stretches of neighbouring squares that are alike.
pub(super) fn table(job: &Snapshot) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="The map as a table" {
            table {
                caption class="hidden" { "The map as a table" }
                thead { tr {
                    th scope="col" { "Level" } th scope="col" class="n" { "First seed" }
                    th scope="col" class="n" { "Last seed" } th scope="col" { "State" }
                } }
                tbody {
                    @for level in &job.levels { @for (first, last, square) in stretches(job, level) {
                        tr {
                            th scope="row" { (level.level) }
                            td class="n" { (thousands(first)) }
                            td class="n" { (thousands(last)) }
                            td { (square.kind.word()) @if square.marked { ", " (mark(job)) } }
                        }
                    } }
                }
            }
        }
    }
}

fn stretches(job: &Snapshot, level: &LevelView) -> Vec<(u64, u64, Square)> {
    let (size, first) = (size(job.job.len), u64::from(job.job.start));
    let squares = squares(job, level);
    let mut begin = 0;
    let runs = squares.chunk_by(|a, b| (a.kind, a.marked) == (b.kind, b.marked));
    runs.map(|run| {
        let end = begin + run.len() as u64;
        let stretch = (
            first + begin * size,
            first + (end * size).min(job.job.len) - 1,
            run[0],
        );
        begin = end;
        stretch
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::snapshot::Cell;
    use super::super::sample;
    use super::*;

    const STATES: [CellState; 6] = [
        CellState::Open,
        CellState::Lent,
        CellState::Claimed,
        CellState::Done,
        CellState::Verified,
        CellState::Disputed,
    ];

    fn job(start: u32, len: u64, cells: &[(u32, u64, CellState, u64)]) -> Snapshot {
        let mut job = sample::empty("default");
        (job.job.start, job.job.len) = (start, len);
        let cell = |&(start, len, state, dead): &(u32, u64, CellState, u64)| Cell {
            start,
            len,
            twins: false,
            state,
            node: None,
            dead,
            found: 0,
        };
        job.levels[0].cells = cells.iter().map(cell).collect();
        job
    }

    fn drawn(job: &Snapshot) -> String {
        code(&squares(job, &job.levels[0]))
    }

    #[test]
    fn kinds_are_in_their_places() {
        for (index, (kind, _, _)) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }

    #[test]
    fn reservations_hang_together() {
        use CellState::*;
        // 1,024 seeds: two to a square.
        let cells = [
            (100, 4, Verified, 0),
            (104, 2, Done, 2),
            (106, 3, Lent, 0),
            (109, 1, Done, 0),
            (112, 2, Disputed, 1),
            (114, 1, Done, 0),
            (116, 2, Claimed, 0),
        ];
        let job = job(100, 1024, &cells);
        assert!(drawn(&job).starts_with("v-vDl-loXpco"), "{}", drawn(&job));
        let runs = stretches(&job, &job.levels[0]);
        assert_eq!(runs.first().map(|run| (run.0, run.1)), Some((100, 103)));
        assert_eq!(runs.last().map(|run| (run.0, run.1)), Some((118, 1123)));
    }

    #[test]
    fn mirror_images_are_on_the_map() {
        let mut job = job(0, SPACE, &[(1, SPACE / 4, CellState::Done, 0)]);
        job.levels[0].cells[0].twins = true;
        let drawn = drawn(&job).replace('-', "");
        let done = |range: std::ops::Range<usize>| drawn[range].chars().all(|c| c == 'd');
        // Seed 0 is nobody's, and so is the middle.
        assert!(
            drawn.starts_with('p') && done(1..128) && done(385..512),
            "{drawn}"
        );
        assert!(drawn[129..384].chars().all(|c| c == 'o'), "{drawn}");
        assert_eq!(seeds(&job.levels[0], CellState::Done), SPACE / 2);
    }

    const SPACE: u64 = 1 << 32;

    #[test]
    fn the_whole_space_fits() {
        for (len, expected) in [(SPACE, 1 << 23), (512, 1), (513, 2), (1, 1), (100_000, 256)] {
            assert_eq!(size(len), expected, "{len}");
            assert!(len.div_ceil(size(len)) <= MOST_SQUARES);
        }
    }

    /// Seed by seed.
    fn slow(job: &Snapshot) -> String {
        let (size, first) = (size(job.job.len), u64::from(job.job.start));
        let cells = &job.levels[0].cells;
        let cell_of = |seed: u64| {
            let inside = |cell: &Cell| {
                seed.checked_sub(cell.start.into())
                    .is_some_and(|at| at < cell.len)
            };
            let index = cells.iter().position(inside);
            index.filter(|&index| cells[index].state != CellState::Open)
        };
        let seeds: Vec<u64> = (first..first + job.job.len).collect();
        // For each square, how many seeds each cell has of it.
        let shares: Vec<Vec<(Option<usize>, usize)>> = seeds
            .chunks(size as usize)
            .map(|seeds| {
                let owners: Vec<_> = seeds.iter().map(|&seed| cell_of(seed)).collect();
                let runs = owners.chunk_by(|a, b| a == b);
                runs.map(|run| (run[0], run.len())).collect()
            })
            .collect();
        let most = |shares: &[(Option<usize>, usize)]| {
            let taken = shares.iter().filter(|(cell, _)| cell.is_some());
            taken
                .rev()
                .max_by_key(|(_, seeds)| *seeds)
                .and_then(|(cell, _)| *cell)
        };
        let square = |(index, here): (usize, &Vec<(Option<usize>, usize)>)| {
            let of = |state: CellState| {
                let own = here
                    .iter()
                    .filter(|(cell, _)| cell.is_some_and(|cell| cells[cell].state == state));
                own.map(|(_, seeds)| seeds).sum::<usize>()
            };
            let len: usize = here.iter().map(|(_, seeds)| seeds).sum();
            let (done, verified) = (of(CellState::Done), of(CellState::Verified));
            let kind = if of(CellState::Disputed) > 0 {
                Kind::Disputed
            } else if done + verified == len {
                if verified > done {
                    Kind::Verified
                } else {
                    Kind::Done
                }
            } else if of(CellState::Lent) > 0 {
                Kind::Lent
            } else if of(CellState::Claimed) > 0 {
                Kind::Claimed
            } else if done + verified > 0 {
                Kind::Part
            } else {
                Kind::Open
            };
            let dead = here.iter().any(|&(cell, seeds)| {
                cell.is_some_and(|cell| {
                    let good = (cells[cell].len as usize).min(len).div_ceil(2);
                    cells[cell].dead > 0 && seeds >= good
                })
            });
            let next = shares.get(index + 1).map(Vec::as_slice);
            Square {
                kind,
                marked: dead,
                joined: most(here).is_some() && most(here) == next.and_then(most),
            }
        };
        code(&shares.iter().enumerate().map(square).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn squares_are_as_seeds_say(
            parts in prop::collection::vec((0u64..40, 1u64..90, 0usize..6, 0u64..2), 0..40),
            rest in 1u64..1500,
        ) {
            let mut at = 100;
            let mut cells = Vec::new();
            for (gap, len, state, dead) in parts {
                cells.push(((at + gap) as u32, len, STATES[state], dead));
                at += gap + len;
            }
            let job = job(100, at - 100 + rest, &cells);
            prop_assert_eq!(drawn(&job), slow(&job));
        }
    }
}
