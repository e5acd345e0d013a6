//! A user-space Ethernet switch.
//!
//! Every port is a unix socket that one QEMU connects to with `-netdev stream`. A frame on the wire is its
//! length (four bytes, big endian) and its bytes, see `net/stream_data.c` in QEMU.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::io::{self, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::fault::{Direction, Impairment};
use crate::link::{Frame, Link};
use crate::recorder::{Capture, Carried, Recorder};

/// The port that leads to the host. It hears no DHCP requests: QEMU's user-mode network would answer them,
/// and on this network that is the router's to do.
pub(crate) const GATEWAY: &str = "gateway";

/// Frames that wait for a machine that does not read; what comes on top is lost, as on a real wire.
const QUEUE: usize = 1024;

/// Longer than any frame QEMU sends, with segmentation offload: 64 KiB and its headers.
const LONGEST_FRAME: usize = 70_000;

const SOCKET_BUFFER: usize = 1 << 20;

/// Frames that are under way on slow links; what comes on top is lost.
const UNDER_WAY: usize = 1 << 16;

type Mac = [u8; 6];

/// The switch; clones are handles to the same one.
#[derive(Clone, Default)]
pub(crate) struct Switch {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    ports: Vec<Port>,
    /// Where each address was last seen.
    learned: HashMap<Mac, usize>,
    /// Pairs of ports, both ways round, that do not hear each other.
    apart: HashSet<(usize, usize)>,
    /// Where frames wait that are under way on a slow link; there once a link has been slow.
    under_way: Option<Sender<UnderWay>>,
}

struct Port {
    name: String,
    hears_dhcp: bool,
    queue: SyncSender<ToPort>,
    /// How the link treats what the machine sends; perfectly, if `None`.
    from_machine: Option<Link>,
    /// How it treats what is sent to the machine.
    to_machine: Option<Link>,
    /// As the machine sees it: what it sends before its link treats it, what it is sent after that.
    recorder: Recorder,
}

/// A frame on a slow link.
struct UnderWay {
    arrives: Instant,
    /// Where it is when it arrives.
    at: Place,
    frame: Frame,
}

/// One of the two ends of a port's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In the switch, coming from the port.
    Switch { from: usize },
    /// At the machine.
    Machine(usize),
}

/// What the thread that writes to a port is given.
enum ToPort {
    Connected(UnixStream),
    Frame(Frame),
}

impl Switch {
    /// Adds a port: whoever connects to the socket at `path` is attached, one after the other.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) fn listen(&self, name: &str, path: &Path) -> io::Result<()> {
        let listener = UnixListener::bind(path)?;
        let (queue, queued) = sync_channel(QUEUE);
        let number = self.attach(name, queue.clone());
        thread::spawn(move || write_frames(&queued));

