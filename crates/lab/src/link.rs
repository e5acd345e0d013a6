//! One direction of a bad link: a model of it, without clocks or threads. Frames go in with the time they are
//! sent at, and come out with the times they arrive at.

use std::sync::Arc;
use std::time::Duration;

use crate::fault::{Impairment, Share};

pub(crate) type Frame = Arc<[u8]>;

/// What may wait to be sent at a link's rate; as much as a small switch has room for.
const BUFFER: usize = 256 << 10;

/// A link in one direction, and what is under way on it.
#[derive(Debug)]
pub(crate) struct Link {
    impairment: Impairment,
    chance: SplitMix64,
    /// When the last frame has been sent.
    sent: Duration,
    /// When the last frame arrives: none overtakes it.
    arrived: Duration,
}

impl Link {
    /// `salt` makes the two directions of a link differ.
    pub(crate) fn new(impairment: Impairment, salt: u64) -> Link {
        Link {
            impairment,
            chance: SplitMix64(impairment.seed ^ salt.rotate_left(32)),
            sent: Duration::ZERO,
            arrived: Duration::ZERO,
        }
    }

    /// What arrives of a frame that is sent at `now`, and when: nothing, the frame, or two of it. Times are since
    /// any one moment, and `now` never goes back.
    pub(crate) fn pass(&mut self, now: Duration, frame: &Frame) -> Vec<(Duration, Frame)> {
        let Impairment {
            cut,
            loss,
            duplication,
            corruption,
            ..
        } = self.impairment;
        // Always as many draws, so that what befalls the next frame does not hang on what befell this one.
        let [lost, doubled, corrupted, place] = [(); 4].map(|()| self.chance.next());
        let waits = [(); 2].map(|()| self.chance.next());
        if cut || falls_into(loss, lost) {
            return Vec::new();
        }
        let frame = match falls_into(corruption, corrupted) {
            true => with_a_bit_flipped(frame, place),
            false => frame.clone(),
        };
        let copies = if falls_into(duplication, doubled) {
            2
        } else {
            1
        };
        let mut arrivals = Vec::with_capacity(copies);
        for wait in &waits[..copies] {
            if let Some(sent) = self.send(now, frame.len()) {
                self.arrived = self.arrived.max(sent + self.delay(*wait));
                arrivals.push((self.arrived, frame.clone()));
            }
        }
        arrivals
    }

    /// When so many bytes have been sent that come at `now`; `None` when there is no room for them to wait.
    fn send(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let Some(rate) = self.impairment.rate else {
            return Some(now);
        };
        let begin = self.sent.max(now);
        if begin - now > rate.time_for(BUFFER) {
            return None;
        }
        self.sent = begin + rate.time_for(bytes);
        Some(self.sent)
    }

    /// From `latency - jitter` to `latency + jitter`, as `draw` goes from least to most.
    fn delay(&self, draw: u64) -> Duration {
        let Impairment {
            latency, jitter, ..
        } = self.impairment;
        let span = 2 * jitter.as_nanos();
        // The high half of the product spreads a draw over the span evenly enough.
        let add = (u128::from(draw) * (span + 1)) >> 64;
        let add = Duration::from_nanos(u64::try_from(add).unwrap_or(u64::MAX));
        (latency + add).saturating_sub(jitter)
    }
}

fn falls_into(share: Share, draw: u64) -> bool {
    draw % u64::from(Share::ALL.millionths()) < u64::from(share.millionths())
}

