//! What can befall a machine of a lab, as data.
//!
//! ```
//! use std::time::Duration;
//! use bramble_lab::{Direction, Fault, Impairment};
//!
//! // A bad line to and from a machine: a tenth of a second away, one frame in twenty lost, ten megabits a second.
//! let bad_line = Fault::Link {
//!     direction: Direction::Both,
//!     impairment: Impairment {
//!         latency: Duration::from_millis(100),
//!         jitter: Duration::from_millis(20),
//!         loss: "5%".parse()?,
//!         rate: Some("10mbit".parse()?),
//!         ..Impairment::default()
//!     },
//! };
//! assert_eq!(bad_line.to_string(), "link: latency 100ms, jitter 20ms, loss 5%, rate 10mbit");
//! # Ok::<(), bramble_lab::Unreadable>(())
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Something that befalls one machine, until it is cleared. A machine has at most one of each kind at a time: a
/// later one takes the place of an earlier one. What befalls what it sends and what befalls what it receives are two
/// kinds, and [`Direction::Both`] is both of them; each other machine that it does not hear is one more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "fault")]
pub enum Fault {
    /// Its cable, and the port of the switch that it leads to, treat frames badly. The machine still sees a link.
    Link {
        /// Which frames.
        direction: Direction,
        /// How.
        impairment: Impairment,
    },
    /// It and another machine do not hear each other; both hear everybody else.
    Apart {
        /// The other machine.
        from: String,
    },
    /// Its cable is pulled: it sees no carrier.
    Unplugged,
    /// It stands still, and goes on as if no time had passed, but for what others did meanwhile. From then on its clock is
    /// behind by as long as it stood, until [`Lab::set_clocks`](crate::Lab::set_clocks).
    Frozen,
    /// Its power is cut: what it had not written to its disk is gone. When cleared, it boots from that disk.
    PowerCut,
    /// Its clock has jumped. When cleared, it is set to the host's.
    ClockJump {
        /// How far ahead; back, if negative.
        seconds: i64,
    },
    /// Its root file system is full.
    DiskFull,
    /// Its root file system cannot be written to, as when a card begins to fail.
    DiskReadOnly,
    /// Its disk is slow.
    DiskSlow {
        /// At most so many bytes are read and written in a second, both together.
        bytes_per_second: u64,
    },
}

impl Fault {
    /// Nothing gets through to the machine or from it, though it sees a link.
    pub fn cut() -> Fault {
        Fault::Link {
            direction: Direction::Both,
            impairment: Impairment {
                cut: true,
                ..Impairment::default()
            },
        }
    }

    /// Whether a machine can have only one of the two at a time.
    pub(crate) fn replaces(&self, other: &Fault) -> bool {
        match (self, other) {
            (Fault::Link { direction: a, .. }, Fault::Link { direction: b, .. }) => {
                a.covers(*b) || b.covers(*a)
            }
            (Fault::Apart { from: a }, Fault::Apart { from: b }) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::Link {
                direction: Direction::Both,
                impairment,
            } => write!(f, "link: {impairment}"),
            Fault::Link {
                direction,
                impairment,
            } => write!(f, "link, {direction} only: {impairment}"),
            Fault::Apart { from } => write!(f, "apart from {from}"),
            Fault::Unplugged => f.write_str("unplugged"),
            Fault::Frozen => f.write_str("frozen"),
            Fault::PowerCut => f.write_str("power cut"),
            Fault::ClockJump { seconds } => write!(f, "clock {seconds:+} s"),
            Fault::DiskFull => f.write_str("disk full"),
            Fault::DiskReadOnly => f.write_str("disk read-only"),
            Fault::DiskSlow { bytes_per_second } => {
                write!(f, "disk at {bytes_per_second} bytes/s")
            }
        }
    }
}

/// Why a text is no direction, share or rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

/// Which frames of a link are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Those to the machine and those from it.
    #[default]
    Both,
    /// Those that it should receive.
    To,
    /// Those that it sends.
    From,
}

impl Direction {
    fn covers(self, other: Direction) -> bool {
        self == Direction::Both || self == other
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Direction::Both => "both",
            Direction::To => "to",
            Direction::From => "from",
        })
    }
}

impl FromStr for Direction {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Direction, Unreadable> {
        match text {
            "both" => Ok(Direction::Both),
            "to" => Ok(Direction::To),
            "from" => Ok(Direction::From),
            _ => Err(Unreadable(format!(
                "a direction is both, to or from, not `{text}`"
            ))),
        }
    }
}

/// How a link treats frames. The default does nothing to them.
///
/// In this order, for each direction on its own: frames are lost, duplicated, corrupted; wait for those before them
/// to be sent at `rate` (as many as 256 KiB, more are lost); and arrive after `latency`, give or take `jitter`, in the
/// order they were sent. The fate of the n-th frame follows from `seed` alone.
///
/// With [`Direction::Both`], an answer suffers as its question did: 100 ms of latency make a ping 200 ms slower, and 10 %
/// of loss lose 19 of 100 pings. For `n` of each, take one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Impairment {
    /// Nothing gets through.
    pub cut: bool,
    /// How long a frame is under way.
    pub latency: Duration,
    /// How much longer or shorter than `latency` at most, evenly spread; never shorter than no time.
    pub jitter: Duration,
    /// Frames that do not arrive.
    pub loss: Share,
    /// Frames of which one bit is flipped.
    pub corruption: Share,
    /// Frames that arrive twice.
    pub duplication: Share,
    /// How fast frames are sent; as fast as can be, if `None`.
    pub rate: Option<Rate>,
    /// What chance is drawn from.
    pub seed: u64,
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.cut {
            return f.write_str("cut");
        }
        let some = |share: Share| (share != Share::default()).then(|| share.to_string());
        let long = |time: Duration| (!time.is_zero()).then(|| format!("{time:?}"));
        let parts = [
            ("latency", long(self.latency)),
            ("jitter", long(self.jitter)),
            ("loss", some(self.loss)),
            ("corruption", some(self.corruption)),
            ("duplication", some(self.duplication)),
            ("rate", self.rate.map(|rate| rate.to_string())),
        ];
        let parts = parts.map(|(name, value)| value.map(|value| format!("{name} {value}")));
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(&if parts.is_empty() {
            "as good as new".to_owned()
        } else {
            parts.join(", ")
        })
    }
}

