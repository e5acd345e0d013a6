use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{State, Verdict};
use crate::{
    Error, LocalSwarm, Member, Role, Secret, System,
    engine::Engine,
    swarm::{list, members, mesh, text},
};

/// Generous: eight emulated nodes that join at once on two cores need most of a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// The node manages a swarm, which it founds where there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwarmInit {
    /// The address under which the others reach it.
    pub advertise: String,
}

/// The node is a member of a given swarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwarmJoin {
    /// The address under which the others reach it.
    pub advertise: String,
    /// `ADDRESS:PORT` of managers that can let it in.
    pub managers: Vec<String>,
    /// Lets it in, and decides what it becomes.
    pub token: Secret,
    /// Ids of the swarm's nodes, by which a node that belongs to another swarm is told from a member.
    pub members: Vec<String>,
    /// Whether to wait a while for the swarm's routing mesh, so that the node has little left to do when it is a member.
    #[serde(default)]
    pub mesh: bool,
}

/// A swarm has a routing mesh, or none: the network through which every node passes on what is asked at a published port.
/// Holds on a manager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoutingMesh {
    /// Whether there is to be one.
    pub wanted: bool,
}

/// A member has its role and its labels. Holds on a manager, about any node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwarmNode {
    /// Host name of the member.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// All labels that it has: services are placed by them, so one that nobody declares any more must not go on
    /// attracting them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// How long to wait for a new member's routing mesh. Of eight emulated nodes, those that are busy with it took up to 12 s. The
/// others wait for half a minute, doing nothing: whom their engine asked first for what is known of the network had not heard of them
/// yet, and does not answer (moby/moby#47396). Nobody need wait with them.
const MESH: Duration = Duration::from_secs(15);

/// How often members report to a manager, which gives them up after three silent periods. With the
/// engine's own 5 seconds, eight emulated nodes on two cores were given up while they were merely busy, and
/// registering anew kept all of them busier still.
const HEARTBEAT: Duration = Duration::from_secs(20);

impl State for SwarmInit {
    fn title(&self) -> String {
        "swarm manager".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let swarm = LocalSwarm::at_a_glance(&Engine::connect(system)?)?;
        match &*swarm.state {
            "active" if swarm.manager => Ok(Verdict::Satisfied),
            "active" => Err(Error::state(
                "this node is a worker of another swarm; `docker swarm leave` on it frees it for a new one",
            )),
            "inactive" => Ok(Verdict::change("it is in no swarm")),
            _ => Err(troubled(&swarm)),
        }
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let request = json!({
            "ListenAddr": "0.0.0.0:2377",
            "AdvertiseAddr": self.advertise,
            "Spec": {"Dispatcher": {"HeartbeatPeriod": HEARTBEAT.as_nanos()}},
        });
        Engine::connect(system)?
            .post("/swarm/init", &request)
            .map(drop)
    }
}