fn with_a_bit_flipped(frame: &Frame, draw: u64) -> Frame {
    let mut bytes = frame.to_vec();
    let bits = bytes.len() as u64 * 8;
    if let Some(bit) = draw.checked_rem(bits) {
        let byte = usize::try_from(bit / 8).unwrap_or_default();
        bytes[byte] ^= 1 << (bit % 8);
    }
    bytes.into()
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn frame(mark: u8, length: usize) -> Frame {
        vec![mark; length].into()
    }

    /// What comes out, as milliseconds and marks, of frames of 1000 bytes that go in at `times` in milliseconds.
    fn passed(impairment: Impairment, times: &[u64]) -> Vec<(u64, u8)> {
        let mut link = Link::new(impairment, 0);
        let arrivals = (0..)
            .zip(times)
            .flat_map(|(mark, &time)| link.pass(ms(time), &frame(mark, 1000)));
        arrivals
            .map(|(at, frame)| (u64::try_from(at.as_millis()).expect("soon"), frame[0]))
            .collect()
    }

    #[test]
    fn each_impairment_alone() {
        let share = |text: &str| text.parse().expect("a share");
        let clean = Impairment::default();
        type Row<'a> = (&'a str, Impairment, &'a [u64], &'a [(u64, u8)]);
        let table: [Row; 7] = [
            ("nothing", clean, &[0, 5], &[(0, 0), (5, 1)]),
            ("cut", Impairment { cut: true, ..clean }, &[0, 5], &[]),
            (
                "latency",
                Impairment {
                    latency: ms(100),
                    ..clean
                },
                &[0, 5],
                &[(100, 0), (105, 1)],
            ),
            (
                "loss",
                Impairment {
                    loss: share("100%"),
                    ..clean
                },
                &[0, 5],
                &[],
            ),
            (
                "duplication",
                Impairment {
                    duplication: share("100%"),
                    ..clean
                },
                &[0, 5],
                &[(0, 0), (0, 0), (5, 1), (5, 1)],
            ),
            // 1000 bytes are 8000 bits.
            (
                "rate",
                Impairment {
                    rate: "1mbit".parse().ok(),
                    ..clean
                },
                &[0, 0, 4, 100],
                &[(8, 0), (16, 1), (24, 2), (108, 3)],
            ),
            (
                "rate and latency",
                Impairment {
                    rate: "1mbit".parse().ok(),
                    latency: ms(10),
                    ..clean
                },
                &[0, 0],
                &[(18, 0), (26, 1)],
            ),
        ];
        for (name, impairment, times, expected) in table {
            assert_eq!(passed(impairment, times), expected, "{name}");
        }
    }

    #[test]
    fn what_has_no_room_to_wait_is_lost() {
        let slow = Impairment {
            rate: "8mbit".parse().ok(),
            ..Impairment::default()
        };
        // A millisecond each, and room for 262 and a bit; the one that is being sent waits no longer.
        let mut link = Link::new(slow, 0);
        let sent = (0..1000)
            .flat_map(|_| link.pass(ms(0), &frame(1, 1000)))
            .count();
        assert_eq!(sent, 263);
        assert_eq!(
            link.pass(ms(1000), &frame(1, 1000)).len(),
            1,
            "later there is room again"
        );
    }

    #[test]
    fn corruption_flips_one_bit() {
        let noisy = Impairment {
            corruption: Share::ALL,
            ..Impairment::default()
        };
        let mut link = Link::new(noisy, 0);
        for length in [1, 60, 1514] {
            let sent = frame(0x5a, length);
            let [(_, received)] = &link.pass(ms(0), &sent)[..] else {
                panic!("one frame")
            };
            let flipped: u32 = sent
                .iter()
                .zip(&**received)
                .map(|(a, b)| (a ^ b).count_ones())
                .sum();
            assert_eq!((received.len(), flipped), (length, 1));
        }
        assert_eq!(link.pass(ms(0), &frame(0, 0)).len(), 1, "nothing to flip");
    }

    #[test]
    fn a_share_of_many_is_about_that_share() {
        for (text, low, high) in [
            ("0.1%", 70, 130),
            ("5%", 4700, 5300),
            ("50%", 49_300, 50_700),
        ] {
            let lossy = Impairment {
                loss: text.parse().expect("a share"),
                ..Impairment::default()
            };
            let mut link = Link::new(lossy, 7);
            let lost = (0..100_000)
                .filter(|_| link.pass(ms(0), &frame(0, 60)).is_empty())
                .count();
            assert!((low..=high).contains(&lost), "{text}: {lost}");
        }
    }

    fn impairments() -> impl Strategy<Value = Impairment> {
        let share =
            || (0..=100u32).prop_map(|percent| format!("{percent}%").parse().expect("a share"));
        let rate = proptest::option::of(
            (1..10_000u32).prop_map(|kbit| format!("{kbit}kbit").parse().expect("a rate")),
        );
        let times = (0..500u64, 0..500u64).prop_map(|(latency, jitter)| (ms(latency), ms(jitter)));
        (share(), share(), share(), rate, times, any::<u64>()).prop_map(
            |(loss, corruption, duplication, rate, (latency, jitter), seed)| Impairment {
                cut: false,
                latency,
                jitter,
                loss,
                corruption,
                duplication,
                rate,
                seed,
            },
        )
    }

    proptest! {
        /// Against a reference that knows one thing about each arrival: how early and late it may be.
        #[test]
        fn frames_arrive_in_order_and_within_bounds(
            impairment in impairments(),
            gaps in proptest::collection::vec((0..50u64, 60..1514usize), 1..60),
        ) {
            let mut link = Link::new(impairment, 1);
            let mut again = Link::new(impairment, 1);
            let (mut now, mut last, mut busy) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
            for (mark, (gap, length)) in gaps.into_iter().enumerate() {
                now += ms(gap);
                let mark = u8::try_from(mark).expect("few");
                let sent = frame(mark, length);
                let arrivals = link.pass(now, &sent);
                prop_assert_eq!(&arrivals, &again.pass(now, &sent), "the same seed, the same fate");
                prop_assert!(arrivals.len() <= 2);
                for (at, received) in arrivals {
                    prop_assert_eq!(received.len(), length);
                    if let Some(rate) = impairment.rate {
                        busy = busy.max(now) + rate.time_for(length);
                    } else {
                        busy = now;
                    }
                    let earliest = (busy + impairment.latency).saturating_sub(impairment.jitter);
                    prop_assert!(at >= last && at >= earliest && at >= now);
                    prop_assert!(at <= last.max(busy + impairment.latency + impairment.jitter));
                    last = at;
                }
            }
        }
    }
}