/// A share of all frames, to a millionth: from a text such as `5%` or `0.01%`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share {
    millionths: u32,
}

impl Share {
    /// All frames.
    pub const ALL: Share = Share {
        millionths: 1_000_000,
    };

    /// In millionths, at most a million of them.
    pub fn millionths(self) -> u32 {
        self.millionths.min(Share::ALL.millionths)
    }
}

impl FromStr for Share {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Share, Unreadable> {
        let wrong = || {
            Unreadable(format!(
                "a share is 0% to 100%, such as 5% or 0.01%, not `{text}`"
            ))
        };
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let percent: f64 = number.parse().map_err(|_| wrong())?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(wrong());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to a million"
        )]
        let millionths = (percent * 10_000.0).round() as u32;
        Ok(Share { millionths })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}%", f64::from(self.millionths()) / 10_000.0)
    }
}

/// How fast a link is: from a text such as `10mbit`, `256kbit` or `1gbit`, each a second, with decimal prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate {
    bits_per_second: std::num::NonZeroU64,
}

impl Rate {
    const UNITS: [(&str, u64); 4] = [
        ("gbit", 1_000_000_000),
        ("mbit", 1_000_000),
        ("kbit", 1_000),
        ("bit", 1),
    ];

    /// How long it takes to send so many bytes.
    pub fn time_for(self, bytes: usize) -> Duration {
        let nanoseconds =
            bytes as u128 * 8 * 1_000_000_000 / u128::from(self.bits_per_second.get());
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

impl FromStr for Rate {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Rate, Unreadable> {
        let wrong = || {
            Unreadable(format!(
                "a rate is a number of gbit, mbit, kbit or bit, such as 10mbit, not `{text}`"
            ))
        };
        let (number, unit) = Rate::UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
            .ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let bits = number
            .checked_mul(*unit)
            .and_then(std::num::NonZeroU64::new);
        Ok(Rate {
            bits_per_second: bits.ok_or_else(wrong)?,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let bits = self.bits_per_second.get();
        let (name, unit) = Rate::UNITS
            .into_iter()
            .find(|(_, unit)| bits.is_multiple_of(*unit))
            .unwrap_or(("bit", 1));
        write!(f, "{}{name}", bits / unit)
    }
}

/// A fault that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affliction {
    /// Whom it befell.
    pub machine: String,
    /// What it is.
    #[serde(flatten)]
    pub fault: Fault,
    /// How long it is to last from when it was inflicted; until it is cleared, if `None`.
    pub lasting: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_rates_are_read_as_they_are_written() {
        for text in ["0%", "5%", "0.01%", "99.9999%", "100%"] {
            assert_eq!(
                text.parse::<Share>().map(|it| it.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["10mbit", "256kbit", "1gbit", "1500kbit", "9601bit"] {
            assert_eq!(
                text.parse::<Rate>().map(|it| it.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["", "5", "-1%", "101%", "five%", "NaN%"] {
            assert!(
                text.parse::<Share>().expect_err(text).0.contains(text),
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "mbit",
            "0mbit",
            "-1kbit",
            "10mb",
            "99999999999gbit",
        ] {
            assert!(
                text.parse::<Rate>().expect_err(text).0.contains(text),
                "{text}"
            );
        }
        let rate: Rate = "8mbit".parse().expect("a rate");
        assert_eq!(rate.time_for(1_000_000), Duration::from_secs(1));
    }

    #[test]
    fn a_machine_has_one_fault_of_a_kind() {
        let link = |direction| Fault::Link {
            direction,
            impairment: Impairment::default(),
        };
        let apart = |from: &str| Fault::Apart {
            from: from.to_owned(),
        };
        let jump = |seconds| Fault::ClockJump { seconds };
        for (a, b, expected) in [
            (link(Direction::To), link(Direction::From), false),
            (link(Direction::To), link(Direction::Both), true),
            (Fault::cut(), link(Direction::To), true),
            (apart("manager1"), apart("worker1"), false),
            (apart("manager1"), apart("manager1"), true),
            (jump(1), jump(-1), true),
            (Fault::Frozen, Fault::PowerCut, false),
        ] {
            assert_eq!(a.replaces(&b), expected, "{a} and {b}");
            assert_eq!(b.replaces(&a), expected, "{b} and {a}");
        }
    }

    #[test]
    fn faults_are_data() {
        for fault in [
            Fault::cut(),
            Fault::Apart {
                from: "manager1".to_owned(),
            },
            Fault::ClockJump { seconds: -3600 },
            Fault::DiskSlow {
                bytes_per_second: 1 << 20,
            },
        ] {
            let affliction = Affliction {
                machine: "worker3".to_owned(),
                fault,
                lasting: Some(Duration::from_secs(60)),
            };
            let text = serde_json::to_string(&affliction).expect("JSON");
            assert_eq!(
                serde_json::from_str::<Affliction>(&text).expect("read back"),
                affliction,
                "{text}"
            );
        }
    }
}