impl State for RoutingMesh {
    fn title(&self) -> String {
        "routing mesh".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let mesh = mesh(&Engine::connect(system)?)?;
        Ok(match (self.wanted, mesh.is_some()) {
            (true, false) => Verdict::change("the swarm has none"),
            (false, true) => Verdict::change("the swarm has one"),
            (true, true) | (false, false) => Verdict::Satisfied,
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let engine = Engine::connect(system)?;
        match (self.wanted, mesh(&engine)?) {
            (true, None) => {
                let network = json!({ "Name": "ingress", "Driver": "overlay", "Ingress": true });
                let network = engine.post("/networks/create", &network)?;
                spread(&engine).or_else(|error| {
                    // Else it would seem to hold, on nodes that have nothing of it.
                    engine.delete(&format!("/networks/{}", text(&network["Id"])))?;
                    Err(error)
                })
            }
            (false, Some(id)) => {
                let services = meshed(&engine.get("/services")?);
                if !services.is_empty() {
                    return Err(Error::state(format!(
                        "the routing mesh stays, because services publish ports through it: {}; \
                         have them do so with `mode: host`, remove them, or take `routing_mesh = false` out of the cluster file",
                        services.join(", ")
                    )));
                }
                match engine.delete(&format!("/networks/{id}")) {
                    Ok(()) | Err(Error::Engine { status: 404, .. }) => {}
                    Err(error) => return Err(error),
                }
                // The swarm has none from now on; this node takes a moment to part with its own piece of it.
                wait("the routing mesh is still there", || {
                    Ok(mesh(&engine)?.is_none().then_some(()))
                })
            }
            (true, Some(_)) | (false, None) => Ok(()),
        }
    }
}

/// Names of those of `services` that publish a port through the mesh.
fn meshed(services: &Value) -> Vec<String> {
    let publishes = |service: &&Value| {
        let mut ports = list(&service["Spec"]["EndpointSpec"]["Ports"]).iter();
        ports.any(|port| port["PublishMode"] == "ingress")
    };
    let publishing = list(services).iter().filter(publishes);
    publishing
        .map(|service| text(&service["Spec"]["Name"]))
        .collect()
}

/// Has every member set up a new mesh. A manager gives it to a node when something about that node changes, and not before
/// (moby/moby#40184): it need be no change to speak of.
fn spread(engine: &Engine) -> Result<(), Error> {
    let members = members(engine)?;
    members
        .iter()
        .try_for_each(|member| update(engine, member, |_| {}))
}

/// Changes what the swarm is to have of a member.
fn update(engine: &Engine, member: &Member, change: impl Fn(&mut Value)) -> Result<(), Error> {
    let path = format!("/nodes/{}", member.id);
    wait(&format!("{} is still not updated", member.hostname), || {
        let mut node = engine.get(&path)?;
        change(&mut node["Spec"]);
        let version = &node["Version"]["Index"];
        match engine.post(&format!("{path}/update?version={version}"), &node["Spec"]) {
            Ok(_) => Ok(Some(())),
            // Somebody else, the node itself perhaps, was faster.
            Err(Error::Engine { message, .. }) if message.contains("out of sequence") => Ok(None),
            Err(error) => Err(error),
        }
    })
}

impl State for SwarmJoin {
    fn title(&self) -> String {
        "swarm member".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let swarm = LocalSwarm::of(system)?;
        match &*swarm.state {
            "active" if self.members.contains(&swarm.id) => Ok(Verdict::Satisfied),
            "active" => Err(Error::state(
                "this node is a member of another swarm; `docker swarm leave` on it frees it for this one",
            )),
            "inactive" => Ok(Verdict::change("it is in no swarm")),
            "pending" => Ok(Verdict::change("it is still joining")),
            // A first join that failed leaves no id behind: nothing is lost by starting over.
            "error" if swarm.id.is_empty() => Ok(Verdict::change("an earlier join failed")),
            _ => Err(troubled(&swarm)),
        }
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let engine = Engine::connect(system)?;
        match &*LocalSwarm::of(system)?.state {
            "pending" => return self.joined(system),
            "error" => drop(engine.post("/swarm/leave?force=true", &Value::Null)?),
            _ => {}
        }
        let request = json!({
            "ListenAddr": "0.0.0.0:2377",
            "AdvertiseAddr": self.advertise,
            "RemoteAddrs": self.managers,
            "JoinToken": self.token.reveal(),
        });
        match engine.post("/swarm/join", &request) {
            Ok(_) => self.joined(system),
            // The engine stops waiting after 20 seconds and goes on trying.
            Err(Error::Engine {
                status: 503,
                message,
                ..
            }) if message.contains("Timeout") => self.joined(system),
            Err(error) => Err(error),
        }
    }
}

impl SwarmJoin {
    /// Waits until it is a member that can be given something to do.
    fn joined(&self, system: &System) -> Result<(), Error> {
        let engine = wait("this node is still not a member of the swarm", || {
            let engine = Engine::connect(system)?;
            let swarm = LocalSwarm::at_a_glance(&engine)?;
            match &*swarm.state {
                "active" => Ok(Some(engine)),
                "pending" => Ok(None),
                _ => Err(troubled(&LocalSwarm::of(system)?)),
            }
        })?;
        if !self.mesh {
            return Ok(());
        }
        let meshed = until(MESH, || match engine.get("/networks/ingress") {
            Ok(network) => Ok(network["Containers"].get("ingress-sbox").map(|_| ())),
            Err(Error::Engine { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        });
        meshed.map(|_| ())
    }
}

fn troubled(swarm: &LocalSwarm) -> Error {
    Error::state(format!(
        "the Docker engine's swarm state is `{}` ({}); `docker swarm leave --force` on this node starts it over",
        swarm.state, swarm.error
    ))
}

impl State for SwarmNode {
    fn title(&self) -> String {
        format!("swarm node {}", self.name)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        Ok(self.verdict(&members(&Engine::connect(system)?)?))
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let engine = Engine::connect(system)?;
        let member = wait(&format!("{} is still not ready", self.name), || {
            self.member(&engine)
        })?;
        if self.differences(&member).is_empty() {
            return Ok(());
        }
        update(&engine, &member, |spec| {
            spec["Role"] = json!(self.role);
            spec["Labels"] = json!(self.labels);
        })
    }
}

impl SwarmNode {
    /// Says whether it holds in a swarm that has these members.
    pub fn verdict(&self, members: &[Member]) -> Verdict {
        match members.iter().find(|member| self.is(member)) {
            None => Verdict::change("it is not ready"),
            Some(member) => Verdict::from_reasons(&self.differences(member), None),
        }
    }

    /// Whether that is the one, and ready: one that was set up anew leaves its former self behind, as `down`.
    fn is(&self, member: &Member) -> bool {
        member.hostname == self.name && member.state == "ready"
    }

    fn member(&self, engine: &Engine) -> Result<Option<Member>, Error> {
        Ok(members(engine)?.into_iter().find(|member| self.is(member)))
    }

    fn differences(&self, member: &Member) -> Vec<String> {
        let mut reasons = Vec::new();
        if member.role != self.role {
            reasons
                .push(format!("it is a {:?}, not a {:?}", member.role, self.role).to_lowercase());
        }
        for (label, value) in &self.labels {
            if member.labels.get(label) != Some(value) {
                reasons.push(format!("label {label} is not `{value}`"));
            }
        }
        let undeclared = |label: &&String| !self.labels.contains_key(*label);
        for label in member.labels.keys().filter(undeclared) {
            reasons.push(format!("label {label} is not in the cluster file"));
        }
        reasons
    }
}

/// Asks again until there is an answer.
fn wait<T>(otherwise: &str, ask: impl FnMut() -> Result<Option<T>, Error>) -> Result<T, Error> {
    until(PATIENCE, ask)?
        .ok_or_else(|| Error::state(format!("{otherwise} after {} seconds", PATIENCE.as_secs())))
}

/// Asks again until there is an answer; `None` if there is none in time.
fn until<T>(
    patience: Duration,
    mut ask: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    let start = Instant::now();
    loop {
        let answer = ask()?;
        if answer.is_some() || start.elapsed() > patience {
            return Ok(answer);
        }
        thread::sleep(Duration::from_millis(500));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Availability;

    #[test]
    fn a_service_needs_the_mesh_unless_its_ports_are_on_its_node() {
        let service = |name: &str, ports: Value| json!({ "Spec": { "Name": name, "EndpointSpec": { "Ports": ports } } });
        let port = |mode: &str| json!({ "PublishedPort": 8080, "PublishMode": mode });
        let services = json!([
            service("inner", Value::Null),
            service("web", json!([port("host")])),
            service("plex", json!([port("host"), port("ingress")])),
        ]);
        assert_eq!(meshed(&services), ["plex"]);
    }

    #[test]
    fn a_member_has_the_declared_labels_and_no_others() {
        let labels = |labels: &[(&str, &str)]| -> BTreeMap<String, String> {
            let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
            labels.iter().map(own).collect()
        };
        let wanted = SwarmNode {
            name: "worker1".into(),
            role: Role::Worker,
            labels: labels(&[("disk", "ssd")]),
        };
        let cases = [
            (labels(&[("disk", "ssd")]), None),
            (labels(&[]), Some("label disk is not `ssd`")),
            (labels(&[("disk", "card")]), Some("label disk is not `ssd`")),
            (
                labels(&[("disk", "ssd"), ("old", "")]),
                Some("label old is not in the cluster file"),
            ),
        ];
        for (labels, reason) in cases {
            let member = Member {
                id: "id".into(),
                hostname: "worker1".into(),
                address: "192.168.1.201".into(),
                role: Role::Worker,
                availability: Availability::Active,
                state: "ready".into(),
                leader: false,
                labels,
            };
            let verdict = reason.map_or(Verdict::Satisfied, Verdict::change);
            assert_eq!(wanted.verdict(&[member]), verdict);
        }
    }
}