        let switch = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Larger buffers are a matter of speed only.
                let _ = setsockopt(&stream, sockopt::SndBuf, &SOCKET_BUFFER);
                let Ok(writer) = stream.try_clone() else {
                    continue;
                };
                if queue.send(ToPort::Connected(writer)).is_err() {
                    return;
                }
                // Whether the machine hung up or sent nonsense, the connection is over for both directions.
                let _ = read_frames(&stream, |frame| switch.forward(number, frame));
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        Ok(())
    }

    fn attach(&self, name: &str, queue: SyncSender<ToPort>) -> usize {
        let mut shared = self.lock();
        shared.ports.push(Port {
            name: name.to_owned(),
            hears_dhcp: name != GATEWAY,
            queue,
            from_machine: None,
            to_machine: None,
            recorder: Recorder::default(),
        });
        shared.ports.len() - 1
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame that port `from` has sent.
    fn forward(&self, from: usize, frame: &Frame) {
        self.lock().sent(from, frame);
    }

    /// Treats frames of the port `name` badly from now on, or well again if there is no `impairment`. Those that
    /// are under way arrive when they were to. `None` when there is no such port.
    pub(crate) fn impair(
        &self,
        name: &str,
        direction: Direction,
        impairment: Option<Impairment>,
    ) -> Option<()> {
        let mut shared = self.lock();
        if impairment.is_some() && shared.under_way.is_none() {
            let (sender, frames) = channel();
            let switch = self.clone();
            thread::spawn(move || switch.deliver(&frames));
            shared.under_way = Some(sender);
        }
        let port = shared.ports.iter_mut().find(|port| port.name == name)?;
        if direction != Direction::To {
            port.from_machine = impairment.map(|impairment| Link::new(impairment, 0));
        }
        if direction != Direction::From {
            port.to_machine = impairment.map(|impairment| Link::new(impairment, 1));
        }
        Some(())
    }

    /// Keeps two ports from hearing each other, or no longer. `None` when there is no such port.
    pub(crate) fn part(&self, names: [&str; 2], apart: bool) -> Option<()> {
        let mut shared = self.lock();
        let number = |name: &str| shared.ports.iter().position(|port| port.name == name);
        let (a, b) = (number(names[0])?, number(names[1])?);
        for pair in [(a, b), (b, a)] {
            match apart {
                true => shared.apart.insert(pair),
                false => shared.apart.remove(&pair),
            };
        }
        Some(())
    }

    /// What the port `name` has sent and received last, and from now on. `None` when there is no such port.
    pub(crate) fn capture(&self, name: &str) -> Option<Capture> {
        let mut shared = self.lock();
        let port = shared.ports.iter_mut().find(|port| port.name == name)?;
        Some(port.recorder.watch())
    }

    /// What each port has sent and received last, as capture files.
    pub(crate) fn kept(&self) -> Vec<(String, Vec<u8>)> {
        let shared = self.lock();
        let kept = |port: &Port| (port.name.clone(), port.recorder.kept());
        shared.ports.iter().map(kept).collect()
    }

    /// What the port `name` has sent and received so far.
    pub(crate) fn carried(&self, name: &str) -> [Carried; 2] {
        let shared = self.lock();
        let port = shared.ports.iter().find(|port| port.name == name);
        port.map(|port| [port.recorder.from_machine, port.recorder.to_machine])
            .unwrap_or_default()
    }

    /// Lets frames arrive when their time has come.
    fn deliver(&self, coming: &Receiver<UnderWay>) {
        // Frames of one arrival time keep the order they came in.
        let mut waiting: BinaryHeap<Reverse<(Instant, u64, Place, Frame)>> = BinaryHeap::new();
        for number in 0.. {
            let next = match waiting.peek() {
                Some(Reverse((arrives, ..))) => {
                    coming.recv_timeout(arrives.saturating_duration_since(Instant::now()))
                }
                None => coming.recv().map_err(RecvTimeoutError::from),
            };
            match next {
                Ok(UnderWay { arrives, at, frame }) if waiting.len() < UNDER_WAY => {
                    waiting.push(Reverse((arrives, number, at, frame)));
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            let mut shared = self.lock();
            while let Some(Reverse((arrives, ..))) = waiting.peek()
                && *arrives <= now
                && let Some(Reverse((_, _, at, frame))) = waiting.pop()
            {
                shared.arrive(at, &frame);
            }
        }
    }
}

impl Shared {
    /// Puts a frame on the link from port `from`.
    fn sent(&mut self, from: usize, frame: &Frame) {
        let at = Place::Switch { from };
        let Some(port) = self.ports.get_mut(from) else {
            return;
        };
        port.recorder.record(true, frame);
        match &mut port.from_machine {
            Some(link) => {
                let arrivals = link.pass(since_start(), frame);
                self.on_the_way(at, arrivals);
            }
            None => self.switch(from, frame),
        }
    }

    /// Sends a frame that came from port `from` to the port of its destination, or to all others when that
    /// is not known.
    fn switch(&mut self, from: usize, frame: &Frame) {
        let (Some(to), Some(sender)) = (address(frame, 0), address(frame, 6)) else {
            return;
        };
        self.learned.insert(sender, from);
        let known = self.learned.get(&to).copied().filter(|_| !is_group(to));
        for number in 0..self.ports.len() {
            let port = &mut self.ports[number];
            let addressed = known.is_none_or(|known| known == number);
            let deaf = !port.hears_dhcp && is_dhcp_request(frame);
            if number == from || !addressed || deaf {
                continue;
            }
            if !self.apart.is_empty() && self.apart.contains(&(from, number)) {
                continue;
            }
            match &mut port.to_machine {
                Some(link) => {
                    let arrivals = link.pass(since_start(), frame);
                    self.on_the_way(Place::Machine(number), arrivals);
                }
                None => port.take(frame),
            }
        }
    }

    fn on_the_way(&self, at: Place, arrivals: Vec<(Duration, Frame)>) {
        for (arrives, frame) in arrivals {
            let arrives = *START + arrives;
            if let Some(under_way) = &self.under_way {
                // Its thread lives as long as the switch.
                let _ = under_way.send(UnderWay { arrives, at, frame });
            }
        }
    }

    fn arrive(&mut self, at: Place, frame: &Frame) {
        match at {
            Place::Switch { from } => self.switch(from, frame),
            Place::Machine(number) => {
                if let Some(port) = self.ports.get_mut(number) {
                    port.take(frame);
                }
            }
        }
    }
}

impl Port {
    /// Queues a frame for the machine.
    fn take(&mut self, frame: &Frame) {
        self.recorder.record(false, frame);
        // A full queue loses the frame, and a port whose thread has ended has nobody behind it.
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(ToPort::Frame(frame.clone()))
        {
            tracing::debug!(port = self.name, "frame lost");
        }
    }
}

/// What links count their time from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn since_start() -> Duration {
    START.elapsed()
}

fn address(frame: &[u8], at: usize) -> Option<Mac> {
    frame.get(at..at + 6)?.try_into().ok()
}

/// Broadcast and multicast addresses have the lowest bit of the first byte set (IEEE 802).
fn is_group(address: Mac) -> bool {
    address[0] & 1 == 1
}

/// An IPv4 packet without options, UDP, to the DHCP server's port.
fn is_dhcp_request(frame: &[u8]) -> bool {
    const IPV4: &[u8] = &[0x08, 0x00];
    const UDP: u8 = 17;
    const SERVER_PORT: &[u8] = &[0, 67];
    frame.get(12..14) == Some(IPV4)
        && frame.get(14) == Some(&0x45)
        && frame.get(23) == Some(&UDP)
        && frame.get(36..38) == Some(SERVER_PORT)
}

/// Calls `each` with every frame until the stream ends.
fn read_frames(stream: impl Read, each: impl Fn(&Frame)) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(LONGEST_FRAME, stream);
    let mut buffer = vec![0; LONGEST_FRAME];
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        let Some(frame) = buffer.get_mut(..length) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame of {length} bytes"),
            ));
        };
        stream.read_exact(frame)?;
        each(&Frame::from(&*frame));
    }
}

