//! Checks of what the firmware and the kernel are told.

use toml::Spanned;

use super::check::Check;
use super::{Boot, Overclock, wire};

/// What the firmware reads of a line of config.txt; the rest is dropped without a word.
const CONFIG_LINE: usize = 98;

/// What older documentation promises.
const SAFE_CONFIG_LINE: usize = 80;

/// Degrees Celsius between which a fan threshold makes sense: the firmware slows a Pi 4 down from 80 to 85.
const FAN: std::ops::RangeInclusive<i64> = 20..=85;

impl Check<'_> {
    pub(super) fn boot(&mut self, boot: wire::Boot) -> Boot {
        for line in &boot.config {
            self.config_line(line);
        }
        for word in &boot.cmdline {
            if word.get_ref().is_empty()
                || word
                    .get_ref()
                    .contains(|c: char| c.is_whitespace() || c.is_control())
            {
                self.problems
                    .error(
                        word.span(),
                        format!(
                            "{:?} is not one word of a kernel command line",
                            word.get_ref()
                        ),
                    )
                    .help_is("give each word on its own: `cmdline = [\"quiet\", \"panic=10\"]`");
            }
        }
        self.is_not_set_twice(&boot);
        Boot {
            poe_fan: boot.poe_fan.and_then(|fan| self.poe_fan(&fan)),
            overclock: boot
                .overclock
                .and_then(|overclock| self.overclock(overclock)),
            config: boot.config.into_iter().map(Spanned::into_inner).collect(),
            cmdline: boot.cmdline.into_iter().map(Spanned::into_inner).collect(),
        }
    }

    /// Lines and words that say again, or deny, what bramble says itself.
    fn is_not_set_twice(&mut self, boot: &wire::Boot) {
        let mut own = vec!["arm_64bit", "kernel", "auto_initramfs"];
        if boot.overclock.is_some() {
            own.extend(["arm_freq", "over_voltage"]);
        }
        for line in &boot.config {
            let key = line
                .get_ref()
                .split_once('=')
                .map_or("", |(key, _)| key.trim());
            let fan = boot.poe_fan.is_some() && line.get_ref().contains("poe_fan_temp");
            if own.contains(&key) || fan {
                self.problems
                    .error(
                        line.span(),
                        "config.txt says this already, by another key of this file",
                    )
                    .help_is("leave out one of the two");
            }
        }
        for word in &boot.cmdline {
            let (key, value) = word
                .get_ref()
                .split_once('=')
                .unwrap_or((word.get_ref(), ""));
            if matches!(key, "root" | "rootfstype" | "init" | "ds") {
                self.problems
                    .error(word.span(), format!("bramble sets `{key}` itself"))
                    .help_is("leave it out: with another value the card would not boot");
            } else if (key, value) == ("cgroup_disable", "memory") {
                self.problems
                    .error(
                        word.span(),
                        "without the memory cgroup Docker ignores memory limits",
                    )
                    .help_is("leave it out: bramble switches the memory cgroup on");
            }
        }
    }

    fn config_line(&mut self, line: &Spanned<String>) {
        let (text, length) = (line.get_ref(), line.get_ref().len());
        if text.contains(|c: char| c.is_control()) {
            self.problems
                .error(line.span(), "this is not one line of config.txt")
                .help_is("give each line on its own");
        } else if !is_config(text) {
            self.problems
                .error(line.span(), format!("\"{text}\" is no line of config.txt"))
                .help_is("a line is `key=value`, a filter like `[pi4]`, or a comment after `#`");
        } else if length > CONFIG_LINE {
            self.problems
                .error(
                    line.span(),
                    format!("this line has {length} bytes; the firmware reads {CONFIG_LINE}"),
                )
                .help_is(
                    "split it: `dtparam=a=1,b=2` is the same as `dtparam=a=1` and `dtparam=b=2`",
                );
        } else if length > SAFE_CONFIG_LINE {
            self.problems.warning(
                line.span(),
                format!("older firmware reads {SAFE_CONFIG_LINE} bytes of these {length}"),
            );
        }
    }

    fn poe_fan(&mut self, fan: &Spanned<Vec<Spanned<i64>>>) -> Option<[u8; 4]> {
        if self.was_removed("poe_fan") {
            return None;
        }
        let degrees = |value: &Spanned<i64>| u8::try_from(*value.get_ref()).ok();
        if let Some(wild) = fan
            .get_ref()
            .iter()
            .find(|value| !FAN.contains(value.get_ref()))
        {
            let (low, high) = (FAN.start(), FAN.end());
            self.problems
                .error(
                    wild.span(),
                    format!(
                        "a fan threshold of {} degrees makes no sense",
                        wild.get_ref()
                    ),
                )
                .help_is(format!("give whole degrees Celsius from {low} to {high}"));
            return None;
        }
        if let Some(pair) = fan
            .get_ref()
            .windows(2)
            .find(|pair| pair[0].get_ref() >= pair[1].get_ref())
        {
            self.problems
                .error(pair[1].span(), "fan thresholds must rise")
                .help_is("the four speeds of the fan come one after the other: `poe_fan = [65, 70, 75, 80]`");
            return None;
        }
        let found: Option<[u8; 4]> = fan
            .get_ref()
            .iter()
            .map(degrees)
            .collect::<Option<Vec<u8>>>()
            .and_then(|list| list.try_into().ok());
        if found.is_none() {
            self.problems
                .error(
                    fan.span(),
                    format!("a PoE fan has four speeds, not {}", fan.get_ref().len()),
                )
                .help_is("give the degrees at which each begins: `poe_fan = [65, 70, 75, 80]`");
        }
        found
    }

    fn overclock(&mut self, overclock: Spanned<wire::Overclock>) -> Option<Overclock> {
        let table = overclock.span();
        let overclock = overclock.into_inner();
        let arm_freq = self.required(overclock.arm_freq, "arm_freq", &table)?;
        let in_range = |value: &Spanned<i64>, low, high| (low..=high).contains(value.get_ref());
        if !in_range(&arm_freq, 600, 2300) {
            self.problems
                .error(
                    arm_freq.span(),
                    format!("no Pi 4 runs at {} MHz", arm_freq.get_ref()),
                )
                .help_is("1800 to 2000 is a light overclock");
            return None;
        }
        // Above 6 the firmware burns a fuse that voids the warranty.
        if let Some(volts) = overclock
            .over_voltage
            .as_ref()
            .filter(|volts| !in_range(volts, 0, 6))
        {
            self.problems
                .error(
                    volts.span(),
                    format!("an over_voltage of {} is not safe", volts.get_ref()),
                )
                .help_is("use 0 to 6: more voids the warranty for good");
            return None;
        }
        self.problems
            .warning(table, "overclocked Pis run hotter and fail sooner")
            .help_is("`vcgencmd get_throttled` on a node tells whether it had to slow down");
        let over_voltage = overclock.over_voltage.map_or(0, Spanned::into_inner);
        Some(Overclock {
            arm_freq: u16::try_from(arm_freq.into_inner()).ok()?,
            over_voltage: u8::try_from(over_voltage).ok()?,
        })
    }
}

/// Whether the firmware makes something of the line.
fn is_config(line: &str) -> bool {
    let line = line.trim();
    let setting = line
        .split_once('=')
        .is_some_and(|(key, _)| !key.is_empty() && !key.contains(char::is_whitespace));
    let filter = line.starts_with('[') && line.ends_with(']') && line.len() > 2;
    let command = ["include ", "initramfs "]
        .iter()
        .any(|command| line.starts_with(command));
    line.is_empty() || line.starts_with('#') || setting || filter || command
}
