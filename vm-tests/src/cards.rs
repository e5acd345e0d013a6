//! Nodes that boot from cards of their own: made by `cargo xtask image` and written by `bramble flash`, as for a person
//! with real ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bramble_cluster::spec::{Cluster, Node};
use bramble_lab::card::Slot;
use bramble_lab::{Board, Machine};

use crate::life;
use crate::operator::{Operator, Programs};
use crate::report::Report;
use crate::setting::Place;

/// The size of a card in MiB.
const SIZE: u32 = 4096;

/// A written card, and the machine that it is for.
#[derive(Debug)]
pub struct Card {
    /// The node whose card it is.
    pub node: String,
    board: Board,
    image: PathBuf,
}

/// Makes a card for each node of `wanted`, to be put into a machine of that board.
///
/// # Errors
/// When an image cannot be made, or a card not written.
pub fn make(
    wanted: &[(&str, Board)],
    report: &Report,
    operator: &Operator,
    programs: &Programs,
    place: &Place,
) -> Result<Vec<Card>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let images = place.scratch.join("images");
    report.stage("images of cards", |stage| {
        make_images(wanted, programs, place, &images)?;
        stage.note(format!("{} cards", wanted.len()));
        anyhow::Ok(())
    })?;
    report.stage("cards", |_| {
        let write = |&(node, board): &(&str, Board)| {
            let image = place.scratch.join(format!("{node}.card"));
            let packed = images.join(format!("{node}.img.zst"));
            let (packed, to) = (packed.display().to_string(), image.display().to_string());
            operator.bramble(&["flash", "--image", &packed, &to])?;
            let node = node.to_owned();
            anyhow::Ok(Card { node, board, image })
        };
        wanted.iter().map(write).collect()
    })
}

fn make_images(
    wanted: &[(&str, Board)],
    programs: &Programs,
    place: &Place,
    out: &Path,
) -> Result<()> {
    let files = place.files();
    let mut command = Command::new(&programs.chores);
    command.arg("image").arg("--out").arg(out);
    command.arg("--cluster").arg(files.cluster());
    command.arg("--state").arg(files.state());
    for (node, _) in wanted {
        command.args(["--node", node]);
    }
    let output = command.output().context("cannot run xtask")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("`cargo xtask image` failed: {}", said.trim());
    }
    Ok(())
}

impl Card {
    /// The machine of `node` with this card in it.
    ///
    /// # Errors
    /// When the card lacks what a Pi boots from.
    pub fn machine(&self, node: &Node, place: &Place) -> Result<Machine> {
        let slot = Slot {
            name: &node.name,
            board: self.board,
            mac: &node.mac.to_string(),
            size: SIZE,
        };
        slot.insert(&self.image, &place.scratch)
    }
}

/// Waits until each node with a card of its own has said who it is on its console, and answers SSH. A card tells the
/// lab nothing, so it is looked at as a person would.
///
/// # Errors
/// When one does not: the end of its console is in the error.
pub fn wait_until_up(cards: &[Card], operator: &Operator, place: &Place) -> Result<()> {
    for Card { node, .. } in cards {
        let log = place.logs.join(format!("{node}.console.log"));
        let prompt = format!("{node} login:");
        life::until(
            operator,
            &format!("`{prompt}` on the console of {node}"),
            || {
                let said =
                    fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
                let said = String::from_utf8_lossy(&said).into_owned();
                let tail: Vec<&str> = said.lines().rev().take(12).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                ensure!(
                    said.contains(&prompt),
                    "it ends with:\n  {}",
                    tail.join("\n  ")
                );
                Ok(())
            },
        )?;
        life::until(operator, &format!("{node} to answer"), || {
            operator.look(node, &["true"]).map(drop)
        })?;
    }
    Ok(())
}

/// Looks whether a node that was never provisioned is the one that its card was written for: its name, its host key,
/// its address; a file system as large as the card; and nothing left where the secrets were.
///
/// # Errors
/// When something is not as it should be.
pub fn is_who_its_card_says(
    node: &Node,
    cluster: &Cluster,
    operator: &Operator,
    place: &Place,
) -> Result<()> {
    let name = &node.name;
    let look = |command: &str| operator.look(name, &["sh", "-c", command]);
    let same = |what: &str, found: String, expected: &str| {
        let found = found.trim();
        ensure!(
            found == expected,
            "the {what} of {name} is {found:?}, and should be {expected:?}"
        );
        Ok(())
    };
    same(
        "name",
        look("hostname; cat /etc/hostname")?,
        &format!("{name}\n{name}"),
    )?;

    let state = place.files().state();
    let key = state
        .join("hosts")
        .join(name)
        .join("ssh_host_ed25519_key.pub");
    let key = fs::read_to_string(&key).with_context(|| format!("cannot read {}", key.display()))?;
    let key: Vec<&str> = key.split_whitespace().take(2).collect();
    let keys = look("cut -d\" \" -f1,2 /etc/ssh/ssh_host_*.pub")?;
    same("host key", keys, &key.join(" "))?;

    let address = format!("{}/{}", node.ip, cluster.network.subnet.prefix_len());
    let found = look("ip -4 -oneline address show scope global")?;
    ensure!(
        found.contains(&address),
        "{name} does not have {address}:\n{found}"
    );

    let bytes = look("findmnt --bytes --noheadings --output SIZE /")?;
    let bytes: u64 = bytes.trim().parse().context("the size of a file system")?;
    // The boot partition, and what ext4 keeps for itself.
    let least = u64::from(SIZE - 512) << 20;
    ensure!(
        bytes > least,
        "the root file system of {name} has {bytes} bytes, less than {least}"
    );

    let left = look("sudo ls /boot/firmware/bramble")?;
    same("boot partition", left, "card.txt")?;
    let failed = look("systemctl --failed --plain --no-legend")?;
    same("list of failed units", failed, "")
}