/// Writes what is queued to whoever is connected now.
fn write_frames(queued: &Receiver<ToPort>) {
    let mut stream: Option<UnixStream> = None;
    let mut packet = Vec::with_capacity(LONGEST_FRAME);
    while let Ok(next) = queued.recv() {
        let frame = match next {
            ToPort::Connected(connected) => {
                stream = Some(connected);
                continue;
            }
            ToPort::Frame(frame) => frame,
        };
        let (Some(open), Ok(length)) = (&mut stream, u32::try_from(frame.len())) else {
            continue;
        };
        packet.clear();
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&frame);
        if open.write_all(&packet).is_err() {
            stream = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROADCAST: Mac = [0xff; 6];

    fn mac(last: u8) -> Mac {
        [0xdc, 0xa6, 0x32, 0, 0, last]
    }

    /// A frame with nothing but addresses and a mark to know it by.
    fn frame(to: Mac, from: Mac, mark: u8) -> Vec<u8> {
        [&to[..], &from[..], &[0x88, 0xb5, mark]].concat()
    }

    fn dhcp_request(from: Mac) -> Vec<u8> {
        let mut bytes = [&BROADCAST[..], &from[..], &[0x08, 0x00, 0x45]].concat();
        bytes.resize(60, 0);
        bytes[23] = 17;
        bytes[37] = 67;
        bytes
    }

    struct Machine(UnixStream);

    impl Machine {
        fn send(&mut self, frame: &[u8]) {
            let length = u32::try_from(frame.len())
                .expect("a short frame")
                .to_be_bytes();
            self.0.write_all(&[&length, frame].concat()).expect("sent");
        }

        /// Everything that arrives up to the frame `last`, without it.
        fn receive_until(&mut self, last: &[u8]) -> Vec<Vec<u8>> {
            let mut frames = Vec::new();
            loop {
                let mut length = [0; 4];
                self.0.read_exact(&mut length).expect("a length");
                let mut frame = vec![0; u32::from_be_bytes(length) as usize];
                self.0.read_exact(&mut frame).expect("a frame");
                if frame == last {
                    return frames;
                }
                frames.push(frame);
            }
        }
    }

    /// A switch with `names` attached, all of them connected.
    fn connected<const N: usize>(names: [&str; N]) -> (tempfile::TempDir, [Machine; N]) {
        let (dir, _, machines) = switch_of(names);
        (dir, machines)
    }

    fn switch_of<const N: usize>(names: [&str; N]) -> (tempfile::TempDir, Switch, [Machine; N]) {
        let dir = tempfile::tempdir().expect("a directory");
        let switch = Switch::default();
        let machines = names.map(|name| {
            let path = dir.path().join(name);
            switch.listen(name, &path).expect("a port");
            Machine(UnixStream::connect(path).expect("connected"))
        });
        (dir, switch, machines)
    }

    /// Sends a broadcast from `machines[0]`, again and again until each of the others has heard it: then all
    /// ports are open.
    fn settle(machines: &mut [Machine]) {
        let hello = frame(BROADCAST, mac(0), 0);
        let (first, others) = machines.split_first_mut().expect("machines");
        for other in others {
            other.0.set_nonblocking(true).expect("non-blocking");
            let mut heard = vec![0; 4 + hello.len()];
            let mut filled = 0;
            while filled < heard.len() {
                if filled == 0 {
                    first.send(&hello);
                }
                match other.0.read(&mut heard[filled..]) {
                    Ok(read) => filled += read,
                    Err(_) => thread::yield_now(),
                }
            }
            other.0.set_nonblocking(false).expect("blocking");
        }
    }

    #[test]
    fn frames_go_where_their_address_was_seen() {
        let (_dir, mut machines) = connected(["a", "b", "c"]);
        settle(&mut machines);
        let [a, b, c] = &mut machines;
        b.send(&frame(BROADCAST, mac(1), 1));
        a.receive_until(&frame(BROADCAST, mac(1), 1));

        let direct = frame(mac(1), mac(0), 2);
        let last = frame(BROADCAST, mac(0), 3);
        a.send(&direct);
        a.send(&last);
        let hellos = |frames: Vec<Vec<u8>>| {
            frames
                .into_iter()
                .filter(|frame| frame[14] > 1)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            hellos(b.receive_until(&last)),
            [direct],
            "b's address is known, so b hears it"
        );
        assert_eq!(
            hellos(c.receive_until(&last)),
            [[0; 0]; 0],
            "and c does not"
        );
    }

    #[test]
    fn the_gateway_hears_no_dhcp_request() {
        let (_dir, mut machines) = connected(["a", "b", GATEWAY]);
        settle(&mut machines);
        let [a, b, gateway] = &mut machines;
        let (request, last) = (dhcp_request(mac(0)), frame(BROADCAST, mac(0), 3));
        a.send(&request);
        a.send(&last);
        assert!(b.receive_until(&last).contains(&request));
        assert!(!gateway.receive_until(&last).contains(&request));
    }

    /// What of `frames`, sent by the first machine while `fault` was in force, the second has heard when it is over.
    /// The third hears all of it.
    fn heard_by_the_second(
        fault: impl Fn(&Switch, bool) -> Option<()>,
        frames: &[Vec<u8>],
    ) -> Vec<Vec<u8>> {
        let (_dir, switch, mut machines) = switch_of(["a", "b", "c"]);
        settle(&mut machines);
        let [a, b, c] = &mut machines;
        let [begin, last] = [1, 2].map(|mark| frame(BROADCAST, mac(0), mark));
        a.send(&begin);
        b.receive_until(&begin);
        fault(&switch, true).expect("a port of that name");
        frames.iter().for_each(|frame| a.send(frame));
        let end = frames.last().expect("frames");
        c.receive_until(end);
        fault(&switch, false).expect("a port of that name");
        a.send(&last);
        b.receive_until(&last)
    }

    #[test]
    fn a_fault_is_on_its_own_link() {
        let sent = [3, 4].map(|mark| frame(BROADCAST, mac(0), mark));
        let cut = Impairment {
            cut: true,
            ..Impairment::default()
        };
        let link = |direction| {
            move |switch: &Switch, begins: bool| {
                switch.impair("b", direction, begins.then_some(cut))
            }
        };
        assert_eq!(heard_by_the_second(link(Direction::To), &sent), [[0; 0]; 0]);
        assert_eq!(
            heard_by_the_second(link(Direction::Both), &sent),
            [[0; 0]; 0]
        );
        assert_eq!(heard_by_the_second(link(Direction::From), &sent), sent);
        let apart = |switch: &Switch, apart: bool| switch.part(["b", "a"], apart);
        assert_eq!(heard_by_the_second(apart, &sent), [[0; 0]; 0]);
    }

    #[test]
    fn what_is_under_way_arrives_in_order() {
        let sent: Vec<Vec<u8>> = (3..100)
            .map(|mark| frame(BROADCAST, mac(0), mark))
            .collect();
        let slow = Impairment {
            latency: Duration::from_millis(3),
            jitter: Duration::from_millis(3),
            duplication: "100%".parse().expect("a share"),
            ..Impairment::default()
        };
        let fault = |switch: &Switch, begins: bool| {
            // Were it repaired, what is sent then would overtake.
            match begins {
                true => switch.impair("a", Direction::From, Some(slow)),
                false => Some(()),
            }
        };
        let heard = heard_by_the_second(fault, &sent);
        let twice: Vec<Vec<u8>> = sent
            .iter()
            .flat_map(|frame| [frame.clone(), frame.clone()])
            .collect();
        assert_eq!(heard, twice);
    }

    #[test]
    fn faults_need_a_port() {
        let (_dir, switch, _machines) = switch_of(["a"]);
        assert_eq!(switch.impair("b", Direction::Both, None), None);
        assert_eq!(switch.part(["a", "b"], true), None);
    }

    #[test]
    fn a_frame_that_cannot_be_one_ends_the_connection() {
        let (_dir, [mut a]) = connected(["a"]);
        a.0.write_all(&u32::MAX.to_be_bytes()).expect("sent");
        assert_eq!(a.0.read(&mut [0; 1]).expect("closed, not failed"), 0);
    }
}
