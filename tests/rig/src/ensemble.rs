use crate::server::make_chroot;
use crate::{Port, Server, ServerOptions, until};

/// Three ZooKeeper servers that elect a leader among themselves.
#[derive(Debug)]
pub struct Ensemble {
    /// The servers, in the order of their numbers.
    pub servers: Vec<Server>,
    /// Kept claimed while the servers live, since they come back to them after a restart.
    _peer_ports: Vec<Port>,
}

impl Ensemble {
    /// Starts three servers and waits until all of them serve.
    pub fn boot() -> Ensemble {
        Ensemble::boot_with(&Server::options().heap(128))
    }

    /// Starts three servers with other options.
    pub fn boot_with(options: &ServerOptions) -> Ensemble {
        for _ in 0..3 {
            if let Some(ensemble) = Ensemble::try_boot(options) {
                return ensemble;
            }
        }
        panic!("no ensemble came up");
    }

    fn try_boot(options: &ServerOptions) -> Option<Ensemble> {
        let peer_ports: Vec<Port> = (0..6).map(|_| Port::claim()).collect();
        let peer =
            |n: usize| format!("{}=127.0.0.1:{}:{}", n + 1, peer_ports[2 * n].number(), peer_ports[2 * n + 1].number());
        let peers = [peer(0), peer(1), peer(2)].join(",");
        let start = |id| options.clone().peer(id, &peers).start_on(Port::claim());
        let ensemble = Ensemble { servers: (1..=3).map(start).collect(), _peer_ports: peer_ports };
        let came_up = ensemble.servers.iter().try_for_each(Server::wait_serving);
        match came_up {
            Ok(()) => Some(ensemble),
            // A port taken by somebody outside the tests: other ports may be free.
            Err(_) if ensemble.servers.iter().any(|server| server.log().contains("Address already in use")) => None,
            Err(why) => panic!("the ensemble does not start: {why}"),
        }
    }

    /// The connect string of all three.
    pub fn address(&self) -> String {
        self.servers.iter().map(Server::address).collect::<Vec<_>>().join(",")
    }

    /// Makes a fresh znode and returns the connect string that has it for its root.
    pub fn chroot(&self, name: &str) -> String {
        make_chroot(&self.address(), name)
    }

    /// The server that leads, once there is one.
    pub fn leader(&self) -> &Server {
        let find = || self.servers.iter().find(|server| server.mode().as_deref() == Some("leader"));
        until("the ensemble has a leader", || find().is_some());
        find().expect("a leader stays one while nobody disturbs it")
    }

    /// The servers that follow, once there is a leader.
    pub fn followers(&self) -> Vec<&Server> {
        let leader = self.leader().port();
        self.servers.iter().filter(|server| server.port() != leader).collect()
    }

    /// Waits until all servers that run serve.
    pub fn wait_serving(&self) {
        until("all servers serve", || {
            self.servers.iter().filter(|server| server.is_running()).all(|server| server.mode().is_some())
        });
    }
}
