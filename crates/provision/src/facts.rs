//! What a node reports about itself.

use std::path::PathBuf;

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags, sys::statvfs::statvfs};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, LocalSwarm, System, engine::Engine, resource};

/// A node's state, as far as it can be read without asking anybody else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the program that looked.
    pub agent: String,
    /// Host name.
    pub hostname: String,
    /// Another one after every boot.
    pub boot_id: String,
    /// Kernel release.
    pub kernel: String,
    /// Model of the board, where the device tree names one.
    pub model: Option<String>,
    /// Addresses of all interfaces but the loopback.
    pub addresses: Vec<Address>,
    /// Seconds since boot.
    pub uptime_seconds: u64,
    /// Number of CPUs.
    pub cpus: usize,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// Temperature of the processor in degrees Celsius, where there is a sensor.
    pub temperature: Option<f64>,
    /// The fan that the kernel drives, where there is one.
    #[serde(default)]
    pub fan: Option<Fan>,
    /// What the Raspberry Pi's firmware says about power and heat, where it does: `under-voltage`,
    /// `throttled`, and the same with `, earlier` for what has passed since boot.
    pub throttling: Option<Vec<String>>,
    /// Working memory.
    pub memory: Memory,
    /// The root file system.
    pub disk: Space,
    /// Network file systems that are mounted.
    pub nfs: Vec<Mounted>,
    /// The Docker engine; `None` when none answers.
    pub docker: Option<Docker>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Address {
    /// `eth0`.
    pub interface: String,
    /// IPv4 or IPv6, without a prefix length.
    pub address: String,
}

/// A fan, as a PoE HAT has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fan {
    /// How fast it turns, from 0.
    pub speed: u32,
    /// The fastest that it can.
    pub fastest: u32,
}

/// Working memory in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What programs could still have.
    pub available: u64,
}

/// A file system in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What is left for everybody but root.
    pub available: u64,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mounted {
    /// `SERVER:/EXPORT`.
    pub source: String,
    /// Where it is mounted.
    pub path: String,
}

/// The Docker engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Docker {
    /// Version of the engine.
    pub version: String,
    /// Containers that are running.
    pub running: u64,
    /// Its membership in a swarm.
    pub swarm: LocalSwarm,
}

impl Facts {
    /// Looks around. What a node does not have is `None`; `agent` is the caller's own version.
    pub fn gather(system: &System, agent: &str) -> Result<Self, Error> {
        let line =
            |path: &str| Ok::<_, Error>(system.read(path)?.unwrap_or_default().trim().to_owned());
        let meminfo = line("/proc/meminfo")?;
        let firmware = line("/sys/devices/platform/soc/soc:firmware/get_throttled")?;
        Ok(Self {
            agent: agent.into(),
            hostname: line("/proc/sys/kernel/hostname")?,
            boot_id: line("/proc/sys/kernel/random/boot_id")?,
            kernel: line("/proc/sys/kernel/osrelease")?,
            model: system
                .read("/proc/device-tree/model")?
                .map(|model| model.trim_end_matches('\0').to_owned()),
            addresses: addresses(),
            uptime_seconds: numbers(&line("/proc/uptime")?)
                .first()
                .map_or(0, |seconds| *seconds as u64),
            cpus: line("/proc/cpuinfo")?
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            load: numbers(&line("/proc/loadavg")?)
                .first_chunk()
                .copied()
                .unwrap_or_default(),
            temperature: line("/sys/class/thermal/thermal_zone0/temp")?
                .parse::<f64>()
                .ok()
                .map(|milli| milli / 1000.0),
            fan: fan(system)?,
            throttling: u32::from_str_radix(firmware.trim_start_matches("0x"), 16)
                .ok()
                .map(throttling),
            memory: Memory {
                total: kibibytes(&meminfo, "MemTotal:"),
                available: kibibytes(&meminfo, "MemAvailable:"),
            },
            disk: space(system.path("/"))?,
            nfs: resource::mounts(system)?
                .into_iter()
                .filter(|mounted| mounted.fstype.starts_with("nfs"))
                .map(|mounted| Mounted {
                    source: mounted.source,
                    path: mounted.path,
                })
                .collect(),
            docker: Engine::connect(system)
                .and_then(|engine| engine.get("/info"))
                .ok()
                .map(|info| Docker::parse(&info)),
        })
    }
}

impl Docker {
    fn parse(info: &Value) -> Self {
        Self {
            version: info["ServerVersion"].as_str().unwrap_or_default().into(),
            running: info["ContainersRunning"].as_u64().unwrap_or(0),
            swarm: LocalSwarm::from_info(info),
        }
    }
}

/// The first cooling device that is a fan: processors that slow down are such devices too.
fn fan(system: &System) -> Result<Option<Fan>, Error> {
    const DEVICES: &str = "/sys/class/thermal";
    for name in system.names_in(DEVICES)? {
        let file = |file: &str| {
            let text = system.read(&format!("{DEVICES}/{name}/{file}"))?;
            Ok::<_, Error>(text.unwrap_or_default().trim().to_owned())
        };
        if name.starts_with("cooling_device") && file("type")?.contains("fan") {
            let number = |text: String| text.parse().ok();
            let (speed, fastest) = (number(file("cur_state")?), number(file("max_state")?));
            return Ok(speed
                .zip(fastest)
                .map(|(speed, fastest)| Fan { speed, fastest }));
        }
    }
    Ok(None)
}

fn addresses() -> Vec<Address> {
    let interfaces = getifaddrs().into_iter().flatten();
    interfaces
        .filter(|it| {
            it.flags.contains(InterfaceFlags::IFF_UP)
                && !it.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
        .filter_map(|it| {
            let address = it.address?;
            let v4 = address
                .as_sockaddr_in()
                .map(|address| address.ip().to_string());
            let text = v4.or_else(|| {
                address
                    .as_sockaddr_in6()
                    .map(|address| address.ip().to_string())
            })?;
            Some(Address {
                interface: it.interface_name,
                address: text,
            })
        })
        .collect()
}

fn space(path: PathBuf) -> Result<Space, Error> {
    let stat = statvfs(&path).map_err(|error| Error::io("measure", path)(error.into()))?;
    // The fields are as wide as the machine: some targets need the conversion.
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "they are u64 only on 64-bit targets"
    )]
    let bytes = |blocks| blocks as u64 * stat.fragment_size() as u64;
    Ok(Space {
        total: bytes(stat.blocks()),
        available: bytes(stat.blocks_available()),
    })
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect()
}

/// A line of `/proc/meminfo`, in bytes.
fn kibibytes(meminfo: &str, key: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| numbers(line).first().copied())
        .map_or(0, |kibibytes| kibibytes as u64 * 1024)
}

/// The firmware's bits: now in the low half, since boot in the high half.
fn throttling(bits: u32) -> Vec<String> {
    let names = [
        "under-voltage",
        "frequency capped",
        "throttled",
        "soft temperature limit",
    ];
    let set = |bit: usize| bits & (1 << bit) != 0;
    names
        .iter()
        .enumerate()
        .filter_map(|(bit, name)| match (set(bit), set(bit + 16)) {
            (true, _) => Some((*name).to_owned()),
            (false, true) => Some(format!("{name}, earlier")),
            (false, false) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_bits_have_names() {
        let cases = [
            (0x0, vec![]),
            (0x50005, vec!["under-voltage", "throttled"]),
            (
                0x50000,
                vec!["under-voltage, earlier", "throttled, earlier"],
            ),
            (0x80008, vec!["soft temperature limit"]),
        ];
        for (bits, names) in cases {
            assert_eq!(throttling(bits), names, "{bits:#x}");
        }
    }

    #[test]
    fn a_node_without_engine_or_sensors_has_facts() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/self")).unwrap();
        std::fs::write(root.path().join("proc/uptime"), "3725.12 9000.00\n").unwrap();
        std::fs::write(
            root.path().join("proc/loadavg"),
            "0.10 0.20 0.30 1/99 1234\n",
        )
        .unwrap();
        std::fs::write(
            root.path().join("proc/meminfo"),
            "MemTotal:   1000 kB\nMemAvailable:    600 kB\n",
        )
        .unwrap();
        std::fs::write(
            root.path().join("proc/self/mounts"),
            "/dev/mmcblk0p2 / ext4 rw 0 0\n192.168.1.2:/plex /mnt/nfs/plex nfs4 rw 0 0\n",
        )
        .unwrap();
        for (device, kind) in [
            ("cooling_device0", "cpufreq-cpu0"),
            ("cooling_device1", "rpi-poe-fan"),
        ] {
            let device = root.path().join("sys/class/thermal").join(device);
            std::fs::create_dir_all(&device).unwrap();
            for (file, text) in [("type", kind), ("cur_state", "1"), ("max_state", "4")] {
                std::fs::write(device.join(file), format!("{text}\n")).unwrap();
            }
        }
        let facts = Facts::gather(&System::rooted(root.path()), "0.1.0").unwrap();
        assert_eq!(
            facts.fan,
            Some(Fan {
                speed: 1,
                fastest: 4
            })
        );
        assert_eq!((facts.uptime_seconds, facts.load), (3725, [0.1, 0.2, 0.3]));
        assert_eq!(
            facts.memory,
            Memory {
                total: 1_024_000,
                available: 614_400
            }
        );
        assert_eq!(
            facts.nfs,
            [Mounted {
                source: "192.168.1.2:/plex".into(),
                path: "/mnt/nfs/plex".into()
            }]
        );
        assert_eq!(
            (facts.docker, facts.temperature, facts.throttling),
            (None, None, None)
        );
    }
}
